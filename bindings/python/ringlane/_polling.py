"""Consumers, and members of groups.

Invariants of both:
- What was polled and not given out yet, because fewer records were wanted or a loop was left, comes first the next time.
- A loop ends when its consumer or member, or the engine, is closed.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Iterable, Iterator, TypeVar

from . import _native
from ._native import Batch, Record
from ._sending import Bytes, Delivery
from ._values import Once, Start, Time, milliseconds, parsed, start, timeout as wait_of
from .errors import Closed

if TYPE_CHECKING:
    from ._engine import Engine, Topic

N = TypeVar("N", _native.Consumer, _native.Member)


class _Polling(Generic[N]):
    _native: N
    _left: list[Record]

    def poll(self, max_records: int | None = None, timeout: Time | None = None) -> list[Record]:
        """The next records: up to `max_records`, or as many as one poll has. Waits for the first one up to `timeout`;
        None waits for ever. An empty list: nothing came.
        """
        if max_records is not None and max_records < 1:
            raise ValueError("max_records must be 1 or more")
        wait = wait_of(timeout)
        if not self._left:
            records = self._native.poll(wait)
            if max_records is None or len(records) <= max_records:
                return records
            self._left = records
        elif self._native.closed:
            self._native.poll(0)  # says that it is closed
        records = self._left[:max_records]
        self._left = [] if max_records is None else self._left[max_records:]
        return records

    def poll_views(self, timeout: Time | None = None) -> Batch:
        """The next records in place, for a `with` block: keys and values are memoryviews of the log's own memory, and
        are released when the block ends. Records that an earlier poll has left over are not among them: poll those first.
        """
        return self._native.poll_batch(wait_of(timeout))

    def __iter__(self) -> Iterator[Record]:
        """Each record as it comes, until this is closed."""
        return self.records()

    def records(self, timeout: Time | None = None) -> Iterator[Record]:
        """Each record as it comes; ends when none came for `timeout`."""
        while True:
            try:
                records = self.poll(timeout=timeout)
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
                    self._left = records[at:] + self._left

    def batches(self, max_records: int | None = None, timeout: Time | None = None) -> Iterator[list[Record]]:
        """Records as polls give them; ends when none came for `timeout`."""
        while True:
            try:
                records = self.poll(max_records, timeout)
            except Closed:
                return
            if not records:
                return
            yield records

    def wakeup(self) -> None:
        """Ends the poll that waits in another thread, or the next one that would: it raises `Woken`."""
        self._native.wakeup()

    @property
    def closed(self) -> bool:
        return self._native.closed

    def close(self) -> None:
        """Ends it; who waits in a poll gets `Closed`. Closing again changes nothing."""
        self._native.close()
        self._left = []

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Consumer(_Polling[_native.Consumer]):
    """Reads partitions; one thread at a time uses it."""

    def __init__(self, engine: "Engine", native: _native.Consumer) -> None:
        self._engine = engine
        self._native = native
        self._left = []

    def __enter__(self) -> "Consumer":
        return self

    def assign(self, topic: "Topic | str", partition: int, start_at: Start = "beginning") -> None:
        """Begins to read a partition: at "beginning", "end", an offset, or the first record since a datetime."""
        if partition is None:
            raise TypeError("partition must be int; assign_all reads all of them")
        kind, value = start(start_at)
        self._native.assign(self._engine._topic(topic), partition, kind, value)
        self._forget(topic, partition)

    def assign_all(self, topic: "Topic | str", start_at: Start = "beginning") -> None:
        """Begins to read all partitions of a topic."""
        kind, value = start(start_at)
        self._native.assign(self._engine._topic(topic), None, kind, value)
        self._forget(topic, None)

    def unassign(self, topic: "Topic | str", partition: int | None = None) -> None:
        """Reads a partition no more; None: none of the topic."""
        self._native.unassign(self._engine._topic(topic), partition)
        self._forget(topic, partition)

    def seek(self, topic: "Topic | str", partition: int, place: Start) -> None:
        """Goes on elsewhere in a partition that is read."""
        kind, value = start(place)
        self._native.seek(self._engine._topic(topic), partition, kind, value)
        self._forget(topic, partition)

    def position(self, topic: "Topic | str", partition: int) -> int | None:
        """The offset of the next record that a partition gives; None: it is not assigned."""
        position = self._native.position(self._engine._topic(topic), partition)
        name = topic if isinstance(topic, str) else topic.name
        for record in self._left:
            if record.topic == name and record.partition == partition:
                return record.offset
        return position

    def continuity(self) -> dict[str, Any] | None:
        """What the numbers of the records that were polled say: `report` and `findings`."""
        result: dict[str, Any] | None = parsed(self._native.continuity())
        return result

    def explain_missing(self) -> list[dict[str, Any]]:
        """Why numbers are missing among the records that were polled."""
        result: list[dict[str, Any]] = parsed(self._native.explain_missing())
        return result

    def _forget(self, topic: "Topic | str", partition: int | None) -> None:
        """What was left over of a partition is not wanted any more: it is read anew."""
        if self._left:
            name = topic if isinstance(topic, str) else topic.name
            self._left = [
                record
                for record in self._left
                if record.topic != name or (partition is not None and record.partition != partition)
            ]


class Member(_Polling[_native.Member]):
    """A member of a group: what it polls is held for it under a lease, until it says how the work went.

    One thread at a time polls, pauses and resumes; any thread may end deliveries.
    """

    def __init__(self, native: _native.Member, group: str) -> None:
        self._native = native
        self._left = []
        self.group = group

    def __enter__(self) -> "Member":
        return self

    def ack(self, records: Delivery | Iterable[Delivery]) -> int:
        """They were processed, and are not handed out again. Durable with the next flush, or within some 60 ms."""
        return self._native.ack(records)

    def ack_all(self, records: Iterable[Delivery]) -> int:
        """The same for all records of a poll."""
        return self._native.ack(records)

    def ack_through(self, record: Delivery) -> int:
        """Acknowledges everything of the record's partition that this member holds, up to it. Says how many below it
        were lost before, and are somebody else's."""
        return self._native.ack_through(record)

    def nack(self, records: Delivery | Iterable[Delivery], delay: Time | None = None) -> int:
        """They could not be processed: they are handed out again after a delay, by default that of the group."""
        return self._native.nack(records, -1 if delay is None else wait_of(delay))

    def reject(self, records: Delivery | Iterable[Delivery]) -> int:
        """Nobody can process them: they go to the dead letters at once."""
        return self._native.reject(records)

    def release(self, records: Delivery | Iterable[Delivery]) -> int:
        """They were not worked on: they are handed out again at once, and that was no failure."""
        return self._native.release(records)

    def extend(self, records: Delivery | Iterable[Delivery], lease: Time) -> int:
        """Holds them for so long from now on."""
        return self._native.extend(records, milliseconds(lease))

    def once(self, record: Delivery, token: Bytes | str) -> Once:
        """Whether something was processed under a token, which belongs to the delivery from then on."""
        return Once(self._native.once(record, token))

    def flush(self) -> None:
        """Waits until everything that was acknowledged before is durable."""
        self._native.flush()

    @property
    def in_flight(self) -> int:
        """How many records the member holds."""
        return self._native.in_flight()

    def pause(self, topic: "Topic | str", partition: int) -> None:
        """The member is given nothing more of a partition; what it holds of it stays."""
        self._native.pause(topic if isinstance(topic, str) else topic.name, partition)

    def resume(self, topic: "Topic | str", partition: int) -> None:
        """The member is given records of a partition again."""
        self._native.resume(topic if isinstance(topic, str) else topic.name, partition)


#: As RocketMQ's and Kafka's clients, and the engine itself, call it.
GroupConsumer = Member

__all__ = ["Consumer", "GroupConsumer", "Member"]
