"""Which process this is, as seen from the objects of one that was forked.

A child of fork has the parent's objects, but none of its threads. What waits for such a thread must not wait there.
"""

from __future__ import annotations

import os

#: Grows in each child of fork.
generation = 0


def _forked() -> None:
    global generation
    generation += 1


def is_other(of: int) -> bool:
    """Whether something that was made with this generation belongs to a process that this one was forked from."""
    return of != generation


os.register_at_fork(after_in_child=_forked)
