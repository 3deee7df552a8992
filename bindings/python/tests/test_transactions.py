"""Transactions, half messages, and checkers."""

from __future__ import annotations

import pathlib
import queue
import threading
import time
from typing import Callable

import pytest

import ringlane
from ringlane import HalfTransaction, Outcome, TransactionState


def values(consumer: ringlane.Consumer) -> list[bytes | None]:
    return sorted((record.value for record in consumer.records(timeout=0.1)), key=lambda value: value or b"")


def wait_for(question: "queue.Queue[HalfTransaction]") -> HalfTransaction:
    return question.get(timeout=10)


def test_leaving_the_block_commits(
    engine: ringlane.Engine, producer: ringlane.Producer, orders: ringlane.Topic, consumer: ringlane.Consumer
) -> None:
    invoices = engine.create_topic("invoices", partitions=1)
    with producer.transaction(id="order-7") as transaction:
        assert transaction.id == "order-7" and transaction.state is TransactionState.OPEN
        transaction.send(orders, b"order", key=b"7", headers={"a": b"b"}, tag="t", timestamp_ms=1, partition=1)
        transaction.send("invoices", b"invoice", message_id="m")
        assert values(consumer) == []
        assert [one["id"] for one in engine.transactions()] == ["order-7"]
    assert transaction.closed
    assert values(consumer) == [b"order"]
    assert invoices.offsets(0).next == 1
    assert engine.transaction("order-7")["state"] == "committed"
    assert [one["id"] for one in engine.transactions(with_ended=True)] == ["order-7"]
    with pytest.raises(ringlane.TransactionExists):
        producer.transaction(id="order-7")
    with pytest.raises(ringlane.UnknownTransaction):
        engine.transaction("order-8")


def test_an_exception_rolls_back(
    producer: ringlane.Producer, orders: ringlane.Topic, consumer: ringlane.Consumer
) -> None:
    with pytest.raises(ZeroDivisionError):
        with producer.transaction() as transaction:
            transaction.send(orders, b"never")
            1 / 0
    assert transaction.closed and values(consumer) == []


def test_all_steps_by_name(producer: ringlane.Producer, orders: ringlane.Topic, consumer: ringlane.Consumer) -> None:
    transaction = producer.transaction(timeout=30)
    transaction.send(orders, b"a", partition=0)
    transaction.send(orders, b"b", partition=1)
    transaction.prepare()
    states = [transaction.state]
    with pytest.raises(ringlane.WrongTransactionState):
        transaction.send(orders, b"c")
    transaction.commit()
    transaction.commit()
    states.append(transaction.state)
    assert states == [TransactionState.PREPARED, TransactionState.COMMITTED]
    assert [(receipt.partition, receipt.offset) for receipt in transaction.receipts()] == [(0, 0), (1, 0)]
    with pytest.raises(ringlane.TransactionConflict):
        transaction.roll_back()
    transaction.close()
    with pytest.raises(ringlane.Closed):
        transaction.commit()
    with producer.transaction() as other:
        other.send(orders, b"never")
        other.roll_back()
        other.roll_back()
    assert values(consumer) == [b"a", b"b"]


def test_records_are_consumed_and_produced_in_one(
    engine: ringlane.Engine, producer: ringlane.Producer, orders: ringlane.Topic, member: ringlane.Member
) -> None:
    engine.create_topic("results", partitions=1)
    engine.create_group("other", topics={"orders": "beginning"})
    producer.send_many_sync(orders, [b"a", b"b", b"c"], partition=0)
    with engine.join("other") as other:
        records, others = member.poll(timeout=1), other.poll(timeout=1)
        with producer.transaction() as transaction:
            for record in records:
                transaction.send("results", (record.value or b"").upper())
            assert transaction.ack(records[0]) == 1
            assert transaction.ack(records[1:] + others) == 5
        assert member.in_flight == 0 and other.in_flight == 0
    assert engine.topic("results").offsets(0).next == 3
    producer.send_sync(orders, b"d")
    (record,) = member.poll(timeout=1)
    with pytest.raises(RuntimeError):
        with producer.transaction() as transaction:
            assert record.delivery is not None
            with pytest.raises(ValueError, match="member"):
                transaction.ack(record.delivery)
            transaction.ack(record.delivery, member=member)
            raise RuntimeError
    (again,) = member.poll(timeout=5)
    assert again.delivery_count == 2
    member.ack(again)


def test_a_transaction_times_out(producer: ringlane.Producer, orders: ringlane.Topic) -> None:
    with producer.transaction(timeout=0.05) as transaction:
        time.sleep(0.5)
        with pytest.raises(ringlane.TransactionTimedOut) as raised:
            transaction.send(orders, b"too late")
        assert raised.value.aborted and raised.value.details[0] == 50


def test_a_half_message_follows_its_local_part(
    engine: ringlane.Engine, producer: ringlane.Producer, orders: ringlane.Topic, consumer: ringlane.Consumer
) -> None:
    questions: "queue.Queue[HalfTransaction]" = queue.Queue()

    def check(half: HalfTransaction) -> Outcome:
        questions.put(half)
        return Outcome.COMMIT if half.id == "unknown" else Outcome.ROLL_BACK

    engine.register_checker("orders", check, first=0.01, interval=0.01, checks_max=5)
    ids: list[str] = []

    def local(outcome: Outcome) -> Callable[[str], Outcome]:
        def run(id: str) -> Outcome:
            ids.append(id)
            return outcome

        return run

    send = producer.send_in_transaction
    assert send(orders, b"yes", local(Outcome.COMMIT), checker="orders", id="yes") is Outcome.COMMIT
    assert send(orders, b"no", local(Outcome.ROLL_BACK), checker="orders", id="no") is Outcome.ROLL_BACK
    assert send(orders, b"asked", local(Outcome.UNKNOWN), checker="orders", id="unknown") is Outcome.UNKNOWN
    half = wait_for(questions)
    assert (half.id, half.records, half.unknown) == ("unknown", 1, 0) and half.prepared_ms > 0
    assert repr(half) == "<HalfTransaction 'unknown' records=1>"

    def fails(id: str) -> Outcome:
        raise OSError("the database is away")

    with pytest.raises(OSError):
        send(orders, b"failed", fails, checker="orders", id="failed")
    assert wait_for(questions).id == "failed"
    with pytest.raises(TypeError, match="Outcome"):
        send(orders, b"odd", lambda id: None, checker="orders", id="odd")  # type: ignore[arg-type,return-value]
    assert wait_for(questions).id == "odd"
    assert ids == ["yes", "no", "unknown"]
    deadline = time.monotonic() + 10
    while engine.transactions() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert values(consumer) == [b"asked", b"yes"]
    engine.unregister_checker("orders")


def test_what_an_earlier_process_left_is_asked_at_once(path: pathlib.Path) -> None:
    with ringlane.open(path) as engine:
        topic = engine.create_topic("orders", partitions=1)
        with engine.producer() as producer:
            for id in ("first", "second"):
                with pytest.raises(RuntimeError):
                    with producer.transaction(id=id, checker="orders") as transaction:
                        transaction.send(topic, id.encode())
                        transaction.prepare()
                        # The local part may be committed: the block's exception decides nothing.
                        raise RuntimeError
    questions: "queue.Queue[HalfTransaction]" = queue.Queue()
    attempts = 0

    def check(half: HalfTransaction) -> Outcome:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise OSError("the database is away")
        questions.put(half)
        assert threading.current_thread().name == "ringlane-checker-orders"
        return Outcome.COMMIT if half.id == "first" else Outcome.ROLL_BACK

    with ringlane.open(path) as engine:
        engine.register_checker("orders", check, interval=0.01)
        assert {wait_for(questions).id, wait_for(questions).id} == {"first", "second"}
        deadline = time.monotonic() + 10
        while engine.transactions() and time.monotonic() < deadline:
            time.sleep(0.01)
        with engine.consumer() as consumer:
            consumer.assign_all("orders")
            assert values(consumer) == [b"first"]
        # Another checker may take the name.
        engine.register_checker("orders", check)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ringlane")]


def test_a_prepared_transaction_is_decided_by_its_id(
    engine: ringlane.Engine, producer: ringlane.Producer, orders: ringlane.Topic, consumer: ringlane.Consumer
) -> None:
    for id in ("a", "b"):
        transaction = producer.transaction(id=id)
        transaction.send(orders, id.encode())
        transaction.prepare()
        transaction.close()
    engine.commit_transaction("a")
    engine.roll_back_transaction("b")
    with pytest.raises(ringlane.TransactionConflict):
        engine.roll_back_transaction("a")
    with pytest.raises(ringlane.UnknownTransaction):
        engine.commit_transaction("c")
    assert values(consumer) == [b"a"]


def test_a_prepared_transaction_without_a_checker_is_rolled_back_by_an_exception(
    engine: ringlane.Engine, producer: ringlane.Producer, orders: ringlane.Topic
) -> None:
    with pytest.raises(RuntimeError):
        with producer.transaction(id="a") as transaction:
            transaction.send(orders, b"never")
            transaction.prepare()
            raise RuntimeError
    assert engine.transaction("a")["state"] == "rolled-back"


def test_a_checker_has_to_be_callable(engine: ringlane.Engine) -> None:
    with pytest.raises(TypeError):
        engine.register_checker("orders", "no function")  # type: ignore[arg-type]
    with pytest.raises(ringlane.InvalidArgument):
        engine.register_checker("orders", lambda half: Outcome.UNKNOWN, checks_max=-1)
