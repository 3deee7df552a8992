"""The package for asyncio: `await producer.send(...)`, `async for record in consumer`.

Outcomes and news arrive through the descriptor of a completion queue, which the loop watches; no thread waits. What
blocks otherwise, such as creating a topic or committing, runs in `asyncio.to_thread`.
"""

from ._engine import Engine, open, open_read_only
from ._polling import Consumer, GroupConsumer, Member
from ._producer import Producer
from ._transaction import Transaction

__all__ = ["Consumer", "Engine", "GroupConsumer", "Member", "Producer", "Transaction", "open", "open_read_only"]
