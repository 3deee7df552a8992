"""Ringlane: an embedded, durable message log.

    with ringlane.open("data") as engine:
        engine.create_topic("orders")
        with engine.producer() as producer:
            producer.send("orders", b"first").result()
        with engine.consumer() as consumer:
            consumer.assign_all("orders")
            for record in consumer.records(timeout=0):
                print(record.value)

`ringlane.aio` is the same for asyncio.
"""

from . import errors
from ._engine import Engine, Offsets, Topic, open, open_read_only
from ._futures import BatchFuture, Future
from ._native import Batch, NewRecord, Receipt, Record, RecordView, abi_version, library_version
from ._polling import Consumer, GroupConsumer, Member
from ._sending import Producer
from ._threads import HalfTransaction
from ._transactions import Transaction
from ._values import Once, Outcome, TransactionState
from .errors import *  # noqa: F403
from .errors import RinglaneError

__version__ = library_version

__all__ = [
    "Batch", "BatchFuture", "Consumer", "Engine", "Future", "GroupConsumer", "HalfTransaction", "Member", "NewRecord",
    "Offsets", "Once", "Outcome", "Producer", "Receipt", "Record", "RecordView", "RinglaneError", "Topic",
    "Transaction", "TransactionState", "abi_version", "errors", "library_version", "open", "open_read_only",
]  # fmt: skip
__all__ += errors.__all__
