"""Producers for asyncio.

Invariants:
- A send never blocks the loop: what does not fit into the send buffer waits, in order, until some of it is gone.
- What is sent was taken when the call returns, whether it waits or not: the caller may change it.
"""

from __future__ import annotations

import asyncio
import datetime
import inspect
from types import TracebackType
from typing import TYPE_CHECKING, Any, Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence, Union

from .. import _native, _sending
from .._engine import Topic
from .._futures import in_parts
from .._native import NewRecord, Receipt
from .._types import Bytes, Headers, Sendable
from .._values import Outcome, Time
from ..errors import TopicDeleted
from ._transaction import Transaction

if TYPE_CHECKING:
    from ._engine import Engine

_RECORDS_OF_A_PART = 2048


class Producer:
    """Sends records to any topics."""

    def __init__(self, engine: "Engine", producer: _sending.Producer) -> None:
        self._outcomes = engine._outcomes
        self._queue = engine._outcomes.queue
        self._waiting = engine._outcomes.waiting
        self._bytes_max = engine._outcomes.bytes_max
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
            record = NewRecord(
                value, key=key, headers=headers, tag=tag, timestamp_ms=timestamp_ms, partition=partition,
                sequence=sequence, message_id=message_id, visible_after=visible_after, visible_at=visible_at,
            )  # fmt: skip
            self._in_turn(topic, future, lambda native: self._send_native(queue, future, native, record))
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

    def _in_turn(
        self, topic: Topic | str, future: "asyncio.Future[Any]", send: Callable[[_native.Topic], object]
    ) -> None:
        """Sends when there is room and all before it are sent."""
        # One that there is not is told at once.
        self._topic(topic)

        def call() -> None:
            try:
                self._producer._on(topic, send)
            except Exception as error:
                if not future.done():
                    future.set_exception(error)

        self._outcomes.in_turn(call)

    def send_many(
        self, topic: Topic | str, records: Iterable[Sendable], *, partition: int | None = None
    ) -> Coroutine[Any, Any, int]:
        """Sends many records in few hand-overs; says how many there are, when all are there.

        A list is taken at once, another iterable part by part, as there is room. Where a part fails, no more is taken;
        the error's `done` says how many records of the others are there. An exception of the iterable itself is raised
        when those before it have their outcome.
        """
        self._topic(topic)
        if isinstance(records, (list, tuple)):
            parts = _sending._parts(_native.taken(records), _RECORDS_OF_A_PART)
        else:
            parts = map(_native.taken, _sending._parts(records, _RECORDS_OF_A_PART))
        return self._send_parts(topic, (piece for part in parts for piece in self._fitting(part)), partition)

    def _fitting(self, part: Sequence[Sendable]) -> Iterator[Sequence[Sendable]]:
        """The part, in pieces for which there is room when it is their turn."""
        if len(part) == 1 or _native.bytes_of(part) <= self._bytes_max:
            yield part
        else:
            yield from self._fitting(part[: len(part) // 2])
            yield from self._fitting(part[len(part) // 2 :])

    async def _send_parts(
        self, topic: Topic | str, parts: Iterable[Sequence[Sendable]], partition: int | None
    ) -> int:
        sent: list[asyncio.Future[int]] = []
        failure: BaseException | None = None
        try:
            for part in parts:
                future: asyncio.Future[int] = self._create_future()
                self._send_part(topic, future, part, partition)
                sent.append(future)
                if self._waiting:
                    # So no more than one part waits, and others are sent in between.
                    await self._outcomes.turn()
                if future.done() and future.exception() is not None:
                    break
        except Exception as error:
            failure = error
        outcomes = await asyncio.gather(*sent, return_exceptions=True)
        done = sum(outcome for outcome in outcomes if isinstance(outcome, int))
        for outcome in (failure, *outcomes):
            if isinstance(outcome, BaseException):
                raise in_parts(outcome, done)
        return done

    def _send_part(
        self, topic: Topic | str, future: "asyncio.Future[int]", part: Sequence[Sendable], partition: int | None
    ) -> None:
        send = self._producer._native.send_many_async
        self._in_turn(topic, future, lambda native: send(self._queue, future, native, part, partition))

    def send_packed(
        self, topic: Topic | str, records: Bytes, partition: int | None = None
    ) -> "asyncio.Future[int]":
        """See `ringlane.Producer.send_packed`: await the result for how many there are. What takes more than half of the
        send buffer had better be sent in several calls: one call would block the loop until there is room.
        """
        future: asyncio.Future[int] = self._create_future()
        if not isinstance(records, bytes):
            records = bytes(memoryview(records))
        send = self._producer._native.send_packed_async
        self._in_turn(topic, future, lambda native: send(self._queue, future, native, records, partition))
        return future

    async def flush(self) -> None:
        """Waits until everything that was sent before has its outcome."""
        await self._outcomes.turn()
        await asyncio.to_thread(self._producer.flush)

    async def cancel(self, receipt: Receipt | tuple[int, int, int]) -> None:
        """Takes back a delayed record that is not visible yet."""
        await asyncio.to_thread(self._producer.cancel, receipt)

    @property
    def name(self) -> str | None:
        """The name that it goes on under after a restart."""
        return self._producer.name

    @property
    def epoch(self) -> int:
        """See `ringlane.Producer.epoch`."""
        return self._producer.epoch

    async def last_sent(self, topic: Topic | str, partition: int) -> int | None:
        """See `ringlane.Producer.last_sent`."""
        return await asyncio.to_thread(self._producer.last_sent, topic, partition)

    async def last_message_id(self, topic: Topic | str, partition: int) -> bytes | None:
        """See `ringlane.Producer.last_message_id`."""
        return await asyncio.to_thread(self._producer.last_message_id, topic, partition)

    def transaction(
        self, id: str | None = None, checker: str | None = None, timeout: Time | None = None
    ) -> Transaction:
        """Begins a transaction, for an `async with` block: leaving it commits, an exception rolls back."""
        return Transaction(self._producer.transaction(id, checker, timeout))

    async def send_in_transaction(
        self,
        topic: Topic | str,
        value: Bytes | None,
        local: Callable[[str], Union[Outcome, Awaitable[Outcome]]],
        *,
        checker: str,
        id: str | None = None,
        timeout: Time | None = None,
        key: Bytes | None = None,
        headers: Headers | None = None,
        tag: str | None = None,
        timestamp_ms: int | None = None,
        partition: int | None = None,
        message_id: Bytes | str | None = None,
    ) -> Outcome:
        """See `ringlane.Producer.send_in_transaction`. `local` may be a coroutine function; a plain function runs in
        the loop, so one that blocks had better be `lambda id: asyncio.to_thread(function, id)`.
        """
        transaction = self.transaction(id, checker, timeout)
        try:
            transaction.send(
                topic, value, key=key, headers=headers, tag=tag, timestamp_ms=timestamp_ms, partition=partition,
                message_id=message_id,
            )  # fmt: skip
            await transaction.prepare()
            answer = local(transaction.id)
            outcome = await answer if inspect.isawaitable(answer) else answer
            if not isinstance(outcome, Outcome):
                raise TypeError(f"the local part must answer with an Outcome, not {outcome!r}; the checker is asked")
            if outcome is Outcome.COMMIT:
                await transaction.commit()
            elif outcome is Outcome.ROLL_BACK:
                await transaction.roll_back()
            return outcome
        finally:
            transaction.close()

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


__all__ = ["Producer"]
