"""Producers.

Invariants:
- What is sent was taken when the call returns: the caller may change it.
- What was handed over has an outcome that somebody is told: no call that has handed something over ends without it.
"""

from __future__ import annotations

import datetime
import functools
import itertools
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable, Iterable, Sequence, TypeVar

from . import _native
from ._futures import BatchFuture, Future, in_parts
from ._native import Receipt
from ._transactions import Transaction
from ._types import Bytes, Headers, OnDelivery, Sendable
from ._values import Outcome, Time
from .errors import RinglaneError, TopicDeleted

if TYPE_CHECKING:
    from ._engine import Engine, Topic

T = TypeVar("T")

#: Records of one hand-over of `send_many`.
_RECORDS_OF_A_PART = 8192


def _tell(on_delivery: OnDelivery, future: "Future[Receipt]") -> None:
    error = future.exception()
    if error is None:
        on_delivery(None, future.result())
    else:
        on_delivery(error if isinstance(error, RinglaneError) else RinglaneError(str(error)), None)


class Producer:
    """Sends records to any topics; any number of threads may use it."""

    def __init__(self, engine: "Engine", native: _native.Producer, name: str | None) -> None:
        self._engine = engine
        self._native = native
        self.name = name
        self._send_native = native.send_async
        self._queue = engine._completions.queue

    def send(
        self,
        topic: "Topic | str",
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
        on_delivery: OnDelivery | None = None,
    ) -> Future[Receipt]:
        """Sends a record; its receipt arrives in the future. Blocks only while the send buffer is full.

        `visible_after` delays it by a time, `visible_at` until a datetime or seconds since 1970.
        """
        self._engine._completions_begin()
        future: Future[Receipt] = Future()
        if on_delivery is not None:
            future.add_done_callback(functools.partial(_tell, on_delivery))
        fields = (
            value, key, headers, tag, timestamp_ms, partition, sequence, message_id, visible_after, visible_at,
        )  # fmt: skip
        try:
            self._send_native(self._queue, future, self._engine._topic(topic), *fields)
        except TopicDeleted:
            # It may have been made anew under its name.
            self._send_native(self._queue, future, self._engine._topic_again(topic), *fields)
        return future

    def send_sync(
        self,
        topic: "Topic | str",
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
    ) -> Receipt:
        """Sends a record, and waits until it is on the device."""
        return self._on(
            topic, self._native.send, value, key, headers, tag, timestamp_ms, partition, sequence, message_id,
            visible_after, visible_at,
        )  # fmt: skip

    def send_many(
        self, topic: "Topic | str", records: Iterable[Sendable], *, partition: int | None = None
    ) -> BatchFuture:
        """Sends many records in few hand-overs; the future says how many there are, when all are there.

        Of records that were polled, key, value, headers and time are sent. If nothing could be handed over, that is
        raised; what goes wrong behind the first part is told by the future, and nothing more of the records is taken.
        An exception of the iterable itself is raised, with a note of how many records go their way all the same.
        """
        self._engine._completions_begin()
        batch = BatchFuture()
        handed_over = 0
        parts = iter(_parts(records))
        while True:
            try:
                part = next(parts, None)
            except Exception as error:
                raise noted(error, handed_over)
            if part is None:
                break
            outcome = batch._add_part()
            try:
                handed_over += self._on(topic, self._send_many, outcome, part, partition)
            except Exception as error:
                if not handed_over:
                    raise in_parts(error, 0)
                outcome.set_exception(error)
                break
        batch._end_of_parts()
        return batch

    def _send_many(
        self, topic: _native.Topic, outcome: "_native._Awaits", part: Sequence[Sendable], partition: int | None
    ) -> int:
        return self._native.send_many_async(self._queue, outcome, topic, part, partition)

    def send_many_sync(
        self, topic: "Topic | str", records: Iterable[Sendable], *, partition: int | None = None
    ) -> list[Receipt]:
        """Sends many records in one hand-over, and waits until all are on the device."""
        if not isinstance(records, (list, tuple, str, bytes)):
            records = tuple(records)
        return self._on(topic, self._native.send_many, records, partition)

    def send_packed(self, topic: "Topic | str", records: Bytes, partition: int | None = None) -> Future[int]:
        """Sends records that are in the layout of docs/FORMAT.md already, as `Batch.packed` gives them, in one
        hand-over; the future says how many there are, when all are there. Without `partition` their keys say where.
        """
        self._engine._completions_begin()
        future: Future[int] = Future()

        def send(native: _native.Topic) -> int:
            return self._native.send_packed_async(self._queue, future, native, records, partition)

        self._on(topic, send)
        return future

    def send_packed_sync(self, topic: "Topic | str", records: Bytes, partition: int | None = None) -> int:
        """The same, and waits until all are on the device; says how many."""
        return self._on(topic, self._native.send_packed, records, partition)

    def flush(self) -> None:
        """Waits until everything that was sent before has its outcome."""
        self._native.flush()

    def cancel(self, receipt: Receipt | tuple[int, int, int]) -> None:
        """Takes back a delayed record that is not visible yet."""
        self._native.cancel(*(receipt.id if isinstance(receipt, Receipt) else receipt))

    @property
    def epoch(self) -> int:
        """How often the producer's name was opened up to this one; 0 without a name."""
        return self._native.epoch()

    def last_sent(self, topic: "Topic | str", partition: int) -> int | None:
        """The number of the last record of this producer, or an earlier one of its name, in a partition."""
        return self._native.last_sent(self._engine._topic(topic), partition)

    def last_message_id(self, topic: "Topic | str", partition: int) -> bytes | None:
        """The message id of the record that `last_sent` tells of; None: it had none, or there is no such record."""
        return self._native.last_message_id(self._engine._topic(topic), partition)

    def _on(self, topic: "Topic | str", call: Callable[..., T], *arguments: Any) -> T:
        """Calls something with a topic; one that was deleted may have been made anew under its name."""
        try:
            return call(self._engine._topic(topic), *arguments)
        except TopicDeleted:
            return call(self._engine._topic_again(topic), *arguments)

    def transaction(
        self, id: str | None = None, checker: str | None = None, timeout: Time | None = None
    ) -> "Transaction":
        """Begins a transaction. Leaving its `with` block commits it, an exception rolls it back."""
        return Transaction(self, id, checker, timeout)

    def send_in_transaction(
        self,
        topic: "Topic | str",
        value: Bytes | None,
        local: Callable[[str], Outcome],
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
        """A half message: makes the record durable and invisible, runs `local` with the transaction's id, and does what
        it answers. After `Outcome.UNKNOWN`, or an exception, the checker is asked how it ended.
        """
        transaction = Transaction(self, id, checker, timeout)
        try:
            transaction.send(
                topic, value, key=key, headers=headers, tag=tag, timestamp_ms=timestamp_ms, partition=partition,
                message_id=message_id,
            )  # fmt: skip
            transaction.prepare()
            outcome = local(transaction.id)
            if not isinstance(outcome, Outcome):
                raise TypeError(f"the local part must answer with an Outcome, not {outcome!r}; the checker is asked")
            if outcome is Outcome.COMMIT:
                transaction.commit()
            elif outcome is Outcome.ROLL_BACK:
                transaction.roll_back()
            return outcome
        finally:
            transaction.close()

    @property
    def closed(self) -> bool:
        return self._native.closed

    def close(self) -> None:
        """Ends the producer. What was sent goes its way. Closing again changes nothing."""
        self._native.close()

    def __enter__(self) -> "Producer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and not self._native.closed:
                self._native.flush()
        finally:
            self.close()


def noted(error: Exception, handed_over: int) -> Exception:
    """An exception of an iterable of records, with what became of those before it."""
    if handed_over:
        error.add_note(f"{handed_over} records were handed over before, and go their way")
    return error


def _parts(records: Iterable[Sendable], count_max: int = _RECORDS_OF_A_PART) -> Iterable[Sequence[Sendable]]:
    if isinstance(records, (list, tuple)) and len(records) <= count_max:
        return (records,) if records else ()
    if isinstance(records, (str, bytes)):
        raise TypeError("expected an iterable of records, not one value")
    values = iter(records)
    return iter(lambda: tuple(itertools.islice(values, count_max)), ())


__all__ = ["Producer"]
