"""The package for asyncio: `await producer.send(...)`, `async for record in consumer`.

Outcomes and news arrive through the descriptor of a completion queue, which the loop watches; no thread waits. What
blocks otherwise, such as creating a topic or committing, runs in `asyncio.to_thread`.

Invariants:
- All objects of an engine belong to the loop in which it was opened, and are used in its thread alone.
- A send never blocks the loop: what does not fit into the send buffer waits here, in order, until some of it is gone.
- A poll that is cancelled loses nothing: no record is taken before it is given.
"""

from __future__ import annotations

import asyncio
import collections
import datetime
import os
from types import TracebackType
from typing import Any, AsyncIterator, Callable, Generic, Iterable, Mapping, TypeVar, Union

from . import _engine, _native, _polling, _sending
from ._engine import Topic
from ._native import Batch, Receipt, Record
from ._sending import Bytes, Delivery, Headers, Sendable
from ._threads import Checker
from ._values import Once, Option, Start, Time, TransactionState, milliseconds
from .errors import Closed, RinglaneError, TopicDeleted

T = TypeVar("T")
P = TypeVar("P", bound=Union[_polling.Consumer, _polling.Member])

#: How often a consumer looks where nobody tells of news: in an engine that was opened to be read.
_LOOK_S = 0.02
#: Of the send buffer so much is used, so that no send finds it full.
_BUFFER_PART = 2
_BUFFER_BYTES = 16 << 20
_RECORDS_OF_A_PART = 2048

_run = asyncio.to_thread


class Engine:
    """A directory that is open, for the running loop; `open` and `open_read_only` make one."""

    def __init__(self, engine: _engine.Engine, buffer_bytes_max: int) -> None:
        #: The same engine without asyncio. Its calls block.
        self.sync_engine = engine
        self._loop = asyncio.get_running_loop()
        self._queue = _native.queue()
        self._bytes_max = buffer_bytes_max // _BUFFER_PART
        #: Sends that wait for room, in their order.
        self._waiting: collections.deque[Callable[[], None]] = collections.deque()
        self._polled: set[_Polling[Any]] = set()
        self._loop.add_reader(self._queue.fileno(), self._on_events)

    # ----- what has happened -----

    def _on_events(self) -> None:
        self._queue.deliver(0)
        self._send_waiting()

    def _send_waiting(self) -> None:
        while self._waiting and self._has_room():
            self._waiting.popleft()()

    def _has_room(self) -> bool:
        return self._queue.pending_bytes <= self._bytes_max

    # ----- topics -----

    async def create_topic(self, name: str, partitions: int = 4, **given: Option) -> Topic:
        """See `ringlane.Engine.create_topic`."""
        return await _run(self.sync_engine.create_topic, name, partitions, **given)

    def topic(self, name: str) -> Topic:
        """A topic that is there."""
        return self.sync_engine.topic(name)

    def topics(self) -> list[dict[str, Any]]:
        return self.sync_engine.topics()

    async def delete_topic(self, name: str) -> None:
        await _run(self.sync_engine.delete_topic, name)

    # ----- producers -----

    async def producer(self, name: str | None = None, durability: str | None = None) -> "Producer":
        """See `ringlane.Engine.producer`."""
        return Producer(self, await _run(self.sync_engine.producer, name, durability))

    def producers(self) -> list[dict[str, Any]]:
        return self.sync_engine.producers()

    async def delete_producer(self, name: str) -> None:
        await _run(self.sync_engine.delete_producer, name)

    async def publish_withheld(self, receipt: Receipt | tuple[int, int, int]) -> None:
        await _run(self.sync_engine.publish_withheld, receipt)

    # ----- consumers and groups -----

    def consumer(self, **given: Option) -> "Consumer":
        """See `ringlane.Engine.consumer`."""
        return Consumer(self, self.sync_engine.consumer(**given))

    async def create_group(
        self, name: str, kind: str = "shared", topics: Mapping[str, Start] | None = None, **given: Option
    ) -> None:
        """See `ringlane.Engine.create_group`."""
        await _run(self.sync_engine.create_group, name, kind, topics, **given)

    def describe_group(self, name: str) -> dict[str, Any]:
        return self.sync_engine.describe_group(name)

    def groups(self) -> list[dict[str, Any]]:
        return self.sync_engine.groups()

    async def reset_group(self, name: str, topic: str, partition: int, place: Start) -> int:
        return await _run(self.sync_engine.reset_group, name, topic, partition, place)

    async def delete_group(self, name: str) -> None:
        await _run(self.sync_engine.delete_group, name)

    async def redrive(
        self, group: str, *, topic: str | None = None, partition: int | None = None, offset: int | None = None
    ) -> dict[str, Any]:
        """See `ringlane.Engine.redrive`."""
        return await _run(self.sync_engine.redrive, group, topic=topic, partition=partition, offset=offset)

    def join(self, group: str, **given: Option) -> "Member":
        """See `ringlane.Engine.join`."""
        return Member(self, self.sync_engine.join(group, **given))

    # ----- transactions -----

    def transactions(self, with_ended: bool = False) -> list[dict[str, Any]]:
        return self.sync_engine.transactions(with_ended)

    def transaction(self, id: str) -> dict[str, Any]:
        return self.sync_engine.transaction(id)

    async def commit_transaction(self, id: str) -> None:
        await _run(self.sync_engine.commit_transaction, id)

    async def roll_back_transaction(self, id: str) -> None:
        await _run(self.sync_engine.roll_back_transaction, id)

    async def register_checker(
        self,
        name: str,
        checker: Checker,
        *,
        first: Time | None = None,
        interval: Time | None = None,
        checks_max: int | None = None,
    ) -> None:
        """See `ringlane.Engine.register_checker`: the checker is a plain function, called on a thread of its own."""
        register = self.sync_engine.register_checker
        await _run(register, name, checker, first=first, interval=interval, checks_max=checks_max)

    async def unregister_checker(self, name: str) -> None:
        await _run(self.sync_engine.unregister_checker, name)

    # ----- the engine itself -----

    def stats(self) -> dict[str, Any]:
        return self.sync_engine.stats()

    def recovery(self) -> dict[str, Any]:
        return self.sync_engine.recovery()

    async def audit(self, *topics: str) -> dict[str, Any]:
        return await _run(self.sync_engine.audit, *topics)

    async def sync(self) -> None:
        await _run(self.sync_engine.sync)

    async def refresh(self) -> None:
        await _run(self.sync_engine.refresh)

    @property
    def closed(self) -> bool:
        return self.sync_engine.closed

    async def close(self) -> None:
        """Closes it: what was sent is written and flushed, and every send has its outcome."""
        if self._queue.closed:
            return
        for polled in list(self._polled):
            polled.close()
        # What still waits for room goes first; there is room again as outcomes arrive.
        while self._waiting:
            await asyncio.sleep(0.001)
        try:
            await _run(self.sync_engine.close)
        finally:
            if not self._queue.closed:
                while self._queue.deliver(0) > 0:
                    pass
                self._loop.remove_reader(self._queue.fileno())
                self._queue.close()

    async def __aenter__(self) -> "Engine":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class Producer:
    """Sends records to any topics."""

    def __init__(self, engine: Engine, producer: _sending.Producer) -> None:
        self._engine = engine
        self._queue = engine._queue
        self._waiting = engine._waiting
        self._bytes_max = engine._bytes_max
        self._producer = producer
        self._topic = producer._engine._topic
        self._send_native = producer._send_native
        self._create_future = engine._loop.create_future

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
        sequence: int | None = None,
        message_id: Bytes | str | None = None,
        visible_after: Time | None = None,
        visible_at: datetime.datetime | float | None = None,
    ) -> "asyncio.Future[Receipt]":
        """Sends a record: await the result for its receipt. It is on its way already; to cancel takes nothing back."""
        queue = self._queue
        future: asyncio.Future[Receipt] = self._create_future()
        if queue.pending_bytes > self._bytes_max or self._waiting:
            if value is not None and not isinstance(value, bytes):
                # The caller may change it meanwhile.
                value = bytes(memoryview(value))
            self._send_later(future, self._send_native, queue, future, self._topic(topic), value, key, headers, tag,
                             timestamp_ms, partition, sequence, message_id, visible_after, visible_at)  # fmt: skip
            return future
        native = topic._native if isinstance(topic, Topic) else self._topic(topic)
        try:
            self._send_native(
                queue, future, native, value, key, headers, tag, timestamp_ms, partition, sequence,
                message_id, visible_after, visible_at,
            )  # fmt: skip
        except TopicDeleted:
            # It may have been made anew under its name.
            self._send_native(
                queue, future, self._producer._engine._topic_again(topic), value, key, headers, tag, timestamp_ms,
                partition, sequence, message_id, visible_after, visible_at,
            )  # fmt: skip
        return future

    def _send_later(self, future: "asyncio.Future[Any]", call: Callable[..., object], *args: object) -> None:
        """Sends when there is room and all before it are sent."""

        def send() -> None:
            try:
                call(*args)
            except Exception as error:
                if not future.done():
                    future.set_exception(error)

        self._waiting.append(send)
        self._engine._send_waiting()

    async def send_many(
        self, topic: Topic | str, records: Iterable[Sendable], *, partition: int | None = None
    ) -> int:
        """Sends many records in few hand-overs; says how many there are, when all are there."""
        native = self._topic(topic)
        parts: list[asyncio.Future[int]] = []
        for part in _sending._parts(records, _RECORDS_OF_A_PART):
            future: asyncio.Future[int] = self._create_future()
            parts.append(future)
            send = self._producer._native.send_many_async
            self._send_later(future, send, self._queue, future, native, part, partition)
            if self._waiting:
                # A part has time to leave, so that not all of the records wait here.
                await asyncio.sleep(0)
        counts = await asyncio.gather(*parts, return_exceptions=True)
        done = 0
        failure: BaseException | None = None
        for count in counts:
            if isinstance(count, BaseException):
                failure = failure or count
            else:
                done += count
        if failure is not None:
            if isinstance(failure, RinglaneError):
                failure.done = done
            raise failure
        return done

    async def flush(self) -> None:
        """Waits until everything that was sent before has its outcome."""
        while self._waiting:
            await asyncio.sleep(0.001)
        await _run(self._producer.flush)

    async def cancel(self, receipt: Receipt | tuple[int, int, int]) -> None:
        """Takes back a delayed record that is not visible yet."""
        await _run(self._producer.cancel, receipt)

    @property
    def name(self) -> str | None:
        return self._producer.name

    @property
    def epoch(self) -> int:
        return self._producer.epoch

    async def last_sent(self, topic: Topic | str, partition: int) -> int | None:
        """See `ringlane.Producer.last_sent`."""
        return await _run(self._producer.last_sent, topic, partition)

    def transaction(
        self, id: str | None = None, checker: str | None = None, timeout: Time | None = None
    ) -> "Transaction":
        """Begins a transaction, for an `async with` block: leaving it commits, an exception rolls back."""
        return Transaction(self._producer.transaction(id, checker, timeout))

    @property
    def closed(self) -> bool:
        return self._producer.closed

    def close(self) -> None:
        """Ends the producer. What was sent goes its way. Closing again changes nothing."""
        self._producer.close()

    async def __aenter__(self) -> "Producer":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and not self.closed:
                await self.flush()
        finally:
            self.close()


class Transaction:
    """Records and acknowledgements that become effective together or not at all."""

    def __init__(self, transaction: _sending.Transaction) -> None:
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
        await _run(self._transaction.prepare)

    async def commit(self) -> None:
        """Commits it, prepared or not."""
        await _run(self._transaction.commit)

    async def roll_back(self) -> None:
        """Rolls it back, prepared or not."""
        await _run(self._transaction.roll_back)

    async def receipts(self) -> list[Receipt]:
        """The receipts of its records, once it is committed."""
        return await _run(self._transaction.receipts)

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
        await _run(self._transaction.__exit__, kind, error, trace)


class _Polling(Generic[P]):
    """What consumers and members have in common."""

    def __init__(self, engine: Engine, source: P) -> None:
        self._engine = engine
        self._source = source
        #: Ends when there is something to be polled. One is asked for at a time.
        self._news: asyncio.Future[None] | None = None
        engine._polled.add(self)

    async def poll(self, max_records: int | None = None, timeout: Time | None = None) -> list[Record]:
        """The next records: up to `max_records`, or as many as one poll has. Waits for the first one up to `timeout`;
        None waits for ever. An empty list: nothing came.
        """
        loop = self._engine._loop
        deadline = None if timeout is None else loop.time() + milliseconds(timeout) / 1000
        while True:
            records = self._source.poll(max_records, 0)
            if records:
                return records
            left = None if deadline is None else deadline - loop.time()
            if left is not None and left <= 0:
                return records
            await self._wait(left)

    async def poll_views(self, timeout: Time | None = None) -> Batch:
        """The next records in place, for a `with` block. See `ringlane.Consumer.poll_views`."""
        loop = self._engine._loop
        deadline = None if timeout is None else loop.time() + milliseconds(timeout) / 1000
        while True:
            batch = self._source.poll_views(0)
            left = None if deadline is None else deadline - loop.time()
            if len(batch) or (left is not None and left <= 0):
                return batch
            await self._wait(left)

    async def _wait(self, left: float | None) -> None:
        if self._engine.sync_engine.read_only:
            await asyncio.sleep(_LOOK_S if left is None else min(left, _LOOK_S))
            return
        if self._news is None or self._news.done():
            self._news = self._engine._loop.create_future()
            self._source._native.notify(self._engine._queue, self._news)
        # Neither the time nor a cancellation ends what was asked for: the next poll waits for the same.
        await asyncio.wait((self._news,), timeout=left)

    async def records(self, timeout: Time | None = None) -> AsyncIterator[Record]:
        """Each record as it comes; ends when none came for `timeout`, or when this is closed."""
        while True:
            try:
                records = await self.poll(timeout=timeout)
            except Closed:
                return
            if not records:
                return
            at = 0
            try:
                for record in records:
                    at += 1
                    yield record
            finally:
                # The loop was left: what it has not seen comes next.
                if at < len(records):
                    self._source._left = records[at:] + self._source._left

    def __aiter__(self) -> AsyncIterator[Record]:
        return self.records()

    async def batches(self, max_records: int | None = None, timeout: Time | None = None) -> AsyncIterator[list[Record]]:
        """Records as polls give them; ends when none came for `timeout`, or when this is closed."""
        while True:
            try:
                records = await self.poll(max_records, timeout)
            except Closed:
                return
            if not records:
                return
            yield records

    @property
    def closed(self) -> bool:
        return self._source.closed

    def close(self) -> None:
        """Ends it; who waits in a poll gets `Closed`. Closing again changes nothing."""
        self._source.close()
        self._engine._polled.discard(self)
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Consumer(_Polling[_polling.Consumer]):
    """Reads partitions; one task at a time uses it."""

    async def __aenter__(self) -> "Consumer":
        return self

    def assign(self, topic: Topic | str, partition: int, start_at: Start = "beginning") -> None:
        """See `ringlane.Consumer.assign`."""
        self._source.assign(topic, partition, start_at)
        self._look_again()

    def assign_all(self, topic: Topic | str, start_at: Start = "beginning") -> None:
        """Begins to read all partitions of a topic."""
        self._source.assign_all(topic, start_at)
        self._look_again()

    def unassign(self, topic: Topic | str, partition: int | None = None) -> None:
        self._source.unassign(topic, partition)

    def seek(self, topic: Topic | str, partition: int, place: Start) -> None:
        """Goes on elsewhere in a partition that is read."""
        self._source.seek(topic, partition, place)
        self._look_again()

    def position(self, topic: Topic | str, partition: int) -> int | None:
        return self._source.position(topic, partition)

    def continuity(self) -> dict[str, Any] | None:
        return self._source.continuity()

    async def explain_missing(self) -> list[dict[str, Any]]:
        return await _run(self._source.explain_missing)

    def _look_again(self) -> None:
        """Who waits looks again: there may be something elsewhere."""
        if self._news is not None and not self._news.done():
            self._news.set_result(None)


class Member(_Polling[_polling.Member]):
    """A member of a group."""

    def __init__(self, engine: Engine, source: _polling.Member) -> None:
        super().__init__(engine, source)
        self.group = source.group

    async def __aenter__(self) -> "Member":
        return self

    def ack(self, records: Delivery | Iterable[Delivery]) -> int:
        """They were processed, and are not handed out again."""
        return self._source.ack(records)

    def ack_all(self, records: Iterable[Delivery]) -> int:
        return self._source.ack_all(records)

    def ack_through(self, record: Delivery) -> int:
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
        return self._source.once(record, token)

    async def flush(self) -> None:
        """Waits until everything that was acknowledged before is durable."""
        await _run(self._source.flush)

    @property
    def in_flight(self) -> int:
        return self._source.in_flight

    def pause(self, topic: Topic | str, partition: int) -> None:
        self._source.pause(topic, partition)

    def resume(self, topic: Topic | str, partition: int) -> None:
        self._source.resume(topic, partition)


GroupConsumer = Member


class _Opening:
    """What `open` gives: await it, or use it in `async with`."""

    def __init__(self, path: str | os.PathLike[str], given: Mapping[str, Option], read_only: bool) -> None:
        self._path, self._given, self._read_only = path, given, read_only
        self._engine: Engine | None = None

    async def _open(self) -> Engine:
        opening = _engine.open_read_only if self._read_only else _engine.open
        bytes_max = self._given.get("buffer_bytes_max")
        engine = await _run(opening, self._path, **self._given)
        return Engine(engine, bytes_max if isinstance(bytes_max, int) else _BUFFER_BYTES)

    def __await__(self) -> Any:
        return self._open().__await__()

    async def __aenter__(self) -> Engine:
        self._engine = await self._open()
        return self._engine

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._engine is not None:
            await self._engine.close()


def open(path: str | os.PathLike[str], **given: Option) -> _Opening:
    """Opens a directory: `async with aio.open("data") as engine`, or `engine = await aio.open("data")`."""
    return _Opening(path, given, False)


def open_read_only(path: str | os.PathLike[str], **given: Option) -> _Opening:
    """Opens a directory to be read, also while another process has it open for writing."""
    return _Opening(path, given, True)


__all__ = ["Consumer", "Engine", "GroupConsumer", "Member", "Producer", "Transaction", "open", "open_read_only"]
