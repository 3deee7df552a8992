"""Producers and transactions."""

from __future__ import annotations

import datetime
import functools
import itertools
from types import TracebackType
from typing import TYPE_CHECKING, Callable, Iterable, Mapping, Sequence, Union

from . import _native
from ._futures import BatchFuture, Future
from ._native import NewRecord, Receipt, Record, RecordView
from ._values import Outcome, Time, TransactionState, options, text
from .errors import RinglaneError, TopicDeleted

if TYPE_CHECKING:
    from ._engine import Engine, Topic
    from ._polling import Member

Bytes = Union[bytes, bytearray, memoryview]
Headers = Union[Mapping[str, Bytes], Iterable[tuple[str, Bytes]]]
#: What `send_many` takes: values, new records, or records that were polled.
Sendable = Union[Bytes, NewRecord, Record, None]
#: A record of a member's poll, or the `delivery` of one.
Delivery = Union[Record, RecordView, tuple[int, int, int]]
#: Called with the error or None, and the receipt or None.
OnDelivery = Callable[[Union[RinglaneError, None], Union[Receipt, None]], object]

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
        fields = (
            value, key, headers, tag, timestamp_ms, partition, sequence, message_id, visible_after, visible_at,
        )  # fmt: skip
        try:
            return self._native.send(self._engine._topic(topic), *fields)
        except TopicDeleted:
            return self._native.send(self._engine._topic_again(topic), *fields)

    def send_many(
        self, topic: "Topic | str", records: Iterable[Sendable], *, partition: int | None = None
    ) -> BatchFuture:
        """Sends many records in few hand-overs; the future says how many there are, when all are there.

        Of records that were polled, key, value, headers and time are sent. If a hand-over fails, those before it have
        gone their way: the error's `done` says how many records they had.
        """
        self._engine._completions_begin()
        native = self._engine._topic(topic)
        batch = BatchFuture()
        done = 0
        try:
            for part in _parts(records):
                count = self._native.send_many_async(self._queue, batch._add_part(), native, part, partition)
                done += count
        except BaseException as error:
            if isinstance(error, RinglaneError):
                error.done = done
            raise
        batch._end_of_parts()
        return batch

    def send_many_sync(
        self, topic: "Topic | str", records: Iterable[Sendable], *, partition: int | None = None
    ) -> list[Receipt]:
        """Sends many records in one hand-over, and waits until all are on the device."""
        return self._native.send_many(self._engine._topic(topic), records, partition)

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


def _parts(records: Iterable[Sendable], count_max: int = _RECORDS_OF_A_PART) -> Iterable[Sequence[Sendable]]:
    if isinstance(records, (list, tuple)) and len(records) <= count_max:
        return (records,) if records else ()
    if isinstance(records, (str, bytes)):
        raise TypeError("expected an iterable of records, not one value")
    values = iter(records)
    return iter(lambda: tuple(itertools.islice(values, count_max)), ())


class Transaction:
    """Records and acknowledgements that become effective together or not at all; one thread at a time uses it."""

    def __init__(self, producer: Producer, id: str | None, checker: str | None, timeout: Time | None) -> None:
        self._engine = producer._engine
        # It is not collected before its transactions.
        self._producer = producer
        self._has_checker = checker is not None
        given = options({"id": text("id", id), "checker": text("checker", checker), "timeout": timeout})
        self._native = producer._native.transaction(given)
        self.id: str = self._native.id()
        self._engine._children.add(self)

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
        message_id: Bytes | str | None = None,
    ) -> None:
        """Adds a record, which becomes visible by the commit."""
        self._native.send(
            self._engine._topic(topic), value, key, headers, tag, timestamp_ms, partition, None, message_id, None, None
        )

    def ack(self, records: Delivery | Iterable[Delivery], member: "Member | None" = None) -> int:
        """Acknowledges records with the commit; says how many. `member` is needed for bare deliveries only."""
        return self._native.ack(records, None if member is None else member._native)

    def prepare(self) -> None:
        """Makes all of it durable and invisible; from now on only a decision ends it, over restarts too."""
        self._native.prepare()

    def commit(self) -> None:
        """Commits it, prepared or not. To commit again changes nothing."""
        self._native.commit()

    def roll_back(self) -> None:
        """Rolls it back, prepared or not. To roll back again changes nothing."""
        self._native.roll_back()

    def receipts(self) -> list[Receipt]:
        """The receipts of its records, in their order, once it is committed. Waits until all of it is visible."""
        return self._native.receipts()

    @property
    def state(self) -> TransactionState:
        return TransactionState(self._native.state())

    @property
    def closed(self) -> bool:
        return self._native.closed

    def close(self) -> None:
        """Lets go of it: one that is open is rolled back; of one that is prepared the checker is asked."""
        self._native.close()

    def __enter__(self) -> "Transaction":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._native.closed:
            return
        try:
            if kind is None:
                if self.state in (TransactionState.OPEN, TransactionState.PREPARED):
                    self._native.commit()
            elif self.state is TransactionState.OPEN or not self._has_checker:
                try:
                    self._native.roll_back()
                except RinglaneError:
                    # It was decided already, or the engine stopped; the block's own exception says what went wrong.
                    pass
            # One that is prepared and has a checker stays undecided: the local part may have been committed.
        finally:
            self.close()


__all__ = ["Producer", "Transaction"]
