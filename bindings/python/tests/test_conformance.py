"""The scenarios that every package of Ringlane must pass: `bindings/conformance`, where its README says what they mean."""

from __future__ import annotations

import json
import pathlib
import queue
import time
from typing import Any, Callable

import pytest

import ringlane

SCENARIOS = sorted((pathlib.Path(__file__).resolve().parents[2] / "conformance").glob("*.json"))
WAIT = 10.0

Step = dict[str, Any]
Result = dict[str, Any]


class Runner:
    """Runs the steps of one scenario. What they have made is known by its name."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.known: dict[str, Any] = {}
        self.engines: dict[str, ringlane.Engine] = {}

    def run(self, step: Step) -> None:
        call: Callable[[Step], Result | None] = getattr(self, "do_" + step["do"])
        code = step.get("error")
        if code is None:
            result = call(step) or {}
            for field, value in step.get("expect", {}).items():
                assert result[field] == value, f"{field} of {step}: {result}"
            return
        with pytest.raises(ringlane.RinglaneError) as raised:
            call(step)
        error = raised.value
        assert error.code == code, f"{step}: {error}"
        if "flags" in step:
            flags = [flag for flag in ("retriable", "fatal", "unknown_outcome", "aborted") if getattr(error, flag)]
            assert flags == step["flags"], f"{step}: {error}"

    def engine(self, step: Step) -> ringlane.Engine:
        return self.engines[step.get("engine", "")]

    def close(self) -> None:
        for engine in self.engines.values():
            engine.close()

    # ----- engine and topics -----

    def do_open(self, step: Step) -> None:
        self.engines[""] = ringlane.open(self.path, **step.get("options", {}))

    def do_open_read_only(self, step: Step) -> None:
        self.engines[step["as"]] = ringlane.open_read_only(self.path, **step.get("options", {}))

    def do_refresh(self, step: Step) -> None:
        self.engine(step).refresh()

    def do_close(self, step: Step) -> None:
        self.engine(step).close()

    def do_create_topic(self, step: Step) -> None:
        self.engine(step).create_topic(step["topic"], **step.get("options", {}))

    def do_delete_topic(self, step: Step) -> None:
        self.engine(step).delete_topic(step["topic"])

    def do_topics(self, step: Step) -> Result:
        return {"names": sorted(topic["name"] for topic in self.engine(step).topics())}

    def do_wait_for_topic(self, step: Step) -> None:
        until = time.monotonic() + WAIT
        while step["topic"] not in self.do_topics(step)["names"]:
            assert time.monotonic() < until, step
            time.sleep(0.01)

    def do_offsets(self, step: Step) -> Result:
        first, next_offset = self.engine(step).topic(step["topic"]).offsets(step["partition"])
        return {"first": first, "next": next_offset}

    def do_delete_records(self, step: Step) -> Result:
        return {"first": self.engine(step).topic(step["topic"]).delete_records(step["partition"], step["before"])}

    # ----- producing -----

    def do_producer(self, step: Step) -> Result:
        producer = self.engine(step).producer(**step.get("options", {}))
        self.known[step["as"]] = producer
        return {"epoch": producer.epoch}

    def do_send(self, step: Step) -> Result:
        delay = step.get("visible_after")
        receipt = self.known[step["producer"]].send_sync(
            step["topic"],
            _bytes(step["value"]),
            key=_bytes(step.get("key")),
            tag=step.get("tag"),
            headers=[(name, value.encode()) for name, value in step.get("headers", [])],
            timestamp_ms=step.get("timestamp"),
            partition=step.get("partition"),
            sequence=step.get("sequence"),
            message_id=step.get("message_id"),
            visible_after=None if delay is None else delay / 1000,
        )
        if "as" in step:
            self.known[step["as"]] = receipt
        return {field: getattr(receipt, field) for field in ("partition", "offset", "duplicate", "sequence")}

    def do_send_many(self, step: Step) -> Result:
        sent = self.known[step["producer"]].send_many(step["topic"], [value.encode() for value in step["values"]])
        return {"count": sent.result(WAIT)}

    def do_send_async(self, step: Step) -> Result:
        producer = self.known[step["producer"]]
        futures = [producer.send(step["topic"], value.encode()) for value in step["values"]]
        return {"offsets": [future.result(WAIT).offset for future in futures]}

    def do_last_sent(self, step: Step) -> Result:
        return {"sequence": self.known[step["producer"]].last_sent(step["topic"], step["partition"])}

    def do_flush(self, step: Step) -> None:
        self.known[step["producer"]].flush()

    def do_cancel(self, step: Step) -> None:
        self.known[step["producer"]].cancel(self.known[step["receipt"]])

    # ----- consuming -----

    def do_consumer(self, step: Step) -> None:
        self.known[step["as"]] = self.engine(step).consumer(**step.get("options", {}))

    def do_assign(self, step: Step) -> None:
        consumer, start = self.known[step["consumer"]], step["start"]
        if "partition" in step:
            consumer.assign(step["topic"], step["partition"], start)
        else:
            consumer.assign_all(step["topic"], start)

    def do_seek(self, step: Step) -> None:
        self.known[step["consumer"]].seek(step["topic"], step["partition"], step["start"])

    def do_unassign(self, step: Step) -> None:
        self.known[step["consumer"]].unassign(step["topic"], step["partition"])

    def do_position(self, step: Step) -> Result:
        return {"offset": self.known[step["consumer"]].position(step["topic"], step["partition"])}

    def do_poll(self, step: Step) -> Result:
        polled = self.known[step.get("consumer") or step["member"]]
        records: list[ringlane.Record] = polled.poll(timeout=0) if step["count"] == 0 else []
        until = time.monotonic() + WAIT
        while len(records) < step["count"]:
            assert time.monotonic() < until, f"{step}: only {[record.value for record in records]} came"
            records += polled.poll(timeout=0.1)
        if "as" in step:
            self.known[step["as"]] = records
        return {
            "values": [_text(record.value) for record in records],
            "keys": [_text(record.key) for record in records],
            "tags": [record.tag for record in records],
            "headers": [[[name, value.decode()] for name, value in record.headers] for record in records],
            "offsets": [record.offset for record in records],
            "partitions": [record.partition for record in records],
            "sequences": [record.sequence for record in records],
            "message_ids": [_text(record.message_id) for record in records],
            "delivery_counts": [record.delivery_count for record in records],
        }

    def do_continuity(self, step: Step) -> Result:
        found = self.known[step["consumer"]].continuity()
        missing = found["report"]["missing"]
        lost = sum(missing[reason] for reason in ("unexplained", "corrupt", "unknown"))
        return {"records": found["report"]["records"], "lost": lost}

    # ----- groups -----

    def do_create_group(self, step: Step) -> None:
        self.engine(step).create_group(step["group"], step["kind"], step["topics"], **step.get("options", {}))

    def do_join(self, step: Step) -> None:
        self.known[step["as"]] = self.engine(step).join(step["group"], **step.get("options", {}))

    def do_leave(self, step: Step) -> None:
        self.known[step["member"]].close()

    def _held(self, step: Step) -> list[ringlane.Record]:
        records: list[ringlane.Record] = self.known[step["of"]]
        return [records[step["at"]]] if "at" in step else records

    def do_ack(self, step: Step) -> None:
        self.known[step["member"]].ack(self._held(step))

    def do_nack(self, step: Step) -> None:
        delay = step.get("delay")
        self.known[step["member"]].nack(self._held(step), delay=None if delay is None else delay / 1000)

    def do_reject(self, step: Step) -> None:
        self.known[step["member"]].reject(self._held(step))

    def do_release(self, step: Step) -> None:
        self.known[step["member"]].release(self._held(step))

    def do_extend(self, step: Step) -> None:
        self.known[step["member"]].extend(self._held(step), step["lease"] / 1000)

    def do_ack_through(self, step: Step) -> Result:
        return {"lost": self.known[step["member"]].ack_through(self._held(step)[0])}

    def do_once(self, step: Step) -> Result:
        once = self.known[step["member"]].once(self._held(step)[0], step["token"])
        return {"once": once.name.lower().replace("_", "-")}

    def do_flush_acks(self, step: Step) -> None:
        self.known[step["member"]].flush()

    def do_in_flight(self, step: Step) -> Result:
        return {"count": self.known[step["member"]].in_flight}

    def do_describe_group(self, step: Step) -> Result:
        group = self.engine(step).describe_group(step["group"])
        place = (step["topic"], step["partition"])
        found: Result = next(at for at in group["partitions"] if (at["topic"], at["partition"]) == place)
        return found

    def do_reset_group(self, step: Step) -> Result:
        reset = self.engine(step).reset_group(step["group"], step["topic"], step["partition"], step["start"])
        return {"offset": reset}

    def do_delete_group(self, step: Step) -> None:
        self.engine(step).delete_group(step["group"])

    def do_redrive(self, step: Step) -> Result:
        until = time.monotonic() + WAIT
        redriven = 0
        while True:
            try:
                result = self.engine(step).redrive(step["group"])
                redriven += result["redriven"]
                if result["unfinished"] == 0:
                    return {"redriven": redriven}
            except ringlane.errors.NoDeadLetter:
                if time.monotonic() > until:
                    raise
            assert time.monotonic() < until, f"{step}: only {redriven} were redriven"
            time.sleep(0.01)

    # ----- transactions -----

    def do_begin(self, step: Step) -> None:
        begun = self.known[step["producer"]].transaction(**step.get("options", {}))
        self.known[step["as"]] = begun

    def do_transaction_send(self, step: Step) -> None:
        transaction = self.known[step["transaction"]]
        transaction.send(step["topic"], _bytes(step["value"]), partition=step.get("partition"))

    def do_transaction_ack(self, step: Step) -> None:
        self.known[step["transaction"]].ack(self._held(step), self.known[step["member"]])

    def do_prepare(self, step: Step) -> None:
        self.known[step["transaction"]].prepare()

    def do_commit(self, step: Step) -> None:
        self.known[step["transaction"]].commit()

    def do_roll_back(self, step: Step) -> None:
        self.known[step["transaction"]].roll_back()

    def do_transaction_state(self, step: Step) -> Result:
        return {"state": self.known[step["transaction"]].state.name.lower().replace("_", "-")}

    def do_drop(self, step: Step) -> None:
        self.known.pop(step["transaction"]).close()

    def do_describe_transaction(self, step: Step) -> Result:
        return self.engine(step).transaction(step["id"])

    def do_decide(self, step: Step) -> None:
        engine = self.engine(step)
        (engine.commit_transaction if step["commits"] else engine.roll_back_transaction)(step["id"])

    def do_check(self, step: Step) -> Result:
        asked: queue.Queue[Any] = queue.Queue()
        answer = ringlane.Outcome[step["answer"].upper().replace("-", "_")]

        def check(half: Any) -> ringlane.Outcome:
            asked.put(half)
            return answer

        self.engine(step).register_checker(step["checker"], check)
        half = asked.get(timeout=WAIT)
        return {"id": half.id, "records": half.records}

    def do_wait_for_state(self, step: Step) -> None:
        until = time.monotonic() + WAIT
        while self.engine(step).transaction(step["id"])["state"] != step["state"]:
            assert time.monotonic() < until, step
            time.sleep(0.01)


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode()


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()


def test_there_are_scenarios() -> None:
    assert len(SCENARIOS) >= 15


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenario(path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    scenario = json.loads(path.read_text())
    runner = Runner(tmp_path / "log")
    try:
        for step in scenario["steps"]:
            runner.run(step)
    finally:
        runner.close()
