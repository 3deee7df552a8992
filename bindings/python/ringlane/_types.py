"""What callers may give: the types that several modules share."""

from __future__ import annotations

from typing import Callable, Iterable, Mapping, Union

from ._native import NewRecord, Receipt, Record, RecordView
from .errors import RinglaneError

Bytes = Union[bytes, bytearray, memoryview]
Headers = Union[Mapping[str, Bytes], Iterable[tuple[str, Bytes]]]
#: What `send_many` takes: values, new records, or records that were polled.
Sendable = Union[Bytes, NewRecord, Record, None]
#: A record of a member's poll, or the `delivery` of one.
Delivery = Union[Record, RecordView, tuple[int, int, int]]
#: Called with the error or None, and the receipt or None.
OnDelivery = Callable[[Union[RinglaneError, None], Union[Receipt, None]], object]

__all__ = ["Bytes", "Delivery", "Headers", "OnDelivery", "Sendable"]
