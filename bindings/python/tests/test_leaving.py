"""Members that leave with records in their hands: that is no failure of the records."""

from __future__ import annotations

import pathlib

import ringlane


def prepare(engine: ringlane.Engine) -> None:
    """One record, in a group that gives up after two failures."""
    engine.create_topic("orders")
    engine.create_topic("dead")
    engine.create_group(
        "billing", topics={"orders": "beginning"}, max_deliveries=2, retry_delay=0, retry_delay_max=0,
        dead_letter_topic="dead",
    )  # fmt: skip
    with engine.producer() as producer:
        producer.send_sync("orders", b"chair")


def assert_none_is_dead(engine: ringlane.Engine) -> None:
    """Dead letters are written behind what made them: a record that is handed out is none."""
    assert engine.topic("dead").offsets(0).next == 0
    (partition,) = engine.describe_group("billing")["partitions"]
    assert partition["lag"] == 1


def test_what_a_member_holds_when_it_is_closed_has_not_failed(engine: ringlane.Engine) -> None:
    prepare(engine)
    for time in range(1, 6):
        with engine.join("billing", lease=60) as member:
            (record,) = member.poll(timeout=5)
            assert (record.value, record.delivery_count) == (b"chair", time)
    assert_none_is_dead(engine)
    # What is a failure counts still.
    with engine.join("billing") as member:
        for time in (6, 7):
            (record,) = member.poll(timeout=5)
            assert record.delivery_count == time
            member.nack(record, delay=0)
        with engine.consumer() as consumer:
            consumer.assign("dead", 0)
            assert [letter.value for letter in consumer.poll(timeout=5)] == [b"chair"]


def test_what_a_member_holds_when_its_engine_is_closed_has_not_failed(path: pathlib.Path) -> None:
    with ringlane.open(path) as engine:
        prepare(engine)
    for time in range(1, 6):
        with ringlane.open(path) as engine:
            member = engine.join("billing", lease=60)
            (record,) = member.poll(timeout=5)
            assert (record.value, record.delivery_count) == (b"chair", time)
        assert member.closed
    with ringlane.open(path) as engine:
        assert_none_is_dead(engine)


def test_what_was_polled_and_not_given_out_yet_is_released_too(engine: ringlane.Engine) -> None:
    prepare(engine)
    with engine.producer() as producer:
        producer.send_many_sync("orders", [b"table", b"lamp"])
    for _ in range(3):
        with engine.join("billing", lease=60) as member:
            assert len(member.poll(timeout=5, max_records=1)) == 1
            for record in member.records(timeout=5):
                break
    with engine.join("billing", lease=60) as member:
        seen = [record.value for record in member.records(timeout=0.3)]
    assert sorted(value or b"" for value in seen) == [b"chair", b"lamp", b"table"]
    assert engine.topic("dead").offsets(0).next == 0
