"""An erased device leaves no byte of what was personal, and the fact that it was there."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from server.api.keys import Presence
from server.normalize.devices import DeviceFacts
from server.store import access, deletions, erase
from server.store.collectors import note_enrolled
from server.store.devices import Device
from server.store.driver import StoreError
from server.store.store import Store
from server.wire.messages import BadLine
from server.worker import Worker
from tests.contract.test_collector_batches import batch_of
from tests.contract.test_judge import CONTROL, DAY, MIDNIGHT, ROOT, TOOR, Fleet, fleet
from tests.contract.test_store import event, run, send
from tests.support.exemptions import exempt_device
from tests.support.server import snapshot_line
from tests.support.stores import rows

MARK = "petunia"
"""Stands in everything personal."""

TABLES = {
    "sqlite": "SELECT m.name, p.name FROM sqlite_master m JOIN pragma_table_info(m.name) p WHERE m.type = 'table'",
    "postgres": "SELECT c.table_name, c.column_name FROM information_schema.columns c JOIN information_schema.tables t"
    " ON t.table_schema = c.table_schema AND t.table_name = c.table_name"
    " WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE'",
}


def facts(name: str) -> DeviceFacts:
    return DeviceFacts(
        hostname=f"{name}-laptop",
        hardware_uuid=f"4c4c4544-0000-2010-8020-{name}",
        serial=f"SN-{name}",
        platform="linux",
        os_name=f"os of {name}",
        os_version=f"version of {name}",
        osquery_version="5.23.0",
        instance_id=f"instance of {name}",
    )


async def enrolled(store: Store, name: str) -> tuple[Device, str]:
    secret = await store.write(lambda tx: access.add_enroll_secret(tx, "s", store.clock()))
    key = await store.enroll(secret, facts(name), f"host-identifier-{name}")
    assert key is not None
    device = await store.device_of(key)
    assert device is not None
    return device, key


async def told(f: Fleet, device: Device, name: str) -> None:
    """All that a device can leave in the store, with its owner's name everywhere."""
    for day in range(4):
        await f.users(device, day, 9, ROOT, *([TOOR] if day % 2 else []), {**ROOT, "uid": "500", "username": name})
    await f.users(device, 1, 6, {**ROOT, "description": f"late {name}"})  # takes intervals back
    await send(
        f.store,
        device,
        run("files", MIDNIGHT, 0, [{"f": f"/home/{name}"}], []),
        event("files", MIDNIGHT + 60, 1, "removed", {"f": f"/home/{name}"}),
        snapshot_line("odd", MIDNIGHT, [{"n": 5}]),
        snapshot_line("odd", MIDNIGHT + 60, [{"n": name}]),  # a misfit
    )
    await f.store.reject(device, [BadLine(reason="it is not JSON", sample=f"{name} says")])
    line = {"unixTime": MIDNIGHT, "severity": 2, "filename": name, "line": 1, "version": "5"}
    failed = f"Error executing scheduled query pack/posture/mounts: no such table: {name}"
    await send(f.store, device, {**line, "message": failed}, {**line, "message": f"of {name}"}, log_type="status")
    lost = {
        "name": name,
        "lines": 1,
        "bytes": 1,
        "first_at": MIDNIGHT,
        "last_at": MIDNIGHT,
        "reason": f"full of {name}",
    }
    await f.store.write(lambda tx: note_enrolled(tx, device.device_no, f"1 of {name}", MIDNIGHT))
    await f.store.take(device, batch_of(snapshot_line("odd", MIDNIGHT + 90, []), gaps=[lost]))
    await f.store.write(
        lambda tx: tx.run(
            "UPDATE muster_devices SET owner = ?, tags = ? WHERE device_no = ?",
            (f"{name}@example.com", f"eng,{name}", device.device_no),
        )
    )
    known = "SELECT 1 FROM muster_devices WHERE device_no = ? AND erased_at IS NULL"
    if await rows(f.store, known, (device.device_no,)):  # to an erased device nothing is granted
        await exempt_device(
            f.store,
            device.device_id,
            CONTROL,
            "2026-09-03",
            MIDNIGHT + 2 * DAY,
            reason=f"{name} is ill",
            asked=f"{name}@example.com",
        )


async def columns(store: Store, database: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for table, column in await rows(store, TABLES[database]):
        found.setdefault(table, []).append(column)
    return found


async def places_of(store: Store, database: str, text: str) -> set[str]:
    """The tables and columns in which a text stands, in whatever spelling of case."""
    places = set()
    for table, names in (await columns(store, database)).items():
        for name in names:
            found = await rows(
                store, f'SELECT COUNT(*) FROM "{table}" WHERE LOWER(CAST("{name}" AS TEXT)) LIKE ?', (f"%{text}%",)
            )
            if found[0][0]:
                places.add(f"{table}.{name}")
    return places


def files_with(directory: Path, text: str) -> list[str]:
    """The files that have a text in them: the database, and the log beside it."""
    return [path.name for path in directory.iterdir() if text.encode() in path.read_bytes().lower()]


async def erased(store: Store, device: Device) -> int:
    now = store.clock()
    number = await store.write(lambda tx: erase.begin_erasure(tx, device.device_id, "ann", "she asked", now))
    deleted = await erase.erase(store.driver, number, now)
    await store.write(lambda tx: erase.finish_erasure(tx, number, now))
    return deleted


async def test_no_byte_of_it_is_left_in_any_table(tmp_path: Path, database: str) -> None:
    async with fleet(tmp_path) as f:
        device, key = await enrolled(f.store, MARK)
        other, other_key = await enrolled(f.store, "other")
        for who, name in ((device, MARK), (other, "other")):
            await told(f, who, name)
        await f.judge(*range(4))
        if database == "sqlite":
            assert files_with(tmp_path, MARK)
        places = await places_of(f.store, database, MARK)
        assert {place.partition(".")[0] for place in places} == {
            *("muster_devices", "muster_device_facts", "muster_node_keys", "muster_exemptions"),
            *("muster_coverage", "muster_status_logs", "muster_rejects", "muster_runs_received"),
            *("muster_rows_users", "muster_rows_files", "muster_rows_odd", "muster_gaps", "muster_collectors"),
        }
        others = await places_of(f.store, database, "other")
        before = {device_id: await posture(f.store, device_id) for device_id in (device.device_id, other.device_id)}
        totals = await rows(f.store, "SELECT * FROM posture_totals ORDER BY 1, 2, 3")
        deleted = await erased(f.store, device)
        await f.store.driver.scrub()
        assert await places_of(f.store, database, MARK) == set()
        if database == "sqlite":
            assert files_with(tmp_path, MARK) == []
        # What stays is the fact, and what makes the percentages of the past.
        assert await rows(f.store, "SELECT hostname, platform, retired_at FROM devices WHERE device_id = ?",
                          (device.device_id,)) == [("(erased)", "linux", at_end())]  # fmt: skip
        assert await rows(
            f.store, "SELECT device_id, existed_to, finished_at, erased_by, reason, how_many FROM erasures"
        ) == [(device.device_id, at_end(), at_end(), "ann", "she asked", deleted)]
        assert deleted > 20
        assert await posture(f.store, device.device_id) == before[device.device_id]
        assert await rows(f.store, "SELECT * FROM posture_totals ORDER BY 1, 2, 3") == totals
        # The other device is untouched, and the key of this one is unknown.
        assert await places_of(f.store, database, "other") == others
        assert await posture(f.store, other.device_id) == before[other.device_id]
        f.store._keyring._good_until = 0.0
        assert await f.store.device_of(key) is None
        assert await f.store.device_of(other_key) == replace(other, tags=frozenset({"eng", "other"}))


def at_end() -> str:
    return "2026-09-15T00:00:00Z"


async def posture(store: Store, device_id: str) -> list[tuple[Any, ...]]:
    return await rows(
        store, "SELECT day, control, status, since_day FROM posture WHERE device_id = ? ORDER BY 1, 2", (device_id,)
    )


async def test_every_table_that_tells_of_devices_is_known_to_erasure(tmp_path: Path, database: str) -> None:
    async with fleet(tmp_path) as f:
        known = {table for _, table, _ in erase.OF_A_DEVICE} | set(erase.BLANKED)
        of_devices = {table for table, names in (await columns(f.store, database)).items() if "device_no" in names}
        assert {table for table in of_devices if not table.startswith("muster_rows_")} == known


async def test_of_the_devices_own_row_nothing_is_left_but_that_it_was_there(tmp_path: Path, database: str) -> None:
    async with fleet(tmp_path) as f:
        device, _ = await enrolled(f.store, MARK)
        stays = {"device_no", "device_id", "hostname", "platform"}
        stays |= {"in_scope_from", "enrolled_at", "last_seen_at", "retired_at", "erased_at"}
        others = sorted(set((await columns(f.store, database))["muster_devices"]) - stays)
        assert {"serial", "owner", "os_name"} < set(others)
        marked = ", ".join(f"{name} = ?" for name in others)
        values = (*[MARK] * len(others), device.device_no)
        await f.store.write(lambda tx: tx.run(f"UPDATE muster_devices SET {marked} WHERE device_no = ?", values))
        await erased(f.store, device)
        (left,) = await rows(f.store, f"SELECT {', '.join(others)} FROM muster_devices")
        assert not any(left)


async def test_judging_again_leaves_the_verdicts_of_an_erased_device(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        device, _ = await enrolled(f.store, MARK)
        await told(f, device, MARK)
        await f.judge(*range(4))
        before = await posture(f.store, device.device_id)
        await erased(f.store, device)
        await f.judge(*range(8))
        assert await posture(f.store, device.device_id) == before
        again = await rows(
            f.store, "SELECT first_day, last_day FROM posture_runs WHERE control = ? ORDER BY 1", (CONTROL,)
        )
        assert again[-1][1] == "2026-09-04"


async def test_a_retired_device_keeps_its_data_and_its_key_stops_working(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        device, key = await enrolled(f.store, MARK)
        await told(f, device, MARK)
        since = await f.store.write(lambda tx: erase.retire(tx, device.device_id, MIDNIGHT + 3.0 * DAY))
        again = await f.store.write(lambda tx: erase.retire(tx, device.device_id, MIDNIGHT + 4.0 * DAY))
        assert since == again == "2026-09-04T00:00:00Z"
        f.store._keyring._good_until = 0.0
        assert await f.store.device_of(key) is None
        await f.judge(*range(6))
        days = {row[0] for row in await posture(f.store, device.device_id)}
        assert max(days) == "2026-09-04"
        assert await rows(f.store, "SELECT COUNT(*) FROM users WHERE username = ?", (MARK,)) == [(1,)]
        with pytest.raises(StoreError, match="no device 'nope'"):
            await f.store.write(lambda tx: erase.retire(tx, "nope", 0.0))


async def test_the_machine_enrols_again_as_a_new_device(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        device, _ = await enrolled(f.store, MARK)
        await erased(f.store, device)
        new, key = await enrolled(f.store, MARK)
        assert new.device_no != device.device_no
        await f.users(new, 5, 9, ROOT)
        await erased(f.store, device)
        assert await f.store.device_of(key) == new
        assert await rows(f.store, "SELECT device_id FROM users") == [(new.device_id,)]


async def test_what_was_on_its_way_is_erased_by_the_server(tmp_path: Path, database: str) -> None:
    async with fleet(tmp_path) as f:
        device, _ = await enrolled(f.store, MARK)
        await erased(f.store, device)
        await told(f, device, MARK)  # by a server that took its key for known
        assert await places_of(f.store, database, MARK)
        await Worker(f.store, Presence()).delete_old()
        assert await places_of(f.store, database, MARK) == set()


async def test_an_erasure_that_was_interrupted_is_gone_on_with(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletions, "STEP", 3)
    async with fleet(tmp_path) as f:
        device, _ = await enrolled(f.store, MARK)
        other, _ = await enrolled(f.store, "other")
        await told(f, device, MARK)
        number = await f.store.write(
            lambda tx: erase.begin_erasure(tx, device.device_id, "ann", "she asked", f.store.clock())
        )
        write, steps = f.store.driver.write, 0

        async def breaks(work: Any) -> Any:
            nonlocal steps
            result = await write(work)
            if isinstance(result, tuple):
                steps += 1
                if steps == 4:
                    raise asyncio.CancelledError
                await f.users(other, 5, steps, {**ROOT, "username": f"step-{steps}"})  # others report between the steps
            return result

        with monkeypatch.context() as patched:
            patched.setattr(f.store.driver, "write", breaks)
            with pytest.raises(asyncio.CancelledError):
                await erase.erase(f.store.driver, number, f.store.clock())
        assert await rows(f.store, "SELECT finished_at FROM erasures") == [(None,)]
        assert await places_of(f.store, database, MARK)
        await Worker(f.store, Presence()).delete_old()
        assert await places_of(f.store, database, MARK) == set()
        assert await rows(f.store, "SELECT finished_at FROM erasures") == [(at_end(),)]
        assert await rows(f.store, "SELECT username FROM users") == [("step-3",)]


async def test_erasing_again_changes_nothing(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        device, _ = await enrolled(f.store, MARK)
        await told(f, device, MARK)
        await erased(f.store, device)
        before = await rows(f.store, "SELECT * FROM erasures")
        assert await erased(f.store, device) == 0
        assert await rows(f.store, "SELECT * FROM erasures") == before


async def test_what_other_devices_are_told_of_it_goes_too(tmp_path: Path, database: str) -> None:
    async with fleet(tmp_path) as f:
        secret = await f.store.write(lambda tx: access.add_enroll_secret(tx, "s", f.store.clock()))
        device, twin = replace(facts(MARK), serial=""), replace(facts("other"), serial="")
        keys = [
            await f.store.enroll(secret, machine, "x")
            for machine in (device, replace(twin, hardware_uuid=device.hardware_uuid))
        ]
        first, second = [await f.store.device_of(key or "") for key in keys]
        assert first and second and first != second
        assert await rows(f.store, "SELECT device_id FROM rejects WHERE reason LIKE ?", (f"%{MARK}%",)) == [
            (second.device_id,)
        ]
        assert await erased(f.store, first) > 0
        assert await rows(f.store, "SELECT COUNT(*) FROM rejects") == [(0,)]
        # The hardware is that of the other device as well, by what it says itself.
        assert {place.split(".")[0] for place in await places_of(f.store, database, MARK)} == {"muster_devices"}


async def test_a_hold_does_not_keep_what_is_to_be_erased(tmp_path: Path, database: str) -> None:
    from tests.contract.test_retention import hold

    async with fleet(tmp_path) as f:
        device, _ = await enrolled(f.store, MARK)
        await told(f, device, MARK)
        await hold(f.store, 0, 5)
        await erased(f.store, device)
        assert await places_of(f.store, database, MARK) == set()
