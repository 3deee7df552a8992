"""Consumers, and members of groups, for asyncio.

Invariants of both:
- What a poll has not given is not lost, whether it was cancelled or its time was over. Of a member it may be under its
  lease already: the look for news takes what it finds.
- While nobody waits, nothing is asked for: who is not closed is collected, and reported.
"""

from __future__ import annotations

import asyncio
import collections
from types import TracebackType
from typing import TYPE_CHECKING, Any, AsyncIterator, Generic, Iterable, TypeVar, Union

from .. import _polling
from .._engine import Topic
from .._native import Batch, Record
from .._types import Bytes, Delivery
from .._values import Once, Start, Time, timeout as wait_of
from ..errors import Closed, Woken

if TYPE_CHECKING:
    from ._engine import Engine

P = TypeVar("P", bound=Union[_polling.Consumer, _polling.Member])

#: How often a consumer looks where nobody tells of news: in an engine that was opened to be read.
_LOOK_S = 0.02


class _Polling(Generic[P]):
    """What consumers and members have in common."""

    def __init__(self, engine: "Engine", source: P) -> None:
        self._engine = engine
        self._source = source
        self._loop = engine._loop
        self._queue = engine._outcomes.queue
        #: Ends when there is something to be polled, or to be told.
        self._news: asyncio.Future[None] = self._loop.create_future()
        #: Polls that wait for it, and what it was asked for with.
        self._waiting = 0
        self._ticket: int | None = None
        self._is_woken = False
        engine._polled.add(self)

    async def poll(self, timeout: Time | None = None, *, max_records: int | None = None) -> list[Record]:
        """The next records: up to `max_records`, or as many as one poll has. Waits for the first one up to `timeout`;
        None waits for ever. An empty list: nothing came. See `ringlane.Consumer.poll` for what that means with a filter.
        """
        deadline = self._deadline(timeout)
        while True:
            records = self._source.poll(0, max_records=max_records)
            if records or not await self._wait(deadline):
                return records

    async def poll_views(self, timeout: Time | None = None) -> Batch:
        """The next records in place, for a `with` block. See `ringlane.Consumer.poll_views`."""
        deadline = self._deadline(timeout)
        while True:
            batch = self._source.poll_views(0)
            if len(batch) or not await self._wait(deadline):
                return batch

    def _deadline(self, timeout: Time | None) -> float | None:
        wait_ms = wait_of(timeout)
        return None if wait_ms < 0 else self._loop.time() + wait_ms / 1000

    async def _wait(self, deadline: float | None) -> bool:
        """Waits until it is worth while to look again; False: the time is over."""
        left = None if deadline is None else deadline - self._loop.time()
        if left is not None and left <= 0:
            return False
        self._check_woken()
        if self._news.done():
            self._news = self._loop.create_future()
        if self._engine.read_only:
            left = _LOOK_S if left is None else min(left, _LOOK_S)
        elif self._may_have_news():
            # Always anew: another task may have taken what was found, and what was asked for is told once.
            self._ask_no_more()
            self._ticket = self._source._native.notify(self._queue, self._news)
        self._waiting += 1
        try:
            await asyncio.wait((self._news,), timeout=left)
        finally:
            self._waiting -= 1
            if self._waiting == 0:
                self._ask_no_more()
        self._check_woken()
        return True

    def _may_have_news(self) -> bool:
        return True

    def _ask_no_more(self) -> None:
        if self._ticket is not None:
            self._queue.forget(self._ticket)
            self._ticket = None

    def _check_woken(self) -> None:
        if self._is_woken:
            self._is_woken = False
            raise Woken("the wait was ended by a wakeup")

    def _look_again(self) -> None:
        """Who waits looks again."""
        if not self._news.done():
            self._news.set_result(None)

    async def _poll_to_end(self, timeout: Time | None, max_records: int | None) -> list[Record]:
        records = await self.poll(timeout, max_records=max_records)
        if not records:
            for _ in self._source._passing_over():
                # Others have their turn.
                await asyncio.sleep(0)
                records = self._source.poll(0, max_records=max_records)
                if records:
                    break
        return records

    def records(self, timeout: Time | None = None) -> AsyncIterator[Record]:
        """Each record as it comes; ends when none came for `timeout`, or when this is closed."""
        return _Records(self, timeout)

    def __aiter__(self) -> AsyncIterator[Record]:
        return self.records()

    async def batches(
        self, timeout: Time | None = None, *, max_records: int | None = None
    ) -> AsyncIterator[list[Record]]:
        """Records as polls give them; ends when none came for `timeout`, or when this is closed."""
        while True:
            try:
                records = await self._poll_to_end(timeout, max_records)
            except Closed:
                return
            if not records:
                return
            yield records

    def wakeup(self) -> None:
        """Ends the poll that waits in another task, or the next one that would: it raises `Woken`."""
        if self.closed:
            self._source.wakeup()  # says that it is closed
        self._is_woken = True
        self._look_again()

    @property
    def closed(self) -> bool:
        return self._source.closed

    def close(self) -> None:
        """Ends it; who waits in a poll gets `Closed`. Closing again changes nothing."""
        try:
            self._source.close()
        finally:
            self._engine._polled.discard(self)
            self._look_again()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Records(AsyncIterator[Record]):
    """Each record as it comes. It holds none itself, so a loop that is left has taken no more than it has seen."""

    def __init__(self, polling: _Polling[Any], timeout: Time | None) -> None:
        self._polling = polling
        self._timeout = timeout
        self._left: collections.deque[Record] = polling._source._left

    def __aiter__(self) -> "_Records":
        return self

    async def __anext__(self) -> Record:
        if not self._left:
            try:
                self._left.extend(await self._polling._poll_to_end(self._timeout, None))
            except Closed:
                pass
            if not self._left:
                raise StopAsyncIteration
        return self._left.popleft()


class Consumer(_Polling[_polling.Consumer]):
    """Reads partitions; one task at a time uses it."""

    async def __aenter__(self) -> "Consumer":
        return self

    def _may_have_news(self) -> bool:
        return bool(self._source._assigned)

    def assign(self, topic: Topic | str, partition: int, start_at: Start = "beginning") -> None:
        """See `ringlane.Consumer.assign`."""
        self._source.assign(topic, partition, start_at)
        self._look_again()

    def assign_all(self, topic: Topic | str, start_at: Start = "beginning") -> None:
        """Begins to read all partitions of a topic."""
        self._source.assign_all(topic, start_at)
        self._look_again()

    def unassign(self, topic: Topic | str, partition: int | None = None) -> None:
        """Reads a partition no more; None: none of the topic."""
        self._source.unassign(topic, partition)

    def assignment(self) -> list[tuple[str, int]]:
        """What is read: topics and partitions."""
        return self._source.assignment()

    def seek(self, topic: Topic | str, partition: int, place: Start) -> None:
        """Goes on elsewhere in a partition that is read."""
        self._source.seek(topic, partition, place)
        self._look_again()

    def seek_to_beginning(self, topic: Topic | str, partition: int) -> None:
        """Goes to the first record that is kept of a partition that is read."""
        self.seek(topic, partition, "beginning")

    def seek_to_end(self, topic: Topic | str, partition: int) -> None:
        """Goes behind the last record that is visible of a partition that is read."""
        self.seek(topic, partition, "end")

    def position(self, topic: Topic | str, partition: int) -> int | None:
        """The offset of the next record that a partition gives; None: it is not assigned."""
        return self._source.position(topic, partition)

    def continuity(self) -> dict[str, Any] | None:
        """See `ringlane.Consumer.continuity`."""
        return self._source.continuity()

    async def explain_missing(self) -> list[dict[str, Any]]:
        """See `ringlane.Consumer.explain_missing`."""
        return await asyncio.to_thread(self._source.explain_missing)


class Member(_Polling[_polling.Member]):
    """A member of a group."""

    def __init__(self, engine: "Engine", source: _polling.Member) -> None:
        super().__init__(engine, source)
        self.group = source.group

    async def __aenter__(self) -> "Member":
        return self

    def ack(self, records: Delivery | Iterable[Delivery]) -> int:
        """They were processed, and are not handed out again."""
        return self._source.ack(records)

    def ack_all(self, records: Iterable[Delivery]) -> int:
        """The same for all records of a poll."""
        return self._source.ack_all(records)

    def ack_through(self, record: Delivery) -> int:
        """See `ringlane.Member.ack_through`."""
        return self._source.ack_through(record)

    def nack(self, records: Delivery | Iterable[Delivery], delay: Time | None = None) -> int:
        """They could not be processed: they are handed out again after a delay."""
        return self._source.nack(records, delay)

    def reject(self, records: Delivery | Iterable[Delivery]) -> int:
        """Nobody can process them: they go to the dead letters at once."""
        return self._source.reject(records)

    def release(self, records: Delivery | Iterable[Delivery]) -> int:
        """They were not worked on: they are handed out again at once."""
        return self._source.release(records)

    def extend(self, records: Delivery | Iterable[Delivery], lease: Time) -> int:
        """Holds them for so long from now on."""
        return self._source.extend(records, lease)

    def once(self, record: Delivery, token: Bytes | str) -> Once:
        """Whether something was processed under a token, which belongs to the delivery from then on."""
        return self._source.once(record, token)

    async def flush(self) -> None:
        """Waits until everything that was acknowledged before is durable."""
        await asyncio.to_thread(self._source.flush)

    @property
    def in_flight(self) -> int:
        """How many records the member holds."""
        return self._source.in_flight

    def pause(self, topic: Topic | str, partition: int) -> None:
        """The member is given nothing more of a partition; what it holds of it stays."""
        self._source.pause(topic, partition)

    def resume(self, topic: Topic | str, partition: int) -> None:
        """The member is given records of a partition again."""
        self._source.resume(topic, partition)
        self._look_again()


#: As RocketMQ's and Kafka's clients, and the engine itself, call it.
GroupConsumer = Member

__all__ = ["Consumer", "GroupConsumer", "Member"]
