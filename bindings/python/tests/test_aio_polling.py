"""Polls of asyncio: what waits is told, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import pathlib
import time

import pytest
from test_aio import opened, run

import ringlane
from ringlane import aio


def test_a_consumer_that_goes_elsewhere_while_a_poll_waits_leaves_nothing_behind(path: pathlib.Path) -> None:
    async def test() -> None:
        async with opened(path) as (engine, producer), engine.consumer() as consumer:
            consumer.assign("orders", 0, "end")
            waits = asyncio.create_task(consumer.poll())
            for _ in range(50):
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                consumer.seek("orders", 0, "end")
                consumer.assign("orders", 1, "end")
            await asyncio.sleep(0.01)
            assert engine._outcomes.queue.pending <= 1
            await producer.send("orders", b"x", partition=1)
            assert [record.value for record in await waits] == [b"x"]
            assert engine._outcomes.queue.pending == 0

    run(test())


def test_a_poll_waits_though_nothing_is_assigned_yet(path: pathlib.Path) -> None:
    async def test() -> None:
        async with opened(path) as (engine, producer), engine.consumer() as consumer:
            await producer.send("orders", b"x")
            assert await consumer.poll(timeout=0.01) == []
            waits = asyncio.create_task(consumer.poll())
            await asyncio.sleep(0.01)
            consumer.assign_all("orders")
            assert [record.value for record in await asyncio.wait_for(waits, 5)] == [b"x"]

    run(test())


def test_a_member_that_has_polled_in_vain_is_told_all_the_same(path: pathlib.Path) -> None:
    async def test() -> None:
        async with opened(path) as (engine, producer):
            await engine.create_group("billing", topics={"orders": "beginning"})
            async with engine.join("billing") as member:
                for _ in range(3):
                    assert await member.poll(timeout=0.02) == []
                waits = asyncio.create_task(member.poll())
                await asyncio.sleep(0.05)
                await producer.send("orders", b"x")
                (record,) = await asyncio.wait_for(waits, 5)
                member.ack(record)
                assert engine._outcomes.queue.pending == 0

    run(test())


def test_two_tasks_that_poll_are_both_told(path: pathlib.Path) -> None:
    async def test() -> None:
        async with opened(path) as (engine, producer):
            await engine.create_group("billing", topics={"orders": "beginning"})
            async with engine.join("billing") as member:
                tasks = [asyncio.create_task(member.poll()) for _ in range(2)]
                await asyncio.sleep(0.02)
                for number in range(2):
                    await producer.send("orders", b"%d" % number)
                    await asyncio.sleep(0.05)
                polled = [record for records in await asyncio.wait_for(asyncio.gather(*tasks), 5) for record in records]
                assert sorted(record.value or b"" for record in polled) == [b"0", b"1"]

    run(test())


def test_what_is_not_closed_is_reported(path: pathlib.Path) -> None:
    async def test() -> None:
        async with opened(path) as (engine, producer):
            await engine.create_group("billing", topics={"orders": "beginning"})
            consumer = engine.consumer()
            consumer.assign_all("orders")
            assert await consumer.poll(timeout=0.01) == []
            member = engine.join("billing")
            assert await member.poll(timeout=0.01) == []
            with pytest.warns(ResourceWarning, match="a consumer was never closed"):
                del consumer
                gc.collect()
            with pytest.warns(ResourceWarning, match="a member was never closed"):
                del member
                gc.collect()

    run(test())


def test_a_wakeup_ends_a_poll_or_the_next_one_that_waits(path: pathlib.Path) -> None:
    async def test() -> None:
        async with opened(path) as (engine, producer), engine.consumer() as consumer:
            consumer.assign_all("orders")
            waits = asyncio.create_task(consumer.poll())
            await asyncio.sleep(0.01)
            consumer.wakeup()
            with pytest.raises(ringlane.Woken):
                await waits
            consumer.wakeup()
            await producer.send("orders", b"x")
            assert len(await consumer.poll()) == 1
            assert await consumer.poll(timeout=0) == []
            with pytest.raises(ringlane.Woken):
                await consumer.poll()
            assert await consumer.poll(timeout=0.01) == []
            async with aio.open_read_only(path) as reader, reader.consumer() as outside:
                outside.assign_all("orders", "end")
                waits = asyncio.create_task(outside.poll())
                await asyncio.sleep(0.01)
                outside.wakeup()
                with pytest.raises(ringlane.Woken):
                    await waits
            consumer.close()
            with pytest.raises(ringlane.Closed):
                consumer.wakeup()

    run(test())


def test_what_a_loop_has_not_seen_comes_next_and_in_order(path: pathlib.Path) -> None:
    async def test() -> None:
        async with opened(path) as (engine, producer), engine.consumer() as consumer:
            await producer.send_many("orders", [b"%d" % number for number in range(10)], partition=0)
            consumer.assign("orders", 0)
            async for record in consumer:
                assert consumer.position("orders", 0) == record.offset + 1
                if record.offset == 2:
                    break
            await producer.send("orders", b"10", partition=0)
            assert [record.offset for record in await consumer.poll(timeout=0, max_records=2)] == [3, 4]
            seen = []
            async for record in consumer.records(timeout=0):
                seen.append(record.offset)
                if record.offset == 6:
                    consumer.seek("orders", 0, 9)
            assert seen == [5, 6, 9, 10]
            assert consumer.assignment() == [("orders", 0)]
            consumer.seek_to_beginning("orders", 0)
            assert consumer.position("orders", 0) == 0
            consumer.seek_to_end("orders", 0)
            assert consumer.position("orders", 0) == 11

    run(test())


def test_the_first_argument_of_a_poll_is_its_timeout(path: pathlib.Path) -> None:
    async def test() -> None:
        async with opened(path) as (engine, producer), engine.consumer() as consumer:
            consumer.assign_all("orders")
            begun = time.monotonic()
            assert await consumer.poll(0.05) == []
            assert [batch async for batch in consumer.batches(0.05)] == []
            assert 0.09 < time.monotonic() - begun < 5
            for wrong in (1.0, True, "1"):
                with pytest.raises(TypeError, match="max_records must be int"):
                    await consumer.poll(0, max_records=wrong)  # type: ignore[arg-type]
            with pytest.raises(ValueError, match="negative"):
                await consumer.poll(-1)
            with pytest.raises(TypeError):
                await consumer.poll(1, 1)  # type: ignore[call-arg]

    run(test())


def test_a_filter_that_passes_over_much_ends_at_the_end_only(path: pathlib.Path) -> None:
    async def test() -> None:
        async with opened(path) as (engine, producer):
            # Much more than is read at once.
            for _ in range(5):
                await producer.send_many("orders", [bytes(500_000)] * 4, partition=0)
            await producer.send("orders", b"paid", partition=0, tag="paid")
            async with engine.consumer(filter="tag = paid", max_poll_bytes=1000) as consumer:
                consumer.assign_all("orders")
                assert await consumer.poll(0) == []
                assert [record.value async for record in consumer.records(0)] == [b"paid"]
                consumer.seek_to_beginning("orders", 0)
                assert [len(batch) async for batch in consumer.batches(0)] == [1]

    run(test())
