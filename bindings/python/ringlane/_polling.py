"""Consumers, and members of groups.

Invariants of both:
- What was polled and not given out yet, because fewer records were wanted or a loop has not come to it, comes first the
  next time; a seek forgets it.
- A loop ends when its consumer or member, or the engine, is closed.
"""

from __future__ import annotations

import collections
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Iterable, Iterator, Sequence, TypeVar

from . import _native
from ._native import Batch, Record
from ._types import Bytes, Delivery
from ._values import Once, Start, Time, milliseconds, parsed, start, timeout as wait_of
from .errors import Closed, InvalidArgument, RinglaneError

if TYPE_CHECKING:
    from ._engine import Engine, Topic

N = TypeVar("N", _native.Consumer, _native.Member)


def _count(max_records: int | None) -> int | None:
    if max_records is None:
        return None
    if isinstance(max_records, bool) or not isinstance(max_records, int):
        raise TypeError(f"max_records must be int, not {type(max_records)!r}; the first argument is the timeout")
    if max_records < 1:
        raise ValueError("max_records must be 1 or more")
    return max_records


class _Polling(Generic[N]):
    _native: N
    _left: collections.deque[Record]

    def poll(self, timeout: Time | None = None, *, max_records: int | None = None) -> list[Record]:
        """The next records: up to `max_records`, or as many as one poll has. Waits for the first one up to `timeout`;
        None waits for ever. An empty list: nothing came. With a filter that need not be the end: a poll may have passed
        over records until its time was over. `Consumer.position` says where it is.
        """
        count, wait = _count(max_records), wait_of(timeout)
        left = self._left
        if not left:
            if wait < 0:
                self._check_wait()
            records = self._native.poll(wait)
            if count is None or len(records) <= count:
                return records
            left.extend(records[count:])
            return records[:count]
        if self._native.closed:
            self._native.poll(0)  # says that it is closed
        try:
            return [left.popleft() for _ in range(len(left) if count is None else min(count, len(left)))]
        except IndexError:
            return self._native.poll(0)  # another thread has closed it just now

    def poll_views(self, timeout: Time | None = None) -> Batch:
        """The next records in place, for a `with` block: keys and values are memoryviews of the log's own memory, and
        are released when the block ends. Records that an earlier poll has left over are not among them: poll those first.
        """
        wait = wait_of(timeout)
        if wait < 0:
            self._check_wait()
        return self._native.poll_batch(wait)

    def _check_wait(self) -> None:
        """Whether there is anything that could come."""

    def __iter__(self) -> Iterator[Record]:
        """Each record as it comes, until this is closed."""
        return self.records()

    def records(self, timeout: Time | None = None) -> Iterator[Record]:
        """Each record as it comes; ends when none came for `timeout`."""
        left = self._left
        while True:
            while left:
                try:
                    record = left.popleft()
                except IndexError:
                    break  # another thread has closed it just now
                yield record
            try:
                records = self._poll_to_end(timeout, None)
            except Closed:
                return
            if not records:
                return
            left.extend(records)

    def batches(self, timeout: Time | None = None, *, max_records: int | None = None) -> Iterator[list[Record]]:
        """Records as polls give them; ends when none came for `timeout`."""
        while True:
            try:
                records = self._poll_to_end(timeout, max_records)
            except Closed:
                return
            if not records:
                return
            yield records

    def _poll_to_end(self, timeout: Time | None, max_records: int | None) -> list[Record]:
        """A poll that is empty only where there is nothing more."""
        records = self.poll(timeout, max_records=max_records)
        if not records:
            for _ in self._passing_over():
                records = self.poll(0, max_records=max_records)
                if records:
                    break
        return records

    def _passing_over(self) -> Iterator[None]:
        """After an empty poll: an item for each further one that is needed to know whether this is the end."""
        return iter(())

    def wakeup(self) -> None:
        """Ends the poll that waits in another thread, or the next one that would: it raises `Woken`."""
        self._native.wakeup()

    @property
    def closed(self) -> bool:
        return self._native.closed

    def close(self) -> None:
        """Ends it; who waits in a poll gets `Closed`. Closing again changes nothing."""
        self._native.close()
        self._left.clear()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Consumer(_Polling[_native.Consumer]):
    """Reads partitions; one thread at a time uses it."""

    def __init__(self, engine: "Engine", native: _native.Consumer, has_filter: bool) -> None:
        self._engine = engine
        self._native = native
        self._has_filter = has_filter
        self._left = collections.deque()
        #: What is read, by topic and partition.
        self._assigned: dict[tuple[str, int], _native.Topic] = {}

    def __enter__(self) -> "Consumer":
        return self

    def assign(self, topic: "Topic | str", partition: int, start_at: Start = "beginning") -> None:
        """Begins to read a partition: at "beginning", "end", an offset, or the first record since a datetime."""
        if partition is None:
            raise TypeError("partition must be int; assign_all reads all of them")
        self._assign(self._engine._topic(topic), partition, start_at)

    def assign_all(self, topic: "Topic | str", start_at: Start = "beginning") -> None:
        """Begins to read all partitions of a topic."""
        self._assign(self._engine._topic(topic), None, start_at)

    def _assign(self, topic: _native.Topic, partition: int | None, start_at: Start) -> None:
        kind, value = start(start_at)
        partitions: Sequence[int] = range(topic.partitions()) if partition is None else (partition,)
        try:
            self._native.assign(topic, partition, kind, value)
        except RinglaneError:
            # Some of them may be assigned all the same.
            partitions = [each for each in partitions if self._native.position(topic, each) is not None]
            self._note(topic, partitions)
            raise
        self._note(topic, partitions)

    def _note(self, topic: _native.Topic, partitions: Iterable[int]) -> None:
        for partition in partitions:
            self._assigned[topic.name, partition] = topic
            self._forget(topic.name, partition)

    def unassign(self, topic: "Topic | str", partition: int | None = None) -> None:
        """Reads a partition no more; None: none of the topic."""
        native = self._engine._topic(topic)
        self._native.unassign(native, partition)
        for name, each in list(self._assigned):
            if name == native.name and partition in (None, each):
                del self._assigned[name, each]
        self._forget(native.name, partition)

    def _check_wait(self) -> None:
        if not self._assigned and not self._native.closed:
            raise InvalidArgument(
                "nothing is assigned to the consumer, so it would wait for ever; assign it first, or poll with a timeout"
            )

    def assignment(self) -> list[tuple[str, int]]:
        """What is read: topics and partitions."""
        return list(self._assigned)

    def seek(self, topic: "Topic | str", partition: int, place: Start) -> None:
        """Goes on elsewhere in a partition that is read."""
        kind, value = start(place)
        native = self._engine._topic(topic)
        self._native.seek(native, partition, kind, value)
        self._forget(native.name, partition)

    def seek_to_beginning(self, topic: "Topic | str", partition: int) -> None:
        """Goes to the first record that is kept of a partition that is read."""
        self.seek(topic, partition, "beginning")

    def seek_to_end(self, topic: "Topic | str", partition: int) -> None:
        """Goes behind the last record that is visible of a partition that is read."""
        self.seek(topic, partition, "end")

    def position(self, topic: "Topic | str", partition: int) -> int | None:
        """The offset of the next record that a partition gives; None: it is not assigned."""
        native = self._engine._topic(topic)
        position = self._native.position(native, partition)
        for record in self._left:
            if record.topic == native.name and record.partition == partition:
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

    def _passing_over(self) -> Iterator[None]:
        if not self._has_filter:
            return
        # What comes meanwhile is not waited for: where there is always more that is not wanted, there would be no end.
        ends = {place: topic.offsets(place[1])[1] for place, topic in self._assigned.items()}
        before: dict[tuple[str, int], int] | None = None
        while True:
            positions = {
                place: self._native.position(topic, place[1]) or 0 for place, topic in self._assigned.items()
            }
            if positions == before or all(positions[place] >= end for place, end in ends.items()):
                return
            before = positions
            yield

    def _forget(self, topic: str, partition: int | None) -> None:
        """What was left over of a partition is not wanted any more: it is read anew."""
        kept = [each for each in self._left if each.topic != topic or partition not in (None, each.partition)]
        if len(kept) < len(self._left):
            self._left.clear()
            self._left.extend(kept)


class Member(_Polling[_native.Member]):
    """A member of a group: what it polls is held for it under a lease, until it says how the work went.

    One thread at a time polls, pauses and resumes; any thread may end deliveries.
    """

    def __init__(self, native: _native.Member, group: str) -> None:
        self._native = native
        self._left = collections.deque()
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
