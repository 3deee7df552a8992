"""The package for asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import threading
import time
from typing import Any, AsyncIterator, Coroutine

import pytest

import ringlane
from ringlane import NewRecord, Outcome, TransactionState, aio


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 30))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ringlane")]


@contextlib.asynccontextmanager
async def opened(path: pathlib.Path) -> AsyncIterator[tuple[aio.Engine, aio.Producer]]:
    async with aio.open(path) as engine:
        await engine.create_topic("orders", partitions=2)
        async with await engine.producer() as producer:
            yield engine, producer


def test_a_send_is_awaited(path: pathlib.Path) -> None:
    async def test() -> None:
        async with opened(path) as (engine, producer):
            receipt = await producer.send("orders", b"v", key=b"k", headers={"a": b"b"}, tag="t", message_id="m")
            assert receipt.offset == 0 and receipt.synced
            again = await producer.send(engine.topic("orders"), b"v", key=b"k", message_id="m")
            assert again.duplicate
            receipts = await asyncio.gather(*(producer.send("orders", b"x") for _ in range(2000)))
            assert len({(receipt.partition, receipt.offset) for receipt in receipts}) == 2000
            assert await producer.send_many("orders", [b"y", NewRecord(b"z", key=b"k")] * 5000, partition=1) == 10_000
            assert await producer.send_many("orders", []) == 0
            await producer.flush()
            assert producer.name is None and producer.epoch == 0

    run(test())


def test_sends_never_block_the_loop_when_the_buffer_is_small(path: pathlib.Path) -> None:
    async def test() -> None:
        async with aio.open(path, buffer_bytes_max=65536, max_block_ms=0) as engine:
            await engine.create_topic("orders", partitions=1)
            producer = await engine.producer()
            sent = [producer.send("orders", bytearray(b"%5d" % number), sequence=None) for number in range(5000)]
            many = asyncio.ensure_future(producer.send_many("orders", (b"more" for _ in range(5000))))
            bad = producer.send("orders", b"x", partition=9)
            receipts = await asyncio.gather(*sent)
            assert [receipt.offset for receipt in receipts] == list(range(5000))
            assert await many == 5000
            with pytest.raises(ringlane.InvalidPartition):
                await bad
            last = [producer.send("orders", b"last") for _ in range(3000)]
            await engine.close()
            assert all(future.result().offset is not None for future in last)

    run(test())


def test_errors_arrive_where_one_awaits(path: pathlib.Path) -> None:
    async def test() -> None:
        async with opened(path) as (engine, producer):
            with pytest.raises(TypeError):
                producer.send("orders", "text")  # type: ignore[arg-type]
            with pytest.raises(ringlane.UnknownTopic):
                producer.send("nowhere", b"x")
            with pytest.raises(ringlane.InvalidPartition):
                await producer.send_many("orders", [NewRecord(b"x", partition=5)])
            async with await engine.producer("named") as named:
                assert await named.last_sent("orders", 0) is None
                with pytest.raises(ringlane.SequenceGap):
                    await named.send("orders", b"x", partition=0, sequence=5)
                async with await engine.producer("named"):
                    with pytest.raises(ringlane.ProducerFenced):
                        await named.send("orders", b"x", partition=0)
                named.close()
            # A send that nobody waits for any more goes its way.
            future = producer.send("orders", b"alone", partition=0)
            future.cancel()
            await producer.flush()
            await asyncio.sleep(0.01)
            assert engine.topic("orders").offsets(0).next == 1
            # A topic that was made anew under its name.
            engine.sync_engine._native.delete_topic("orders")
            await engine.create_topic("orders", partitions=1)
            assert (await producer.send("orders", b"new")).offset == 0

    run(test())


def test_a_consumer_is_iterated(path: pathlib.Path) -> None:
    async def test() -> None:
        async with opened(path) as (engine, producer):
            async with engine.consumer() as consumer:
                consumer.assign_all("orders")

                async def send() -> None:
                    for number in range(20):
                        await producer.send("orders", b"%d" % number, partition=number % 2)
                        await asyncio.sleep(0.002)

                task = asyncio.create_task(send())
                seen = []
                async for record in consumer:
                    seen.append(record)
                    if len(seen) == 15:
                        break
                async for record in consumer.records(timeout=0.3):
                    seen.append(record)
                await task
                assert sorted(int(record.value or b"") for record in seen) == list(range(20))
                consumer.seek("orders", 0, 5)
                assert consumer.position("orders", 0) == 5
                assert len(await consumer.poll(timeout=1, max_records=3)) == 3
                batches = [batch async for batch in consumer.batches(timeout=0.05)]
                assert sum(len(batch) for batch in batches) == 2
                report = consumer.continuity()
                assert report is not None and await consumer.explain_missing() == []
                consumer.unassign("orders", 1)
                consumer.assign("orders", 1, "end")
                waits = asyncio.create_task(consumer.poll_views())
                await asyncio.sleep(0.01)
                await producer.send("orders", b"in place", partition=1)
                with await waits as views:
                    assert [bytes(view.value or b"") for view in views] == [b"in place"]
                with await consumer.poll_views(timeout=0.01) as views:
                    assert len(views) == 0
            with pytest.raises(ringlane.Closed):
                await consumer.poll()

    run(test())


def test_a_poll_that_waits_ends_in_every_way(path: pathlib.Path) -> None:
    async def test() -> None:
        async with opened(path) as (engine, producer):
            consumer = engine.consumer()
            consumer.assign_all("orders")
            assert await consumer.poll(timeout=0.02) == []
            for _ in range(20):
                assert await consumer.poll(timeout=0.001) == []
            assert engine._outcomes.queue.pending <= 1
            # Cancelled, it loses nothing.
            task = asyncio.create_task(consumer.poll())
            await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await producer.send("orders", b"x")
            assert [record.value for record in await consumer.poll()] == [b"x"]
            # Closed, it ends.
            task = asyncio.create_task(consumer.poll())
            await asyncio.sleep(0.01)
            consumer.close()
            with pytest.raises(ringlane.Closed):
                await task
            # And so it does with its engine.
            other = engine.consumer()
            other.assign_all("orders", "end")

            async def loop() -> int:
                return len([record async for record in other])

            task2 = asyncio.create_task(loop())
            await asyncio.sleep(0.01)
            await engine.close()
            assert await task2 == 0
            await engine.close()
            assert engine.closed

    run(test())


def test_a_member_works_records_off(path: pathlib.Path) -> None:
    async def test() -> None:
        async with opened(path) as (engine, producer):
            await engine.create_group("billing", topics={"orders": "beginning"}, retry_delay=0.01)
            assert engine.describe_group("billing")["name"] == engine.groups()[0]["name"] == "billing"
            async with engine.join("billing", lease=5) as member:
                waits = asyncio.create_task(member.poll())
                await asyncio.sleep(0.01)
                await producer.send_many("orders", [b"x"] * 6, partition=0)
                records = await waits
                while len(records) < 6:
                    records += await member.poll()
                assert member.in_flight == 6 and member.group == "billing"
                assert member.once(records[0], "token") is ringlane.Once.FRESH
                member.ack(records[0])
                member.extend(records[1], 10)
                member.nack(records[1], delay=0.01)
                member.release(records[2])
                member.reject(records[3])
                member.ack_through(records[4])
                member.ack_all(records[5:])
                await member.flush()
                again = [record async for record in member.records(timeout=0.3)]
                assert sorted(record.offset for record in again) == [1, 2]
                async with producer.transaction() as transaction:
                    transaction.ack(again)
                    transaction.send("orders", b"done", partition=1)
                member.pause("orders", 1)
                assert await member.poll(timeout=0.05) == []
                member.resume("orders", 1)
                (done,) = await member.poll()
                member.ack(done)
            assert (await engine.redrive("billing"))["redriven"] == 1
            assert await engine.reset_group("billing", "orders", 0, "end") == 6
            await engine.delete_group("billing")

    run(test())


def test_transactions(path: pathlib.Path) -> None:
    async def test() -> None:
        async with opened(path) as (engine, producer):
            asked = asyncio.Event()
            loop = asyncio.get_running_loop()

            def check(half: ringlane.HalfTransaction) -> Outcome:
                loop.call_soon_threadsafe(asked.set)
                return Outcome.COMMIT

            await engine.register_checker("orders", check, first=0.01)
            async with producer.transaction(id="a") as transaction:
                transaction.send("orders", b"x", partition=0)
                assert transaction.state is TransactionState.OPEN and transaction.id == "a"
                await transaction.prepare()
                await transaction.commit()
                assert [receipt.offset for receipt in await transaction.receipts()] == [0]
            assert transaction.closed
            with pytest.raises(ZeroDivisionError):
                async with producer.transaction(id="b") as transaction:
                    transaction.send("orders", b"never", partition=0)
                    1 / 0
            half = producer.transaction(id="c", checker="orders")
            half.send("orders", b"y", partition=0)
            await half.prepare()
            half.close()
            await asyncio.wait_for(asked.wait(), 10)
            while engine.transactions():
                await asyncio.sleep(0.01)
            for id in ("d", "e"):
                half = producer.transaction(id=id)
                half.send("orders", id.encode(), partition=0)
                await half.prepare()
                half.close()
            await engine.commit_transaction("d")
            await engine.roll_back_transaction("e")
            assert engine.transaction("e")["state"] == "rolled-back"
            await engine.unregister_checker("orders")
            async with producer.transaction() as transaction:
                transaction.send("orders", b"never")
                await transaction.roll_back()
            assert engine.topic("orders").offsets(0).next == 3

    run(test())


def test_the_rest_of_an_engine(path: pathlib.Path) -> None:
    async def test() -> None:
        engine = await aio.open(path)
        await engine.create_topic("orders", partitions=1)
        async with await engine.producer("import") as producer:
            receipt = await producer.send("orders", b"later", visible_after=3600)
            other = await producer.send("orders", b"never", visible_after=3600)
            await engine.publish_withheld(receipt)
            await producer.cancel(other)
            assert [one["name"] for one in engine.producers()] == ["import"]
        assert [one["name"] for one in engine.topics()] == ["orders"]
        assert engine.stats()["held_bytes"] == 0 and engine.recovery()["recovery"]["created"]
        assert await engine.audit("orders")
        await engine.sync()
        async with aio.open_read_only(path) as reader, reader.consumer() as consumer:
            consumer.assign("orders", 0)
            await reader.refresh()
            assert [record.value for record in await consumer.poll(timeout=5)] == [b"later"]
            begun = time.monotonic()
            assert await consumer.poll(timeout=0.05) == [] and time.monotonic() - begun < 1
        await engine.delete_producer("import")
        await engine.delete_topic("orders")
        await engine.close()

    run(test())
