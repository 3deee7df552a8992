"""What the tests share: an engine in a directory of its own, and children that run a piece of code."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import warnings
from typing import Callable, Iterator

import pytest

import ringlane


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "log"


@pytest.fixture
def engine(path: pathlib.Path) -> Iterator[ringlane.Engine]:
    with ringlane.open(path) as engine:
        yield engine


@pytest.fixture
def orders(engine: ringlane.Engine) -> ringlane.Topic:
    return engine.create_topic("orders", partitions=2)


@pytest.fixture
def producer(engine: ringlane.Engine) -> Iterator[ringlane.Producer]:
    with engine.producer() as producer:
        yield producer


@pytest.fixture
def consumer(engine: ringlane.Engine, orders: ringlane.Topic) -> Iterator[ringlane.Consumer]:
    with engine.consumer() as consumer:
        consumer.assign_all(orders)
        yield consumer


@pytest.fixture
def member(engine: ringlane.Engine, orders: ringlane.Topic) -> Iterator[ringlane.Member]:
    engine.create_group("billing", topics={"orders": "beginning"}, retry_delay=0.02)
    with engine.join("billing") as member:
        yield member


Python = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def python() -> Python:
    """Runs a piece of code in a process of its own."""

    def run(code: str, *arguments: object, **more: object) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-W", "error::ResourceWarning", "-c", code, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, **more)  # type: ignore[call-overload,no-any-return]

    return run


def in_child(run: Callable[[], None]) -> int:
    """Runs something in a child of fork; returns how it ended."""
    import os
    import traceback

    with warnings.catch_warnings():
        # Later versions of Python warn of threads: that is what is tested.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        status = 1
        try:
            run()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
