"""What arguments mean: times, places to start at, and options by their names.

A time is seconds, or a timedelta. Options have the names of the C header; one that ends in `_ms` may be given without
that ending, in seconds or as a timedelta.
"""

from __future__ import annotations

import datetime
import enum
import json
from typing import Any, Mapping, Union

from ._elsewhere import check as check_elsewhere

#: Seconds, or a timedelta.
Time = Union[float, datetime.timedelta]
#: "beginning", "end", an offset, or the time of the first record that is wanted.
Start = Union[str, int, datetime.datetime]
#: What an option may be.
Option = Union[str, int, float, bool, datetime.timedelta, None]

_BEGINNING, _END, _OFFSET, _TIMESTAMP = 1, 2, 3, 4


class Outcome(enum.Enum):
    """How the local part of a transaction ended: what a checker, and the function of `send_in_transaction`, answer."""

    #: It is committed.
    COMMIT = 1
    #: It is not there, and never will be.
    ROLL_BACK = 2
    #: Nobody can tell yet.
    UNKNOWN = 3


class Once(enum.Enum):
    """What is known of a token."""

    #: Nothing: process the record, and acknowledge it.
    FRESH = 1
    #: A record with this token was acknowledged: acknowledge this one, and do nothing else.
    DUPLICATE = 2
    #: Another delivery claimed the token and goes on: nack this one, with a delay.
    IN_PROGRESS = 3


class TransactionState(enum.Enum):
    """Where a transaction stands."""

    OPEN = 1
    PREPARED = 2
    UNRESOLVED = 3
    COMMITTED = 4
    ROLLED_BACK = 5


def milliseconds(time: Time) -> int:
    """A time in ms, never less than what was asked for."""
    if isinstance(time, datetime.timedelta):
        time = time.total_seconds()
    if isinstance(time, bool) or not isinstance(time, (int, float)):
        raise TypeError(f"a time must be seconds or a timedelta, not {type(time)!r}")
    result = time * 1000
    if not -9e15 < result < 9e15:
        raise ValueError(f"a time of {time} s is out of range")
    whole = int(result)
    return whole + 1 if result > whole else whole


def timeout(time: Time | None) -> int:
    """How long to wait, in ms; None: for ever."""
    if time is None:
        return -1
    result = milliseconds(time)
    if result < 0:
        raise ValueError("a timeout must not be negative; None waits for ever")
    return result


def _timestamp(time: datetime.datetime) -> int:
    return round(time.timestamp() * 1000)


def start(place: Start) -> tuple[int, int]:
    """A place to start at, as the C header has it."""
    if isinstance(place, datetime.datetime):
        return _TIMESTAMP, _timestamp(place)
    if isinstance(place, int) and not isinstance(place, bool):
        if place < 0:
            raise ValueError(f"an offset is never negative: {place}")
        return _OFFSET, place
    if not isinstance(place, str):
        raise TypeError(f"a start is 'beginning', 'end', an offset or a datetime, not {type(place)!r}")
    if place == "beginning":
        return _BEGINNING, 0
    if place == "end":
        return _END, 0
    kind, _, number = place.partition(":")
    kinds = {"offset": _OFFSET, "timestamp": _TIMESTAMP}
    if kind in kinds and number.lstrip("-").isdigit():
        return kinds[kind], int(number)
    raise ValueError(f"a start is 'beginning', 'end', 'offset:N' or 'timestamp:MS', not {place!r}")


def start_text(place: Start) -> str:
    """The same as text, as the options of a group have it."""
    kind, value = start(place)
    return {_BEGINNING: "beginning", _END: "end", _OFFSET: f"offset:{value}", _TIMESTAMP: f"timestamp:{value}"}[kind]


#: Options that are times, without their ending.
_TIMES = frozenset(
    "lease timeout retention retry_delay retry_delay_max inbox_age_max first interval flush_interval "
    "ack_flush_interval max_block lock_wait".split()
)
#: Where the ending stands in the middle.
_NAMES = {"retry_delay_max": "retry_delay_ms_max", "inbox_age_max": "inbox_age_ms_max"}


def options(given: Mapping[str, Option]) -> dict[str, str | int | bool | list[str] | None]:
    """Options as the library wants them."""
    check_elsewhere(given)
    result: dict[str, str | int | bool | list[str] | None] = {}
    for name, value in given.items():
        if name in _TIMES and value is not None:
            if isinstance(value, str):
                raise TypeError(f"{name} must be seconds or a timedelta, not a text")
            result[_NAMES.get(name, name + "_ms")] = milliseconds(value)
        elif isinstance(value, (float, datetime.timedelta)):
            raise TypeError(f"option {name} must be str, int or bool, not {type(value)!r}")
        else:
            result[name] = value
    return result


def text(name: str, value: str | None) -> str | None:
    """An option that is a name."""
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{name} must be str, not {type(value)!r}")
    return value


def parsed(text: str) -> Any:
    """JSON of the library."""
    return json.loads(text)
