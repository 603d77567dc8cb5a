"""Who a device is: hardware, names that alternate, and keys that were copied with the disk they lay on."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from server.normalize.devices import DeviceFacts
from server.normalize.machines import SERIAL_DECORATION, UUID_DECORATION
from server.store import keyring
from server.store.access import add_enroll_secret
from server.store.clones import ENROLMENTS_AN_HOUR, Clones
from server.store.devices import Device
from server.store.driver import DatabaseUnavailableError, Driver, Work
from server.store.store import Store
from server.wire.log import parse_log
from tests.contract.test_schema_that_moves import second_server
from tests.contract.test_store import T0
from tests.support.server import snapshot_line
from tests.support.stores import open_store, rows, shipped_catalog

DAY = 86_400


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = float(T0)

    def __call__(self) -> float:
        return self.now


def facts(hostname: str, uuid: str = "UUID-1", serial: str = "", instance: str = "") -> DeviceFacts:
    return DeviceFacts(
        hostname=hostname,
        hardware_uuid=uuid,
        serial=serial,
        platform="linux",
        os_name="",
        os_version="",
        osquery_version="",
        instance_id=instance,
    )


async def secret_of(store: Store) -> str:
    return await store.write(lambda tx: add_enroll_secret(tx, "s", store.clock()))


async def enroll(store: Store, secret: str, machine: DeviceFacts) -> str:
    key = await store.enroll(secret, machine, "x")
    assert key is not None
    return key


async def device(store: Store, key: str) -> Device:
    found = await store.device_of(key)
    assert found is not None
    return found


async def test_one_uuid_and_two_serials_are_two_devices(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        secret = await secret_of(store)
        keys = [await enroll(store, secret, facts("same", serial=serial)) for serial in ("S1", "S2", "s1")]
        assert await store.device_of(keys[0]) is None  # the third is the first, in lower case: its old key is dead
        assert (await device(store, keys[1])).device_no != (await device(store, keys[2])).device_no
        assert await rows(store, "SELECT COUNT(*) FROM devices") == [(2,)]


@pytest.mark.parametrize("serial", ["", "To be filled by O.E.M."])
async def test_one_uuid_without_serial_on_two_machines(tmp_path: Path, serial: str) -> None:
    """Neither throws the other out, however often they enrol."""
    async with open_store(tmp_path) as store:
        secret = await secret_of(store)
        keys = {name: await enroll(store, secret, facts(name, serial=serial)) for name in ("ann", "bob")}
        for _ in range(3):
            for name in ("bob", "ann", "bob"):
                keys[name] = await enroll(store, secret, facts(name.upper(), serial=serial))
        assert len({(await device(store, key)).device_no for key in keys.values()}) == 2
        assert await rows(store, "SELECT hostname FROM devices ORDER BY 1") == [("ANN",), ("BOB",)]
        (reason,) = (await rows(store, "SELECT reason FROM rejects WHERE hostname = 'BOB'"))[0]
        assert "'bob'" in reason
        assert "'ann'" in reason
        assert await rows(store, "SELECT COUNT(*) FROM rejects") == [(1,)]


async def test_a_renamed_machine_keeps_its_device(tmp_path: Path) -> None:
    clock = Clock()
    async with open_store(tmp_path, clock=clock) as store:
        secret = await secret_of(store)
        for machine in (
            facts("old", instance="i1"),
            facts("new", instance="i1"),  # osquery's database was kept
            facts("new", instance="i2"),  # it was installed anew, but the name was kept
        ):
            await enroll(store, secret, machine)
        clock.now += DAY + 1
        await enroll(store, secret, facts("newer", instance="i3"))  # silent for a day
        await enroll(store, secret, facts("ser-old", "UUID-2", "S2", "i4"))
        await enroll(store, secret, facts("ser-new", "UUID-2", "S2", "i5"))  # it has a serial
        assert await rows(store, "SELECT hostname FROM devices ORDER BY 1") == [("newer",), ("ser-new",)]
        assert await rows(store, "SELECT COUNT(*) FROM rejects") == [(0,)]


@pytest.mark.parametrize("serial", ["", "S1"])
async def test_copies_of_one_disk_whose_names_alternate_are_two_devices(tmp_path: Path, serial: str) -> None:
    clock = Clock()
    async with open_store(tmp_path, clock=clock) as store:
        secret = await secret_of(store)
        keys = {}
        for name in ("ann", "bob", "ann", "bob", "ann"):
            clock.now += 60
            keys[name] = await enroll(store, secret, facts(name, serial=serial, instance="i"))
        assert len({(await device(store, key)).device_no for key in keys.values()}) == 2


async def test_machines_with_placeholders_only_are_told_by_their_enrolment(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        secret = await secret_of(store)
        zero = "00000000-0000-0000-0000-000000000000"
        keys = [await enroll(store, secret, facts("same", zero, "S1")) for _ in range(2)]
        assert len({(await device(store, key)).device_no for key in keys}) == 2


async def test_two_processes_enrol_machines_at_the_same_moment(tmp_path: Path) -> None:
    async with open_store(tmp_path) as one, second_server(tmp_path, shipped_catalog()) as two:
        secret = await secret_of(one)
        same = [enroll(store, secret, facts("same", serial="S")) for store in (one, two) * 4]
        others = [enroll(store, secret, facts(f"h{n}", f"U{n}")) for n, store in enumerate((one, two) * 8)]
        keys = await asyncio.gather(*same, *others)
        assert len(set(keys)) == 24
        assert await rows(one, "SELECT COUNT(*), COUNT(DISTINCT device_id) FROM devices") == [(17, 17)]
        alive = [key for key in keys[:8] if await two.device_of(key) is not None]
        assert len(alive) == 1


# -- one key on two machines ------------------------------------------------------------------------------------------


def made_on(uuid: str | None, at: int, name: str = "folks", serial: str | None = None) -> dict[str, Any]:
    said = {UUID_DECORATION: uuid, SERIAL_DECORATION: serial}
    line = snapshot_line(name, T0 + at, [{"who": uuid or "?"}])
    return {**line, "decorations": {key: value for key, value in said.items() if value is not None}}


def status_of(uuid: str, at: int) -> dict[str, Any]:
    line = {"unixTime": T0 + at, "severity": 0, "message": f"on {uuid}", "hostIdentifier": "h", "version": "5"}
    return {**line, "decorations": {UUID_DECORATION: uuid}}


async def post(store: Store, clones: Clones, key: str, *lines: dict[str, Any], log_type: str = "result") -> str:
    """What osquery is told: ok or node_invalid."""
    found = await store.device_of(key)
    body = parse_log(json.dumps({"node_key": key, "log_type": log_type, "data": list(lines)}).encode())
    if found is None or not await clones.accept(found, body):
        return "node_invalid"
    await store.ingest(found, body)
    return "ok"


async def test_a_copied_key_is_refused_to_the_copy_alone(tmp_path: Path) -> None:
    clock = Clock()
    async with open_store(tmp_path, clock=clock) as store:
        secret, clones = await secret_of(store), Clones(store)
        ann = await enroll(store, secret, facts("ann", "A"))
        clock.now += 1000
        assert await post(store, clones, ann, made_on("A", 10)) == "ok"
        # The copy has what the first machine had not sent yet, and lines of its own.
        backlog = [made_on("A", 20), made_on("B", 900)]
        for _ in range(3):
            assert await post(store, clones, ann, *backlog) == "node_invalid"
        assert await post(store, clones, ann, status_of("B", 950), log_type="status") == "node_invalid"
        assert await post(store, clones, ann, made_on("A", 20)) == "ok"
        bob = await enroll(store, secret, facts("bob", "B"))
        assert await post(store, clones, bob, *backlog) == "ok"
        assert await post(store, clones, bob, status_of("A", 5), status_of("B", 950), log_type="status") == "ok"
        assert await post(store, clones, ann, made_on("A", 960)) == "ok"
        found = await rows(store, "SELECT hostname, who, valid_from FROM folks_history ORDER BY 1, 3")
        assert [row[:2] for row in found] == [("ann", "A"), ("bob", "B")]
        assert await rows(store, "SELECT hostname, message FROM status_logs") == [("bob", "on B")]
        said = await rows(store, "SELECT hostname, query, reason FROM rejects ORDER BY 1, 2")
        assert [row[:2] for row in said] == [("ann", ""), ("bob", ""), ("bob", "folks")]
        assert all("uuid A" in reason and "uuid B" in reason for _, _, reason in said)


async def test_a_backlog_of_the_first_machine_alone_does_not_make_the_copy_enrol_for_ever(tmp_path: Path) -> None:
    clock = Clock()
    async with open_store(tmp_path, clock=clock) as store:
        secret, clones = await secret_of(store), Clones(store)
        clock.now += 1000
        bob = await enroll(store, secret, facts("bob", "B"))
        assert await post(store, clones, bob, made_on("A", 20), made_on("A", 30)) == "ok"
        assert await rows(store, "SELECT query FROM rejects") == [("folks",)]
        assert await rows(store, "SELECT COUNT(*) FROM muster_queries WHERE query = 'folks'") == [(0,)]


async def test_a_machine_whose_enrolment_never_helps_is_believed_in_the_end(tmp_path: Path) -> None:
    """Its decorations are older than its change of hardware: osquery takes them when it loads a config."""
    clock = Clock()
    async with open_store(tmp_path, clock=clock) as store:
        secret, clones = await secret_of(store), Clones(store)
        enrolments = 0
        while True:
            key = await enroll(store, secret, facts("bob", "B"))
            enrolments += 1
            clock.now += 10
            sent = [made_on("A", -50, "before"), made_on("A", int(clock.now) - T0)]
            if await post(store, clones, key, *sent) == "ok":
                break
        assert enrolments == ENROLMENTS_AN_HOUR + 1
        assert await rows(store, "SELECT hostname, who FROM folks") == [("bob", "A")]
        assert await rows(store, "SELECT query FROM rejects ORDER BY 1") == [("",), ("before",)]


@pytest.mark.parametrize(
    ("uuid", "serial"),
    [
        ("a-1", "s-1"),
        ("A-1", ""),
        ("A-1", None),
        ("", ""),
        (None, None),
        ("00000000-0000-0000-0000-000000000000", "0"),
        ("FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF", "Default string"),
        (" A-1 ", "S-1\x00\x00"),
    ],
)
async def test_what_is_no_evidence_of_another_machine(tmp_path: Path, uuid: str | None, serial: str | None) -> None:
    clock = Clock()
    async with open_store(tmp_path, clock=clock) as store:
        secret, clones = await secret_of(store), Clones(store)
        key = await enroll(store, secret, facts("ann", "A-1", "S-1"))
        clock.now += 100
        line = made_on(uuid, 50, serial=serial)
        assert await post(store, clones, key, line) == "ok"
        assert await rows(store, "SELECT hostname FROM folks") == [("ann",)]
        assert await rows(store, "SELECT COUNT(*) FROM rejects") == [(0,)]


async def test_one_uuid_and_another_serial_is_another_machine(tmp_path: Path) -> None:
    clock = Clock()
    async with open_store(tmp_path, clock=clock) as store:
        secret, clones = await secret_of(store), Clones(store)
        key = await enroll(store, secret, facts("ann", "A-1", "S-1"))
        clock.now += 100
        line = made_on("A-1", 50, serial="S-2")
        top_level = {**line, **line["decorations"]}
        del top_level["decorations"]
        assert await post(store, clones, key, line) == "node_invalid"
        assert await post(store, clones, key, top_level) == "node_invalid"


@pytest.mark.parametrize("odd", [[], {}, 5, True, ["A"], {"x": {"y": 1}}])
async def test_decorations_that_are_none(tmp_path: Path, odd: Any) -> None:
    clock = Clock()
    async with open_store(tmp_path, clock=clock) as store:
        secret, clones = await secret_of(store), Clones(store)
        key = await enroll(store, secret, facts("ann", "A"))
        clock.now += 100
        line = snapshot_line("folks", T0 + 50, [{"who": "x"}])
        sent = [{**line, "decorations": odd}, {**line, "decorations": {UUID_DECORATION: odd}, "unixTime": T0 + 60}]
        assert await post(store, clones, key, *sent) == "ok"
        assert await rows(store, "SELECT hostname FROM folks") == [("ann",)]


async def test_rows_belong_to_the_key_whatever_the_body_claims(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        secret, clones = await secret_of(store), Clones(store)
        ann = await enroll(store, secret, facts("ann", "A"))
        bob = await enroll(store, secret, facts("bob", "B"))
        theirs = (await device(store, ann)).device_id
        for claimed in ("ann", "A", theirs, ""):
            line = {**snapshot_line("folks", T0 + len(claimed), [{"who": claimed}]), "hostIdentifier": claimed}
            assert await post(store, clones, bob, line) == "ok"
        assert await rows(store, "SELECT DISTINCT hostname FROM folks_history") == [("bob",)]


class _SlowReads:
    """A store's driver whose answer to one read arrives late."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self.late: int | None = None
        self.read_it, self.go_on = asyncio.Event(), asyncio.Event()

    async def read(self, work: Work[Any]) -> Any:
        found = await self._driver.read(work)
        if self.late is not None:
            self.late -= 1
            if self.late == 0:
                self.read_it.set()
                await self.go_on.wait()
        return found


async def test_a_key_revoked_while_it_is_looked_up_is_not_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring, "STALE_SECONDS", 0.0)  # look at every use whether a key was revoked
    async with open_store(tmp_path) as store:
        secret = await secret_of(store)
        old = await enroll(store, secret, facts("a", serial="S1"))
        driver = _SlowReads(store.driver)
        keys = keyring.Keyring(driver)  # type: ignore[arg-type]
        assert await keys.device_of("unknown") is None
        driver.late = 2  # the first read is whether a key was revoked
        looking = asyncio.create_task(keys.device_of(old))
        await driver.read_it.wait()
        await enroll(store, secret, facts("a", serial="S1"))
        assert await keys.device_of("unknown") is None  # learns of the revocation
        driver.go_on.set()
        await looking
        assert await keys.device_of(old) is None


async def test_a_copied_key_is_said_though_the_database_was_away_the_first_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_store(tmp_path) as store:
        key = await enroll(store, await secret_of(store), facts("a"))
        clones, reject, tries = Clones(store), store.reject, []

        async def away_at_first(*what: Any) -> None:
            tries.append(what)
            if len(tries) == 1:
                raise DatabaseUnavailableError("away")
            await reject(*what)

        monkeypatch.setattr(store, "reject", away_at_first)
        with pytest.raises(DatabaseUnavailableError):
            await post(store, clones, key, made_on("UUID-2", T0 + DAY))
        assert await post(store, clones, key, made_on("UUID-2", T0 + DAY)) == "node_invalid"
        assert len(await rows(store, "SELECT reason FROM rejects")) == 1
