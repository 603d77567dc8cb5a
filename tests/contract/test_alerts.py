"""Alerts: each thing is told once, grouped, and again and again until it arrives."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from server.applying import apply
from server.catalog.canary import parse_selector
from server.evaluate.judge import evaluate
from server.normalize.calendar import ALWAYS
from server.normalize.names import scheduled_name
from server.notify.channels import Channel
from server.notify.mail import Mail
from server.notify.tell import Telling, tell
from server.notify.webhook import Webhook
from server.store import erase
from server.store.alert_messages import list_deliveries
from server.store.alerts import Limits
from server.store.calendar import read_calendar, set_zone
from server.store.devices import Device
from server.store.shipping import Request, roll_back
from server.store.store import Store
from server.wire.log import parse_log
from tests.support import packs, sinks
from tests.support.catalogs import daily_catalog
from tests.support.exemptions import exempt_device
from tests.support.server import snapshot_line
from tests.support.stores import add_device, open_store, rows

CATALOG = daily_catalog()
CONTROL = "only-root-has-uid-0"
MIDNIGHT = 1_788_220_800.0  # 2026-09-01T00:00:00Z
DAY, HOUR = 86_400.0, 3_600.0
KEY = b"sixteen bytes at least"
ROOT = {"uid": "0", "gid": "0", "username": "root", "description": "", "directory": "/var", "shell": "/bin/sh"}
TOOR = {**ROOT, "username": "toor"}


@dataclass
class Fleet:
    """A store whose clock stands where the test puts it, and whom it tells."""

    store: Store
    clock: list[float]
    channels: list[Channel] = field(default_factory=list)
    limits: Limits = field(default_factory=Limits)

    def at(self, day: int, hour: float) -> None:
        self.clock[0] = MIDNIGHT + day * DAY + hour * HOUR

    async def users(self, device: Device, *users: dict[str, str]) -> None:
        """The device says now who there is."""
        query = CATALOG.queries["users", device.platform]
        line = snapshot_line(scheduled_name(query.name, query.version), int(self.clock[0]), list(users))
        raw = json.dumps({"node_key": "k", "log_type": "result", "data": [line]}).encode()
        await self.store.ingest(device, parse_log(raw))
        await self.store.heard([device.device_no])

    async def look(self, *, listening_since: float = 0.0) -> None:
        """Judge the running day, and tell what is new; alerts wait for no others."""
        day = (await self.store.read(read_calendar)).today(self.clock[0])
        await evaluate(self.store, day, day)
        telling = Telling(channels=self.channels, limits=self.limits, group_seconds=0)
        await tell(self.store, telling, listening_since)

    async def alerts(self, columns: str = "kind, hostname, control, day") -> list[tuple[Any, ...]]:
        return await rows(self.store, f"SELECT {columns} FROM posture_alerts ORDER BY day, kind, hostname, control")


@asynccontextmanager
async def fleet(directory: Path) -> AsyncIterator[Fleet]:
    """A fleet on 1 September, of which people are told from then on."""
    clock = [MIDNIGHT]
    async with open_store(directory, CATALOG, clock=lambda: clock[0]) as store:
        found = Fleet(store, clock)
        await found.look()
        yield found


async def test_a_failure_is_told_once_however_long_it_lasts_and_however_it_is_interrupted(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        f.at(1, 9)
        await f.users(laptop, ROOT)
        await f.look()
        assert await f.alerts() == []
        for day in (2, 3, 5, 6):  # silent on the fourth
            f.at(day, 9)
            await f.users(laptop, ROOT, TOOR)
            await f.look()
            await f.look()
        told = [("failing", "laptop", CONTROL, "2026-09-03")]
        assert await f.alerts() == told
        f.at(7, 9)
        await f.users(laptop, ROOT)
        await f.look()
        f.at(8, 9)
        await f.users(laptop, ROOT, TOOR)
        await f.look()
        assert await f.alerts() == [*told, ("failing", "laptop", CONTROL, "2026-09-09")]


async def test_back_and_forth_within_a_day_is_one_failure(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        for hour, users in ((8, [ROOT]), (9, [ROOT, TOOR]), (10, [ROOT]), (11, [ROOT, TOOR])):
            f.at(1, hour)
            await f.users(laptop, *users)
            await f.look()
        assert await f.alerts() == [("failing", "laptop", CONTROL, "2026-09-02")]


async def test_a_failure_whose_beginning_moves_with_late_data_is_not_told_again(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        f.at(1, 9)
        await f.users(laptop, ROOT)
        await f.look()
        f.at(4, 9)
        await f.users(laptop, ROOT, TOOR)
        await f.look()
        f.clock[0] -= 1.5 * DAY
        await f.users(laptop, ROOT, TOOR)
        for day in (2, 3, 4):
            f.at(day, 10)
            await evaluate(
                f.store, datetime.fromtimestamp(f.clock[0], UTC).date(), datetime.fromtimestamp(f.clock[0], UTC).date()
            )
        await f.look()
        failed = "SELECT first_day FROM posture_runs WHERE control = ? AND status = 'fail' ORDER BY first_day"
        assert await rows(f.store, failed, (CONTROL,)) == [("2026-09-03",), ("2026-09-05",)]
        assert await f.alerts() == [("failing", "laptop", CONTROL, "2026-09-05")]


async def test_what_failed_before_anybody_was_to_be_told_is_no_news(tmp_path: Path) -> None:
    clock = [MIDNIGHT]
    async with open_store(tmp_path, CATALOG, clock=lambda: clock[0]) as store:
        f = Fleet(store, clock)
        laptop = await add_device(store, "laptop")
        f.at(1, 9)
        await f.users(laptop, ROOT, TOOR)
        f.at(2, 9)
        for day in (2, 3, 4):
            f.at(day, 9)
            await f.users(laptop, ROOT, TOOR)
            await evaluate(store, *[datetime.fromtimestamp(clock[0] - DAY, UTC).date()] * 2)
            if day > 2:
                await f.look()
        assert await f.alerts() == []


async def test_alerts_go_by_the_days_of_the_fleet(tmp_path: Path) -> None:
    clock = [MIDNIGHT + DAY + 3 * HOUR]  # the evening of 1 September in Los Angeles
    async with open_store(tmp_path, CATALOG, clock=lambda: clock[0]) as store:
        await store.write(lambda tx: set_zone(tx, ALWAYS, "America/Los_Angeles", "ada", clock[0]))
        f = Fleet(store, clock, limits=Limits(expiring_days=14))
        laptop = await add_device(store, "laptop")
        await f.users(laptop, ROOT)
        await exempt_device(store, laptop.device_id, "another", "2026-09-16", clock[0])
        await f.look()
        assert await f.alerts() == []
        f.at(1, 4)
        await f.users(laptop, ROOT, TOOR)
        await f.look()
        assert await f.alerts() == [("failing", "laptop", CONTROL, "2026-09-01")]
        f.at(4, 10)
        await f.look(listening_since=clock[0] - DAY)
        assert ("silent", "laptop", "", "2026-09-01") in await f.alerts()


async def test_only_failures_that_are_grave_enough_are_told(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        f.limits = Limits(severity="critical")
        laptop = await add_device(f.store, "laptop")
        f.at(1, 9)
        await f.users(laptop, ROOT, TOOR)
        assert CATALOG.controls[CONTROL].control.severity != "critical"
        await f.look()
        assert await f.alerts() == []


async def test_a_silent_device_is_told_once_a_silence(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop, left = await add_device(f.store, "laptop"), await add_device(f.store, "left")
        f.at(1, 9)
        await f.users(laptop, ROOT)
        await f.users(left, ROOT)
        await f.store.write(lambda tx: erase.retire(tx, left.device_id, f.clock[0]))
        f.at(4, 8)
        await f.look()
        assert await f.alerts("kind, hostname") == []
        f.at(4, 10)
        await f.look(listening_since=f.clock[0] - 60)  # nobody could have been heard of
        assert await f.alerts("kind, hostname") == []
        await f.look()
        await f.look()
        assert await f.alerts("kind, hostname") == [("silent", "laptop")]
        await f.users(laptop, ROOT)
        f.at(8, 10)
        await f.look()
        assert await f.alerts("kind, hostname, day") == [
            ("silent", "laptop", "2026-09-02"),
            ("silent", "laptop", "2026-09-05"),
        ]


async def test_alerts_are_posted_grouped_and_signed(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f, sinks.posts() as sink:
        f.channels = [Webhook(sink.url, KEY, clock=lambda: f.clock[0])]
        f.at(1, 9)
        for name in ("ada's laptop", "bob's laptop"):
            await f.users(await add_device(f.store, name), ROOT, TOOR)
        await f.look()
        await f.look()
        [(headers, body)] = sink.requests
        message = json.loads(body)
        assert message["summary"] == "2 devices newly failing 1 control"
        [group] = message["groups"]
        assert (group["kind"], group["control"], group["count"]) == ("failing", CONTROL, 2)
        assert [one["hostname"] for one in group["alerts"]] == ["ada's laptop", "bob's laptop"]
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        expected = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == f"v1,{expected}"
        assert headers["webhook-timestamp"] == str(int(f.clock[0]))
        [(message_id,)] = set(await f.alerts("message_id"))
        assert headers["webhook-id"] == message_id


async def test_a_message_is_sent_until_it_arrives_over_each_channel(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f, sinks.posts() as sink:
        with sinks.mails() as mail_sink:
            sink.statuses, mail_sink.replies = [500, 302], ["451 later"]
            f.channels = [Webhook(sink.url, KEY), Mail(mail_sink.url, "muster@example.org", ["ops@example.org"])]
            f.at(1, 9)
            await f.users(await add_device(f.store, "laptop"), ROOT, TOOR)
            await f.look()
            first = await f.store.read(lambda tx: list_deliveries(tx, 10, undelivered=True))
            assert {(one["attempts"], one["delivered_at"]) for one in first} == {(1, None)}
            assert any("500" in str(one["error"]) for one in first) and any("451" in str(one["error"]) for one in first)
            await f.look()  # too early
            assert (len(sink.requests), len(mail_sink.mails)) == (1, 0)
            for _ in range(3):
                f.clock[0] += 300
                await f.look()
            assert len(sink.requests) == 3 and len({headers["webhook-id"] for headers, _ in sink.requests}) == 1
            [(to, mail)] = mail_sink.mails
            assert to == ["ops@example.org"] and mail["Subject"] == "Muster: 1 device newly failing 1 control"
            assert CONTROL in mail.get_content() and "laptop" in mail.get_content()
            done = await f.store.read(lambda tx: list_deliveries(tx, 10))
            assert [bool(one["delivered_at"]) for one in done] == [True, True]
            assert not any("not-for-lists" in str(one["channel"]) for one in done)
            [delivered] = await f.alerts("delivered_at")
            assert delivered[0] is not None
            assert await rows(f.store, "SELECT body FROM muster_alert_messages") == [("",)]


async def test_a_message_is_given_up_when_the_receiver_is_gone_or_after_three_days(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f, sinks.posts() as sink:
        f.channels = [Webhook(sink.url, KEY)]
        laptop = await add_device(f.store, "laptop")
        sink.statuses = [410]
        f.at(1, 9)
        await f.users(laptop, ROOT, TOOR)
        await f.look()
        f.at(2, 9)
        await f.users(laptop, ROOT)
        await f.look()
        assert len(sink.requests) == 1
        sink.statuses = [500] * 100
        f.at(3, 9)
        await f.users(laptop, ROOT, TOOR)
        await f.look()
        for day in (4, 5, 6, 7, 8):
            f.at(day, 10)
            await f.users(laptop, ROOT, TOOR)
            await f.look()
        found = await f.store.read(lambda tx: list_deliveries(tx, 10))
        assert [(one["attempts"], one["given_up_at"]) for one in found] == [
            (4, "2026-09-07T10:00:00Z"),
            (1, "2026-09-02T09:00:00Z"),
        ]


async def test_without_a_channel_what_is_new_is_kept_and_told_to_nobody_later(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f, sinks.posts() as sink:
        f.at(1, 9)
        await f.users(await add_device(f.store, "laptop"), ROOT, TOOR)
        await f.look()
        f.channels = [Webhook(sink.url, KEY)]
        f.at(1, 10)
        await f.look()
        assert await f.alerts("kind, message_id, delivered_at") == [("failing", None, None)]
        assert sink.requests == []


async def test_an_exemption_that_ends_soon_is_told_once(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        await exempt_device(f.store, laptop.device_id, CONTROL, "2026-09-20", f.clock[0], reason="an old build")
        f.at(4, 9)
        await f.store.heard([laptop.device_no])
        await f.look()
        assert await f.alerts() == []
        f.at(6, 9)
        await f.look()
        await f.look()
        told = [("exemption_expiring", "laptop", CONTROL, "2026-09-20", "an old build")]
        assert await f.alerts("kind, hostname, control, day, detail") == told


async def test_a_stopped_canary_is_told_once(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        driver, one, other = f.store.driver, packs.content(), packs.content({packs.CONTROL: packs.control("who = 'x'")})
        await apply(driver, one, Request(by="ada"), f.clock[0])
        f.at(1, 9)
        await apply(driver, other, Request(by="ada", selector=parse_selector("tag=eng")), f.clock[0])
        f.at(1, 10)
        await f.look()
        assert await f.alerts() == []
        await roll_back(driver, None, Request(by="bob", note="it was slow"), f.clock[0])
        await f.look()
        await f.look()
        [(kind, detail)] = await f.alerts("kind, detail")
        assert kind == "canary_stopped" and "bob" in detail and "it was slow" in detail
