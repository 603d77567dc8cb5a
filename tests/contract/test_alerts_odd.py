"""Alerts where something goes wrong: receivers that hang or refuse, clocks that jump, devices that are erased."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from server.api.keys import Presence
from server.catalog.people import Person
from server.normalize.times import iso
from server.notify.channels import NotDeliveredError
from server.notify.tell import Telling
from server.report.alerts import message_of, text_of
from server.store import erase, people
from server.store.alert_messages import list_deliveries
from server.store.alerts import Alert, Limits
from server.store.exempting import Asked, By, Terms, grant
from server.store.imports import Import
from server.store.retention import Limits as Old
from server.store.retention import retain
from server.worker import Worker
from tests.contract.test_alerts import CATALOG, CONTROL, DAY, HOUR, MIDNIGHT, ROOT, TOOR, Fleet, fleet
from tests.support.exemptions import exempt_device
from tests.support.stores import add_device, open_store, rows


@dataclass
class Sink:
    """A channel that waits for an event before it takes a message, or takes none."""

    name: str
    waits_for: asyncio.Event | None = None
    tells: asyncio.Event | None = None
    takes: bool = True
    got: list[Mapping[str, Any]] = field(default_factory=list)
    tried: int = 0

    async def send(self, _message_id: str, message: Mapping[str, Any]) -> None:
        self.tried += 1
        if self.waits_for:
            await self.waits_for.wait()
        if not self.takes:
            raise NotDeliveredError("no")
        self.got.append(message)
        if self.tells:
            self.tells.set()


async def fail_newly(f: Fleet, name: str) -> str:
    """Another device fails; returns its id."""
    device = await add_device(f.store, name)
    await f.users(device, ROOT, TOOR)
    return device.device_id


async def test_a_channel_that_hangs_holds_up_no_other(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        taken = asyncio.Event()
        first, second = Sink("a", waits_for=taken), Sink("b", tells=taken)
        f.channels = [first, second]
        f.at(1, 9)
        await fail_newly(f, "laptop")
        async with asyncio.timeout(60):
            await f.look()
        assert len(first.got) == len(second.got) == 1


async def test_a_channel_that_takes_nothing_is_tried_once_a_look_and_holds_up_no_other(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        dead, well = Sink("a", takes=False), Sink("b")
        f.at(1, 9)
        f.channels = [dead]
        for number in range(22):
            await fail_newly(f, f"laptop-{number}")
            await f.look()
        assert dead.tried == 22
        f.clock[0] += 2 * HOUR
        f.channels = [dead, well]
        await fail_newly(f, "last")
        await f.look()
        assert (dead.tried, len(well.got)) == (23, 1)


async def test_a_server_starts_though_a_channel_hangs(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        hanging = Sink("a", takes=False)
        f.channels = [hanging]
        f.at(1, 9)
        await fail_newly(f, "laptop")
        await f.look()
        f.clock[0] += HOUR
        never = asyncio.Event()
        worker = Worker(f.store, Presence(), telling=Telling(channels=[Sink("a", waits_for=never)]))
        async with asyncio.timeout(60):
            await worker.start()
            await worker.stop()


async def test_what_a_clock_that_was_ahead_has_left_is_told_nevertheless(tmp_path: Path) -> None:
    clock = [MIDNIGHT + 400 * DAY]
    async with open_store(tmp_path, CATALOG, clock=lambda: clock[0]) as store:
        sink = Sink("a", takes=False)
        f = Fleet(store, clock, [sink])
        await f.look()
        f.at(1, 9)
        await f.look()
        f.at(2, 9)
        await fail_newly(f, "laptop")
        f.clock[0] += 300 * DAY  # the attempt fails while the clock is ahead
        await f.look()
        f.at(3, 9)
        sink.takes = True
        await f.look()
        assert len(sink.got) == 1


async def test_a_message_is_one_line_an_alert_whatever_names_say() -> None:
    odd = Alert("failing", "1", CONTROL, "high", "2026-09-01", "odd\r\n.\r\n", "", "d", "a\r\n  - b, \x0b\u2028c", "T")
    text = text_of(message_of([odd]))
    assert text.splitlines() == [f"{CONTROL} (high): newly failing, 1", "  T", "  - a - b, c, 2026-09-01: odd ."]


async def test_an_erased_device_is_named_by_no_alert_and_no_message_on_its_way(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        f.channels = [Sink("a", takes=False)]
        f.at(1, 9)
        erased, other = await fail_newly(f, "petunia-laptop"), await fail_newly(f, "laptop")
        await exempt_device(f.store, erased, CONTROL, "2026-09-05", f.clock[0], reason="petunia is away")
        await f.look()
        assert "petunia" in str(await rows(f.store, "SELECT detail FROM muster_alerts"))
        number = await f.store.write(lambda tx: erase.begin_erasure(tx, erased, "eve", "asked to", f.clock[0]))
        await erase.erase(f.store.driver, number, f.clock[0])
        for sql in ("SELECT body FROM muster_alert_messages", "SELECT detail FROM muster_alerts"):
            assert "petunia" not in str(await rows(f.store, sql))
        [(body,)] = await rows(f.store, "SELECT body FROM muster_alert_messages")
        names = {one["device_id"]: one["hostname"] for group in json.loads(body)["groups"] for one in group["alerts"]}
        assert names == {erased: "(erased)", other: "laptop"}


async def test_an_erased_person_is_named_by_no_alert_and_no_message_on_its_way(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        f.channels = [Sink("a", takes=False)]
        f.at(1, 9)
        source = Import(kind="people", file="people.csv", sha256="1", by="eve", now=f.clock[0], today="2026-09-02")
        await f.store.write(lambda tx: people.import_people(tx, source, [Person(person="petunia", name="Petunia")]))
        asked = Asked(
            control=CONTROL, scope="person", subject="petunia", last_day=date(2026, 9, 5), reason="petunia is away",
            requested_by="ann",
        )  # fmt: skip
        await f.store.write(lambda tx: grant(tx, asked, By("bob"), Terms((CONTROL,), 365), f.clock[0]))
        await f.look()
        assert "petunia" in str(await rows(f.store, "SELECT body FROM muster_alert_messages"))
        await f.store.write(lambda tx: people.erase_person(tx, "petunia", "eve", "asked to", f.clock[0]))
        for sql in ("SELECT body FROM muster_alert_messages", "SELECT detail FROM muster_alerts"):
            assert "petunia" not in str(await rows(f.store, sql))


async def test_nobody_is_told_of_the_end_of_an_erased_devices_exemption(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        f.at(1, 9)
        device = await add_device(f.store, "laptop")
        await exempt_device(f.store, device.device_id, CONTROL, "2026-10-05", f.clock[0], reason="away")
        await f.store.write(lambda tx: erase.begin_erasure(tx, device.device_id, "eve", "asked to", f.clock[0]))
        f.at(30, 9)
        await f.look()
        assert await f.alerts("kind") == []


async def test_old_alerts_go_with_the_verdicts_and_nothing_is_told_again(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        sink = Sink("a")
        f.channels, f.limits = [sink], Limits(silent_days=1)
        f.at(1, 9)
        laptop, back, well = [await add_device(f.store, name) for name in ("laptop", "back", "well")]
        for device in (laptop, back, well):
            await f.users(device, ROOT, TOOR)
        await f.look()
        f.at(3, 9)
        await f.look()
        f.at(50, 9)
        await f.users(back, ROOT, TOOR)
        await f.users(well, ROOT)
        await f.look()
        told = len(sink.got)
        before = [(kind, name) for kind in ("failing", "silent") for name in ("back", "laptop", "well")]
        assert sorted(await f.alerts("kind, hostname")) == before
        limit = iso(f.clock[0] - 32 * DAY)
        await retain(f.store.driver, Old(rows=limit, events=limit, verdicts=limit[:10]), f.clock[0])
        left = [("failing", "back"), ("failing", "laptop"), ("silent", "laptop")]
        assert sorted(await f.alerts("kind, hostname")) == left
        await f.look()
        assert len(sink.got) == told
        assert await f.store.read(lambda tx: list_deliveries(tx, 10)) == []
