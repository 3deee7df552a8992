"""Transactions for asyncio."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, Iterable

from .. import _transactions
from .._engine import Topic
from .._native import Receipt
from .._types import Bytes, Delivery, Headers
from .._values import TransactionState

if TYPE_CHECKING:
    from ._polling import Member


class Transaction:
    """Records and acknowledgements that become effective together or not at all."""

    def __init__(self, transaction: _transactions.Transaction) -> None:
        self._transaction = transaction
        self.id = transaction.id

    def send(
        self,
        topic: Topic | str,
        value: Bytes | None,
        *,
        key: Bytes | None = None,
        headers: Headers | None = None,
        tag: str | None = None,
        timestamp_ms: int | None = None,
        partition: int | None = None,
        message_id: Bytes | str | None = None,
    ) -> None:
        """Adds a record, which becomes visible by the commit."""
        self._transaction.send(
            topic, value, key=key, headers=headers, tag=tag, timestamp_ms=timestamp_ms, partition=partition,
            message_id=message_id,
        )  # fmt: skip

    def ack(self, records: Delivery | Iterable[Delivery], member: "Member | None" = None) -> int:
        """Acknowledges records with the commit; says how many."""
        return self._transaction.ack(records, None if member is None else member._source)

    async def prepare(self) -> None:
        """Makes all of it durable and invisible; from now on only a decision ends it."""
        await asyncio.to_thread(self._transaction.prepare)

    async def commit(self) -> None:
        """Commits it, prepared or not."""
        await asyncio.to_thread(self._transaction.commit)

    async def roll_back(self) -> None:
        """Rolls it back, prepared or not."""
        await asyncio.to_thread(self._transaction.roll_back)

    async def receipts(self) -> list[Receipt]:
        """The receipts of its records, once it is committed."""
        return await asyncio.to_thread(self._transaction.receipts)

    @property
    def state(self) -> TransactionState:
        return self._transaction.state

    @property
    def closed(self) -> bool:
        return self._transaction.closed

    def close(self) -> None:
        """Lets go of it: one that is open is rolled back; one that is prepared is undecided."""
        self._transaction.close()

    async def __aenter__(self) -> "Transaction":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self._transaction.__exit__, kind, error, trace)


__all__ = ["Transaction"]
