"""Options of Kafka's clients that have another name here, or no meaning: who gives one is told what to do instead.

Options that mean the same keep their names: `max_poll_records`, `max_block_ms`.
"""

from __future__ import annotations

from typing import Iterable

from .errors import InvalidArgument

_GROUP = "groups are joined: engine.create_group(name, topics={...}), then engine.join(name)"
_LEASE = "records are held under a lease: engine.join(group, lease=...), and member.extend where work takes longer"
_ACK = "nothing is acknowledged by itself: member.ack(record), and member.flush()"
_BATCHES = "records that wait go together, without a delay; the engine's option batch_bytes bounds a batch"
_AGAIN = "what is sent again is known by its message_id, or, where the producer has a name, by its sequence"
_START = 'say where to begin: consumer.assign(topic, partition, "beginning"), create_group(topics={topic: "end"})'
_BYTES = "keys and values are bytes: encode them before, decode them behind"

#: What to use instead.
_INSTEAD = {
    "acks": 'a receipt means: on the device; engine.producer(durability="buffered") does not wait for that',
    "auto_commit_interval_ms": _ACK,
    "auto_offset_reset": _START,
    "batch_size": _BATCHES,
    "bootstrap_servers": "there is no server: ringlane.open(path) opens a directory",
    "client_id": "a producer may have a name: engine.producer(name)",
    "compression_type": "records are kept as they are: compress values before",
    "delivery_timeout_ms": "a send waits for room up to max_block; its outcome is waited for with result(timeout)",
    "enable_auto_commit": _ACK,
    "enable_idempotence": _AGAIN,
    "group_id": _GROUP,
    "heartbeat_interval_ms": _LEASE,
    "isolation_level": "nobody ever sees records of a transaction that is not committed",
    "key_deserializer": _BYTES,
    "key_serializer": _BYTES,
    "linger_ms": _BATCHES,
    "max_poll_interval_ms": _LEASE,
    "num_partitions": "it is called partitions: engine.create_topic(name, partitions=4)",
    "replication_factor": "there is one copy, on this machine's device",
    "request_timeout_ms": "a send waits for room up to max_block; its outcome is waited for with result(timeout)",
    "retries": _AGAIN,
    "retry_backoff_ms": _AGAIN,
    "session_timeout_ms": _LEASE,
    "transactional_id": "engine.producer(name) names a producer, and producer.transaction(id=...) a transaction",
    "value_deserializer": _BYTES,
    "value_serializer": _BYTES,
}


def check(names: Iterable[str]) -> None:
    """Raises `InvalidArgument` for an option of these; also for one with dots in its name, as librdkafka has them."""
    for name in names:
        instead = _INSTEAD.get(name.replace(".", "_"))
        if instead is not None:
            raise InvalidArgument(f"there is no option {name}: {instead}")
