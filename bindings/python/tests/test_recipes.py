"""The recipes of examples/: whatever step the process is killed at, each record's work is done once."""

from __future__ import annotations

import importlib
import pathlib
import signal
import subprocess
import sys
from typing import Any

import pytest

EXAMPLES = pathlib.Path(__file__).parent.parent / "examples"

#: Runs an example, and kills the process when it comes to a step for the n-th time.
KILLED = """
import importlib, os, pathlib, signal, sys
examples, name, directory, step, count = sys.argv[1:]
sys.path.insert(0, examples)
example, left = importlib.import_module(name), int(count)

def at(here):
    global left
    if here == step:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

example.run(pathlib.Path(directory), at)
"""

OF_A_MEMBER = ["received", "committed", "acknowledged"]
RECIPES: list[tuple[str, Any, list[str], list[str]]] = [
    ("unique_constraint", 100, ["inserted", *OF_A_MEMBER], ["flushed"]),
    ("conditional_update", {"anna": 3, "ben": 8}, ["updated", *OF_A_MEMBER], ["flushed"]),
    ("token_table", 88, ["noted", "worked", *OF_A_MEMBER], ["flushed"]),
    (
        "outbox",
        ["chair", "table", "lamp"],
        ["ordered", "noted", "committed", "asked", "sent", "received", "deleted", "done"],
        [],
    ),
]
# Steps that come for each record are killed at the second one, when something is there already.
KILLS = [(name, result, step, 2) for name, result, steps, _ in RECIPES for step in steps] + [
    (name, result, step, 1) for name, result, _, steps in RECIPES for step in steps
]


@pytest.mark.parametrize("name, result, step, count", KILLS, ids=[f"{kill[0]}-{kill[2]}" for kill in KILLS])
def test_a_kill_at_any_step_does_nothing_twice(
    name: str, result: Any, step: str, count: int, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [sys.executable, "-c", KILLED, str(EXAMPLES), name, str(tmp_path), step, str(count)]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    monkeypatch.syspath_prepend(EXAMPLES)
    assert importlib.import_module(name).run(tmp_path) == result


@pytest.mark.parametrize("name", [recipe[0] for recipe in RECIPES])
def test_each_example_runs_as_it_says(name: str, tmp_path: pathlib.Path) -> None:
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip().endswith(str({recipe[0]: recipe[1] for recipe in RECIPES}[name]))
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {recipe[0] for recipe in RECIPES}
