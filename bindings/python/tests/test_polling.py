"""Consumers and members of groups."""

from __future__ import annotations

import datetime
import gc
import threading
import time

import pytest

import ringlane


@pytest.fixture(autouse=True)
def ten(producer: ringlane.Producer, orders: ringlane.Topic) -> None:
    """Ten records, five in each partition."""
    for partition in (0, 1):
        producer.send_many_sync(orders, [b"%d" % number for number in range(5)], partition=partition)


def test_places_to_start_at(engine: ringlane.Engine, producer: ringlane.Producer, orders: ringlane.Topic) -> None:
    with engine.consumer() as consumer:
        assert consumer.position(orders, 0) is None
        consumer.assign(orders, 0, "end")
        assert consumer.position(orders, 0) == 5
        consumer.seek(orders, 0, 3)
        assert [record.offset for record in consumer.poll(timeout=1)] == [3, 4]
        consumer.seek("orders", 0, "offset:4")
        assert [record.offset for record in consumer.poll(timeout=1)] == [4]
        consumer.seek(orders, 0, datetime.datetime.now() - datetime.timedelta(hours=1))
        assert consumer.position(orders, 0) == 0
        consumer.seek(orders, 0, f"timestamp:{int(time.time() * 1000) + 3_600_000}")
        assert consumer.position(orders, 0) == 5
        consumer.unassign(orders, 0)
        with pytest.raises(ringlane.InvalidArgument):
            consumer.seek(orders, 0, 0)
        consumer.assign_all(orders, "beginning")
        consumer.unassign(orders)
        for start, error in ((-1, ValueError), ("middle", ValueError), (1.5, TypeError), (None, TypeError)):
            with pytest.raises(error):
                consumer.assign(orders, 0, start)  # type: ignore[arg-type]


def test_a_poll_gives_no_more_than_is_wanted_and_the_rest_next(
    consumer: ringlane.Consumer, orders: ringlane.Topic
) -> None:
    first = consumer.poll(timeout=1, max_records=3)
    assert len(first) == 3
    partition = first[0].partition
    assert consumer.position(orders, partition) == 3
    rest = consumer.poll(timeout=1)
    assert len(first) + len(rest) == 10
    assert len({(record.partition, record.offset) for record in first + rest}) == 10
    assert consumer.poll(timeout=0) == []
    with pytest.raises(ValueError):
        consumer.poll(max_records=0)
    # A seek forgets what is left over of its partition.
    for each in (0, 1):
        consumer.seek(orders, each, 0)
    consumer.poll(timeout=1, max_records=1)
    for each in (0, 1):
        consumer.seek(orders, each, 4)
    assert [record.offset for record in consumer.poll(timeout=1)] == [4, 4]


def test_a_loop_that_was_left_loses_nothing(consumer: ringlane.Consumer) -> None:
    seen = []
    for record in consumer:
        seen.append(record)
        if len(seen) == 4:
            break
    gc.collect()
    seen.extend(consumer.records(timeout=0.1))
    assert len({(record.partition, record.offset) for record in seen}) == len(seen) == 10
    assert list(consumer.batches(timeout=0.05, max_records=5)) == []


def test_a_poll_is_woken_and_ends_when_it_is_closed(consumer: ringlane.Consumer) -> None:
    list(consumer.records(timeout=0.1))
    threading.Timer(0.05, consumer.wakeup).start()
    with pytest.raises(ringlane.Woken):
        consumer.poll()
    threading.Timer(0.05, consumer.close).start()
    begun = time.monotonic()
    assert list(consumer) == []
    assert time.monotonic() - begun < 5
    with pytest.raises(ringlane.Closed):
        consumer.poll()


def test_two_threads_in_one_consumer_are_told(consumer: ringlane.Consumer, orders: ringlane.Topic) -> None:
    list(consumer.records(timeout=0.1))
    thread = threading.Thread(target=lambda: consumer.poll(timeout=1))
    thread.start()
    deadline = time.monotonic() + 5
    with pytest.raises(ringlane.InUse):
        while time.monotonic() < deadline:
            consumer.position(orders, 0)
    thread.join()


def test_records_in_place(consumer: ringlane.Consumer) -> None:
    with consumer.poll_views(timeout=1) as batch:
        assert len(batch) >= 5
        view = batch[0]
        assert (view.topic, view.offset, view.headers, view.key, view.message_id) == ("orders", 0, [], None, None)
        assert (view.delivery_count, view.delivery, view.late, view.epoch) == (0, None, False, 0)
        assert view.partition in (0, 1) and view.timestamp_ms > 0 and view.producer == 0 and view.sequence >= 0
        value = view.value
        assert value is not None and bytes(value) == b"0" and value.readonly
        part = value[:1]
        assert sum(1 for _ in batch) == len(batch)
        assert view.record.nbytes > value.nbytes
        with pytest.raises(IndexError):
            batch[len(batch)]
    with pytest.raises(ValueError, match="released"):
        bytes(value)
    with pytest.raises(ValueError, match="released"):
        view.value
    # What was cut out of it keeps the memory, and is right.
    assert bytes(part) == b"0"
    del part
    batch.release()
    rest = consumer.poll_views(timeout=0)
    rest.release()
    with consumer.poll_views(timeout=0) as none:
        assert len(none) == 0


def test_held_memory_is_bounded_and_given_back(engine: ringlane.Engine, consumer: ringlane.Consumer) -> None:
    batch = consumer.poll_views(timeout=1)
    value = batch[0].value
    assert engine.stats()["held_bytes"] > 0
    del batch
    gc.collect()
    assert value is not None and bytes(value) == b"0"
    value.release()
    del value
    gc.collect()
    assert engine.stats()["held_bytes"] == 0


def test_filters_and_continuity(engine: ringlane.Engine, producer: ringlane.Producer, orders: ringlane.Topic) -> None:
    producer.send_sync(orders, b"paid", tag="paid")
    with engine.consumer(filter="tag = paid", max_poll_records=2) as consumer:
        consumer.assign_all(orders)
        assert [record.value for record in consumer.records(timeout=0.2)] == [b"paid"]
        report = consumer.continuity()
        assert report is not None and report["findings"] == []
        assert consumer.explain_missing() == []
    with engine.consumer(continuity=False) as consumer:
        assert consumer.continuity() is None
    with pytest.raises(ringlane.InvalidArgument):
        engine.consumer(filter="tag =")


def test_what_was_given_up_is_told(engine: ringlane.Engine, orders: ringlane.Topic) -> None:
    with engine.consumer() as consumer:
        consumer.assign(orders, 0)
        orders.delete_records(0, 3)
        with pytest.raises(ringlane.Truncated) as raised:
            consumer.poll(timeout=1)
        assert raised.value.details[:2] == (0, 3)
        consumer.seek(orders, 0, 3)
        assert len(consumer.poll(timeout=1)) == 2


def test_a_member_says_how_the_work_went(engine: ringlane.Engine, member: ringlane.Member) -> None:
    records = member.poll(timeout=1)
    records += member.poll(timeout=1) if len(records) < 10 else []
    assert len(records) == 10 and member.in_flight == 10 and member.group == "billing"
    assert all(record.delivery_count == 1 and record.delivery is not None for record in records)
    assert member.ack(records[0]) == 1
    assert member.ack(record for record in records[1:3]) == 2
    assert records[3].delivery is not None and member.ack(records[3].delivery) == 1
    assert member.extend(records[4:], lease=60) == 6
    assert member.release(records[4]) == 1
    assert member.nack(records[5], delay=0.01) == 1
    assert member.nack([records[6]]) == 1
    assert member.reject(records[7]) == 1
    assert member.ack_through(records[8]) == 0
    with pytest.raises(ringlane.AlreadyAcknowledged) as raised:
        member.ack(records[0])
    assert raised.value.details[:2] == (records[0].partition, records[0].offset)
    assert raised.value.done == 0
    with pytest.raises(ringlane.NotDelivered):
        member.ack((0, 99, 1))
    member.flush()
    again = list(member.records(timeout=0.3))
    assert {(one.partition, one.offset) for one in again} == {(one.partition, one.offset) for one in records[4:7]}
    assert all(record.delivery_count == 2 for record in again)
    assert member.ack_all(again) == 3
    if member.in_flight:
        member.ack(records[9])
    assert engine.describe_group("billing")["name"] == "billing"
    assert engine.redrive("billing") == {"redriven": 1, "unfinished": 0, "gone": 0, "is_full": False}
    (record,) = member.poll(timeout=5)
    assert (record.partition, record.offset) == (records[7].partition, records[7].offset)
    member.ack(record)


def test_how_many_of_several_were_done_before_an_error(member: ringlane.Member) -> None:
    records = member.poll(timeout=1)
    member.ack(records[1])
    with pytest.raises(ringlane.AlreadyAcknowledged) as raised:
        member.ack(records)
    assert raised.value.done == len(records) - 1


def test_an_inbox_knows_tokens(producer: ringlane.Producer, member: ringlane.Member) -> None:
    producer.send_many_sync("orders", [ringlane.NewRecord(b"x", key=b"same")] * 3)
    records = [record for record in member.records(timeout=0.2) if record.key == b"same"]
    assert member.once(records[0], "order-7") is ringlane.Once.FRESH
    assert member.once(records[1], b"order-7") is ringlane.Once.IN_PROGRESS
    member.ack(records[0])
    assert member.once(records[2], "order-7") is ringlane.Once.DUPLICATE
    with pytest.raises(ringlane.InvalidArgument):
        member.once(records[2], b"")


def test_a_member_pauses_and_resumes(member: ringlane.Member, orders: ringlane.Topic) -> None:
    member.pause(orders, 0)
    assert {record.partition for record in member.records(timeout=0.2)} == {1}
    member.resume("orders", 0)
    assert {record.partition for record in member.records(timeout=0.2)} == {0}
    with pytest.raises((ringlane.InvalidPartition, ringlane.InvalidArgument)):
        member.pause(orders, 9)


def test_a_lease_runs_out(engine: ringlane.Engine, member: ringlane.Member) -> None:
    with engine.join("billing", lease=0.1) as short:
        records = short.poll(timeout=1, max_records=1)
        time.sleep(0.3)
        with pytest.raises(ringlane.LeaseLost):
            short.ack(records)


def test_members_see_records_in_place_as_well(member: ringlane.Member) -> None:
    with member.poll_views(timeout=1) as batch:
        views = list(batch)
        assert views[0].delivery_count == 1
        assert member.ack(views[0]) == 1
        assert member.ack(views[1:]) == len(views) - 1
    with pytest.raises(ValueError, match="released"):
        member.ack(views[0])


def test_groups_are_described_moved_and_deleted(engine: ringlane.Engine, member: ringlane.Member) -> None:
    engine.create_group("ordered", kind="ordered", topics={"orders": 3}, max_deliveries=5, retry_delay_max=60)
    assert {group["name"] for group in engine.groups()} == {"billing", "ordered"}
    with engine.join("ordered", max_poll_records=10) as second:
        assert sorted(record.offset for record in second.records(timeout=0.2)) == [3, 3, 4, 4]
    assert engine.reset_group("ordered", "orders", 1, "end") == 5
    assert engine.reset_group("ordered", "orders", 1, 1) == 1
    engine.delete_group("billing")
    with pytest.raises(ringlane.GroupDeleted):
        member.poll(timeout=1)
    with pytest.raises(ringlane.UnknownGroup):
        engine.describe_group("billing")
    with pytest.raises(ringlane.UnknownGroup):
        engine.join("nobody")
    with pytest.raises(ringlane.GroupExists):
        engine.create_group("ordered", topics={"orders": "end"})
    with pytest.raises(ringlane.InvalidArgument):
        engine.create_group("odd", kind="odd", topics={"orders": "end"})
    with pytest.raises(ringlane.NoDeadLetter):
        engine.redrive("ordered", topic="orders", partition=0, offset=0)
    with pytest.raises(ValueError):
        engine.redrive("ordered", topic="orders")


def test_the_first_argument_of_a_poll_is_its_timeout(consumer: ringlane.Consumer, member: ringlane.Member) -> None:
    for polled in (consumer, member):
        list(polled.records(0.1))
        begun = time.monotonic()
        assert polled.poll(0.05) == [] and list(polled.batches(0.05)) == []
        assert 0.09 < time.monotonic() - begun < 5
        for wrong in (1.0, True, "1"):
            with pytest.raises(TypeError, match="max_records must be int"):
                polled.poll(0, max_records=wrong)  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="max_records must be int"):
                list(polled.batches(0, max_records=wrong))  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            polled.poll(1, 1)  # type: ignore[call-arg]


def test_a_filter_that_passes_over_much_ends_at_the_end_only(
    engine: ringlane.Engine, producer: ringlane.Producer, orders: ringlane.Topic
) -> None:
    for partition in (0, 1):
        # Much more than is read at once.
        for _ in range(5):
            producer.send_many_sync(orders, [bytes(500_000)] * 4, partition=partition)
        producer.send_sync(orders, b"paid", partition=partition, tag="paid")
    with engine.consumer(filter="tag = paid", max_poll_bytes=1000) as consumer:
        consumer.assign_all(orders)
        # Nothing came, and yet it is not the end.
        assert consumer.poll(0) == []
        assert (consumer.position(orders, 0) or 0) + (consumer.position(orders, 1) or 0) < 52
        assert [record.value for record in consumer.records(0)] == [b"paid"] * 2
        assert [consumer.position(orders, partition) for partition in (0, 1)] == [26, 26]
        consumer.seek_to_beginning(orders, 0)
        assert [len(batch) for batch in consumer.batches(0)] == [1]
        # A new end is found where there is nothing but what is not wanted.
        producer.send_sync(orders, b"open", partition=0)
        assert list(consumer.records(0)) == [] and consumer.position(orders, 0) == 27


def test_a_loop_ends_though_there_is_always_more_that_is_not_wanted(
    engine: ringlane.Engine, producer: ringlane.Producer, orders: ringlane.Topic
) -> None:
    ends = threading.Event()

    def send() -> None:
        while not ends.is_set():
            producer.send_many(orders, [bytes(100)] * 100)
            time.sleep(0.001)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        with engine.consumer(filter="tag = paid", max_poll_bytes=1000) as consumer:
            consumer.assign_all(orders)
            begun = time.monotonic()
            assert list(consumer.records(0)) == []
            assert time.monotonic() - begun < 10
    finally:
        ends.set()
        thread.join()


def test_a_consumer_says_what_it_reads_and_goes_to_either_end(
    engine: ringlane.Engine, producer: ringlane.Producer, orders: ringlane.Topic
) -> None:
    engine.create_topic("invoices")
    with engine.consumer() as consumer:
        assert consumer.assignment() == []
        consumer.assign_all(orders, "end")
        consumer.assign("invoices", 0)
        assert consumer.assignment() == [("orders", 0), ("orders", 1), ("invoices", 0)]
        consumer.seek_to_beginning("orders", 1)
        assert (consumer.position(orders, 0), consumer.position(orders, 1)) == (5, 0)
        consumer.seek_to_end(orders, 1)
        assert consumer.position(orders, 1) == 5
        consumer.unassign(orders, 0)
        assert consumer.assignment() == [("orders", 1), ("invoices", 0)]
        consumer.unassign("orders")
        assert consumer.assignment() == [("invoices", 0)]
        # What could not be assigned is not among them.
        orders.delete_records(1, 3)
        with pytest.raises(ringlane.Truncated):
            consumer.assign_all(orders, 1)
        assert consumer.assignment() == [("invoices", 0), ("orders", 0)]
        with pytest.raises(ringlane.InvalidPartition):
            consumer.assign(orders, 9)
        with pytest.raises(ringlane.InvalidArgument):
            consumer.seek_to_end(orders, 1)


def test_a_loop_that_goes_elsewhere_sees_nothing_of_where_it_was(
    consumer: ringlane.Consumer, orders: ringlane.Topic
) -> None:
    consumer.unassign(orders, 1)
    seen = []
    for record in consumer.records(0):
        seen.append(record.offset)
        assert consumer.position(orders, 0) == record.offset + 1
        if record.offset == 1:
            consumer.seek(orders, 0, 4)
    assert seen == [0, 1, 4]
