"""Two agents on a device, each with a key of its own: neither costs the other its key, or makes a clone."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from server.normalize.devices import DeviceFacts
from server.store import erase
from server.store.clones import ENROLMENTS_AN_HOUR, Clones
from server.store.devices import COLLECTOR, Device
from server.store.driver import Work
from server.store.store import Store
from server.wire.collector import parse_batch
from tests.contract.test_identity import Clock, enroll, facts, made_on, post, secret_of, status_of
from tests.support.collector_peer import new_id
from tests.support.stores import open_store, rows

PLACEHOLDER = "00000000-0000-0000-0000-000000000000"


async def enroll_collector(store: Store, secret: str, machine: DeviceFacts) -> str:
    key = await store.enroll(secret, machine, "x", "0.1.0")
    assert key is not None
    return key


async def own(store: Store, osquery: str, collector: str) -> tuple[Device, Device]:
    """The devices of a key of each kind, which must be in use and no good as the other."""
    first, second = await store.device_of(osquery), await store.device_of(collector, COLLECTOR)
    assert first is not None
    assert second is not None
    assert await store.device_of(collector) is None
    assert await store.device_of(osquery, COLLECTOR) is None
    return first, second


async def post_batch(store: Store, clones: Clones, key: str, *lines: dict[str, object]) -> str:
    """What the collector is told: the fate of its batch, or node_invalid. Each is the first of a new spool."""
    mark = {"id": new_id(), "spool": new_id(), "lane": "log", "after": 0, "through": len(lines)}
    batch = parse_batch(json.dumps({"batch": mark, "data": list(lines)}).encode())
    found = await store.device_of(key, COLLECTOR)
    if found is None or not await clones.accept(found, batch.body):
        return "node_invalid"
    return await store.take(found, batch)


@pytest.mark.parametrize("uuid", ["UUID-1", PLACEHOLDER])
async def test_the_agents_of_a_machine_are_one_device(tmp_path: Path, uuid: str) -> None:
    machine = facts("ann", uuid, instance="i1")
    async with open_store(tmp_path) as store:
        secret = await secret_of(store)
        keys = {
            "osquery": await enroll(store, secret, machine),
            "collector": await enroll_collector(store, secret, machine),
        }
        first, second = await own(store, keys["osquery"], keys["collector"])
        assert replace(first, agent=COLLECTOR, key_issued_at=second.key_issued_at) == second
        assert await rows(store, "SELECT COUNT(*) FROM devices") == [(1,)]
        assert await rows(store, "SELECT COUNT(*) FROM rejects") == [(0,)]


async def test_each_enrolment_ends_the_key_of_its_own_kind(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        secret = await secret_of(store)
        osquery, collector = (
            await enroll(store, secret, facts("ann")),
            await enroll_collector(store, secret, facts("ann")),
        )
        again = await enroll_collector(store, secret, facts("ann"))
        await own(store, osquery, again)
        assert await store.device_of(collector, COLLECTOR) is None
        anew = await enroll(store, secret, facts("ann"))
        await own(store, anew, again)
        assert await store.device_of(osquery) is None


@pytest.mark.parametrize("serial", ["", "S1"])
async def test_a_name_that_goes_by_the_network_is_no_second_machine(tmp_path: Path, serial: str) -> None:
    """Each agent may have enrolled in another network, and do so again."""
    clock = Clock()
    async with open_store(tmp_path, clock=clock) as store:
        secret = await secret_of(store)
        for _ in range(2):
            clock.now += 60
            osquery = await enroll(store, secret, facts("mac.local", serial=serial, instance="i"))
            clock.now += 60
            collector = await enroll_collector(store, secret, facts("mac.corp", serial=serial, instance="i"))
        first, second = await own(store, osquery, collector)
        assert first.device_no == second.device_no
        assert await rows(store, "SELECT COUNT(*) FROM devices") == [(1,)]


async def test_copies_of_one_disk_are_told_apart_by_their_collectors_too(tmp_path: Path) -> None:
    clock = Clock()
    async with open_store(tmp_path, clock=clock) as store:
        secret = await secret_of(store)
        keys = {}
        for name in ("ann", "bob", "ann", "bob", "ann"):
            clock.now += 60
            keys[name] = await enroll_collector(store, secret, facts(name, instance="i"))
        devices = [await store.device_of(key, COLLECTOR) for key in keys.values()]
        assert len({found.device_no for found in devices if found}) == 2


async def test_machines_that_tell_nothing_of_themselves_never_take_a_device_from_each_other(tmp_path: Path) -> None:
    """Copies of one disk without hardware to be told by: what enrols second finds its place taken."""
    machine = facts("same", PLACEHOLDER, instance="i")
    async with open_store(tmp_path) as store:
        secret = await secret_of(store)
        osquerys = [await enroll(store, secret, machine) for _ in range(2)]
        collectors = [await enroll_collector(store, secret, machine) for _ in range(3)]
        for osquery, collector in zip(osquerys, collectors, strict=False):
            await own(store, osquery, collector)
        assert await store.device_of(collectors[2], COLLECTOR) is not None


async def test_a_copied_collectors_key_is_refused_to_the_copy_alone(tmp_path: Path) -> None:
    clock = Clock()
    async with open_store(tmp_path, clock=clock) as store:
        secret, clones = await secret_of(store), Clones(store)
        osquery = await enroll(store, secret, facts("ann", "A"))
        ann = await enroll_collector(store, secret, facts("ann", "A"))
        clock.now += 1000
        assert await post_batch(store, clones, ann, made_on("A", 10)) == "new"
        assert await post_batch(store, clones, ann, made_on("A", 20), made_on("B", 900)) == "node_invalid"
        assert await post_batch(store, clones, ann, status_of("B", 950)) == "node_invalid"
        bob = await enroll_collector(store, secret, facts("bob", "B"))
        assert await post_batch(store, clones, bob, made_on("A", 20), made_on("B", 900)) == "new"
        assert await post_batch(store, clones, ann, made_on("A", 960)) == "new"
        assert await post(store, clones, osquery, made_on("A", 970)) == "ok"
        found = await rows(store, "SELECT DISTINCT hostname, who FROM folks_history ORDER BY 1")
        assert found == [("ann", "A"), ("bob", "B")]


async def test_one_agents_enrolments_do_not_make_the_others_key_believed(tmp_path: Path) -> None:
    """A key that is shown by another machine is believed when enrolling does not help: that of this agent."""
    clock = Clock()
    async with open_store(tmp_path, clock=clock) as store:
        secret, clones = await secret_of(store), Clones(store)
        osquery = await enroll(store, secret, facts("ann", "A"))
        for _ in range(ENROLMENTS_AN_HOUR + 3):
            collector = await enroll_collector(store, secret, facts("ann", "A"))
        clock.now += 10
        assert await post(store, clones, osquery, made_on("B", 9)) == "node_invalid"
        assert await post_batch(store, clones, collector, made_on("B", 9)) == "new"


async def test_both_keys_end_with_the_device(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        secret = await secret_of(store)
        for leave in ("retire", "erase"):
            osquery = await enroll(store, secret, facts("ann"))
            collector = await enroll_collector(store, secret, facts("ann"))
            await own(store, osquery, collector)
            (device_id,) = (await rows(store, "SELECT device_id FROM posture_collectors"))[0]
            leaving: Work[object]
            if leave == "retire":
                leaving = partial(erase.retire, device_id=device_id, now=store.clock())
            else:
                leaving = partial(
                    erase.begin_erasure, device_id=device_id, erased_by="a", reason="b", now=store.clock()
                )
            await store.write(leaving)
            store._keyring._good_until = 0.0  # look for news of keys now, not within two seconds
            assert await store.device_of(osquery) is None
            assert await store.device_of(collector, COLLECTOR) is None
            assert await rows(store, "SELECT * FROM posture_collectors") == []


async def test_the_agents_of_a_machine_enrol_at_the_same_moment(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        secret = await secret_of(store)
        made = [make(store, secret, facts("ann")) for make in (enroll, enroll_collector) * 3]
        keys = await asyncio.gather(*made)
        await own(store, keys[4], keys[5])
        assert await rows(store, "SELECT COUNT(*) FROM devices") == [(1,)]
        found = await rows(store, "SELECT kind, COUNT(*) FROM muster_node_keys WHERE revoked_at IS NULL GROUP BY kind")
        assert sorted(found) == [("collector", 1), ("osquery", 1)]
