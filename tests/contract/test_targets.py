"""A pack reaches the devices its targets name: they are served it and judged by its controls, others are not."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

from server.catalog.config import config_hash
from server.evaluate.judge import evaluate
from server.normalize.names import scheduled_name
from server.normalize.times import iso
from server.store import devices
from server.store.access import hash_of
from server.store.devices import Device
from server.store.store import Store
from server.wire.log import parse_log
from tests.support import packs, recorded
from tests.support.server import snapshot_line
from tests.support.stores import add_device, open_store, rows

MIDNIGHT = 1_788_220_800  # 2026-09-01T00:00:00Z
NOON = MIDNIGHT + 43_200
TODAY = date(2026, 9, 1)
INFO = "-- The osquery that answers.\nSELECT version FROM osquery_info\n"
ENGINEERS = {
    packs.PACK: "title: Some\ncontrols: [no-guests]\ntargets: {tags: {include: [eng]}, osquery: 5.10.0}\n",
    "queries/osquery_info.sql": INFO,
    "everybody.yaml": "title: All\nqueries: {osquery_info: }\n",
}


def names(store: Store, device: Device) -> set[str]:
    config = json.loads(store.in_force.config_of(device)[1].body)
    return set(config["packs"])


async def fresh(store: Store, device: Device) -> Device:
    """The device as its next request finds it."""
    found = await rows(
        store, "SELECT device_no, device_id, platform, osquery_version, tags FROM muster_devices WHERE device_no = ?",
        (device.device_no,),
    )  # fmt: skip
    number, device_id, platform, version, tags = found[0]
    return Device(number, device_id, platform, osquery_version=version, tags=frozenset(filter(None, tags.split(","))))


async def say(store: Store, device: Device, query: str, at: int, *answer: dict[str, str]) -> None:
    version = store.catalog.queries[query, "linux"].version
    line = snapshot_line(scheduled_name(query, version), at, list(answer))
    await store.ingest(device, parse_log(json.dumps({"node_key": "k", "log_type": "result", "data": [line]}).encode()))


async def test_tags_decide_config_and_verdict(tmp_path: Path) -> None:
    async with open_store(tmp_path, packs.content(ENGINEERS).load(), clock=lambda: float(NOON)) as store:
        engineer, other = await add_device(store, "engineer"), await add_device(store, "other")
        await add_device(store, "mac", "darwin")
        await store.write(lambda tx: devices.tag(tx, engineer.device_id, {"Eng", "lab"}, set(), NOON))
        engineer, other = await fresh(store, engineer), await fresh(store, other)
        assert engineer.tags == {"eng", "lab"}
        assert (names(store, engineer), names(store, other)) == ({"all", "everybody"}, {"everybody"})
        assert store.in_force.config_of(other)[1] == store.in_force.config_of(await fresh(store, other))[1]
        await say(store, engineer, "residents", NOON - 60, {"who": "guest", "uid": "7"})
        await say(store, other, "residents", NOON - 60, {"who": "guest", "uid": "7"})
        await evaluate(store, TODAY, TODAY)
        verdicts = await rows(store, "SELECT hostname, status, reason FROM posture ORDER BY hostname")
        assert verdicts == [
            ("engineer", "fail", "rows_match"),
            ("mac", "not_applicable", "platform"),
            ("other", "not_applicable", "not_targeted"),
        ]


async def test_a_node_key_finds_the_device_with_its_tags(tmp_path: Path) -> None:
    async with open_store(tmp_path, packs.content(ENGINEERS).load(), clock=lambda: float(NOON)) as store:
        device = await add_device(store, "engineer")
        await store.write(lambda tx: devices.tag(tx, device.device_id, {"eng"}, {"lab"}, NOON))
        await store.write(
            lambda tx: tx.run(
                "INSERT INTO muster_node_keys (key_hash, device_no, issued_at, host_identifier) VALUES (?, ?, ?, '')",
                (hash_of("key"), device.device_no, iso(NOON)),
            )
        )
        found = await store.device_of("key")
        assert found is not None and (found.tags, found.osquery_version) == (frozenset({"eng"}), "5.23.0")
        assert await store.device_of("key") is found, "configs are remembered by it"


async def test_an_osquery_that_was_brought_up_to_date_is_noticed_by_its_answers(tmp_path: Path) -> None:
    now = float(NOON)
    async with open_store(tmp_path, packs.content(ENGINEERS).load(), clock=lambda: now) as store:
        device = await add_device(store, "engineer")
        now += 7200
        for at, version in ((NOON + 60, "5.9.1"), (NOON + 30, "4.9.0"), (NOON + 3600, "5.24.0")):
            await say(store, device, "osquery_info", at, {"version": version})
        found = await rows(store, "SELECT osquery_version, valid_from FROM devices_history ORDER BY valid_from")
        assert found == [("5.23.0", iso(NOON)), ("5.9.1", iso(NOON + 60)), ("5.24.0", iso(NOON + 3600))]
        assert (await fresh(store, device)).osquery_version == "5.24.0"


def test_the_expected_hash_is_the_one_osquery_reports() -> None:
    served = set()
    for line in (recorded.TRANSCRIPTS / "s2_config_packs.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if entry.get("request", {}).get("path") == "/config":
            # osquery hashes what it writes anew, without spaces.
            compact = json.dumps(json.loads(entry["response"]["body"]), separators=(",", ":"))
            served.add(config_hash(compact.encode()))
    assert served == {"73d818e03377655e749834c41dc60ebe84cf6294"}
    assert "73d818e03377655e749834c41dc60ebe84cf6294" in (recorded.TRANSCRIPTS / "s2_config_packs.jsonl").read_text()
