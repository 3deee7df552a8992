"""Who comes from Kafka's clients finds what means the same, and is told what has another name here."""

from __future__ import annotations

import inspect
import pathlib
from typing import Any, Callable

import pytest

import ringlane
from ringlane import aio
from ringlane._elsewhere import _INSTEAD


def test_options_that_mean_nothing_here_are_refused_with_what_to_do_instead(
    path: pathlib.Path, engine: ringlane.Engine, member: ringlane.Member
) -> None:
    calls: list[tuple[str, Callable[[dict[str, Any]], object], str]] = [
        ("bootstrap_servers", lambda given: ringlane.open(path, **given), r"ringlane\.open\(path\)"),
        ("client_id", lambda given: ringlane.open_read_only(path, **given), "producer"),
        ("acks", lambda given: engine.producer(**given), "durability"),
        ("linger_ms", lambda given: engine.producer(**given), "batch_bytes"),
        ("batch_size", lambda given: engine.producer(**given), "batch_bytes"),
        ("enable_idempotence", lambda given: engine.producer(**given), "message_id"),
        ("transactional_id", lambda given: engine.producer("import", **given), r"transaction\(id="),
        ("group_id", lambda given: engine.consumer(**given), r"engine\.join"),
        ("auto_offset_reset", lambda given: engine.consumer(**given), "beginning"),
        ("enable_auto_commit", lambda given: engine.join("billing", **given), "ack"),
        ("max_poll_interval_ms", lambda given: engine.join("billing", **given), "lease"),
        ("session_timeout_ms", lambda given: engine.create_group("g", topics={"orders": "end"}, **given), "lease"),
        ("replication_factor", lambda given: engine.create_topic("new", **given), "one copy"),
    ]
    for name, call, words in calls:
        for spelled in (name, name.replace("_", ".")):
            with pytest.raises(ringlane.InvalidArgument, match=words) as raised:
                call({spelled: 1})
            assert spelled in str(raised.value)
    # Others get the names of those that there are.
    with pytest.raises(ringlane.InvalidArgument, match="max_block_ms"):
        engine.producer(unheard_of=1)
    engine.producer(max_block_ms=5).close()


def test_what_is_refused_is_no_option_of_ours(path: pathlib.Path) -> None:
    for name in _INSTEAD:
        with pytest.raises(ringlane.InvalidArgument):
            ringlane._native.open(str(path), {name: "1"}, False)


def test_a_topic_that_is_there_may_be_given(engine: ringlane.Engine, orders: ringlane.Topic) -> None:
    again = engine.create_topic("orders", partitions=7, exist_ok=True)
    # It stays as it is.
    assert again.partitions == orders.partitions == 2
    assert engine.create_topic("new", exist_ok=True).partitions == 1
    with pytest.raises(ringlane.TopicExists):
        engine.create_topic("new")
    with pytest.raises(ringlane.InvalidName):
        engine.create_topic("no/such name", exist_ok=True)


#: What `await` makes needless, or another call says.
ONLY_WITHOUT_LOOP = {"send_sync", "send_many_sync", "send_packed_sync"}
#: Parameters that a loop has other means for.
PARAMETERS_WITHOUT_LOOP = {"on_delivery"}


@pytest.mark.parametrize("name", ["Engine", "Producer", "Consumer", "Member", "Transaction"])
def test_asyncio_has_the_same(name: str) -> None:
    plain, loop = getattr(ringlane, name), getattr(aio, name)
    public = {each for each in dir(plain) if not each.startswith("_")}
    missing = public - set(dir(loop)) - ONLY_WITHOUT_LOOP
    assert not missing, f"aio.{name} lacks {missing}"
    for each in public - ONLY_WITHOUT_LOOP:
        method = getattr(plain, each)
        if not inspect.isfunction(method):
            continue

        def parameters(of: Any) -> list[tuple[str, object, object]]:
            return [
                (one.name, one.kind, one.default)
                for one in inspect.signature(of).parameters.values()
                if one.name not in PARAMETERS_WITHOUT_LOOP
            ]

        assert parameters(method) == parameters(getattr(loop, each)), f"{name}.{each}"
