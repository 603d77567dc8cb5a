"""The numbers where people and programs read them: the API, the command, Prometheus' endpoint."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.parser import text_string_to_metric_families

from server.api import asking
from server.app import opened_database, web_app
from server.store.access import add_token
from server.store.driver import DatabaseUnavailableError, Transaction
from server.store.news import News, note
from tests.support.server import muster_here
from tests.support.stores import add_device, open_store, url_in
from tests.support.verdicts import v, write_verdicts

FIRST = date(2026, 3, 1)
NOW = 1_773_144_000.0  # 2026-03-10T12:00:00Z
VERDICTS = {
    "disk": ("ppffssfpfl", "pppppppppp", "ffffffffff"),
    "lock": ("eeeeeeeeee", "nnnnnnnnnn", "pfpfpfpfpf"),
    "gone": ("fff", "ppp", "pff"),
}
TAGS = ("eng,sales", "eng", "")
LONG_AGO = "2026-03-09T10:00:00Z"


def day(n: int) -> str:
    return (FIRST + timedelta(days=n)).isoformat()


class Api:
    """An application without a worker, asked by somebody with a token."""

    def __init__(self, client: TestClient[Any, Any], token: str) -> None:
        self.client = client
        self.headers = {"Authorization": f"Bearer {token}"}

    async def __call__(self, path: str, expect: int = 200, /, **given: str) -> Any:
        answer = await self.client.get(path, params=given, headers=self.headers)
        assert answer.status == expect, await answer.text()
        return await answer.json()

    async def metrics(self) -> dict[tuple[str, ...], float]:
        answer = await self.client.get("/metrics", headers=self.headers)
        assert answer.status == 200
        families = text_string_to_metric_families(await answer.text())
        return {
            (one.name, *(value for _, value in sorted(one.labels.items()))): one.value
            for family in families
            for one in family.samples
        }


async def a_history(tmp_path: Path) -> str:
    """A database with ten days of three devices, and a token."""
    async with open_store(tmp_path, clock=lambda: NOW) as store:
        fleet = [(await add_device(store, f"laptop-{n}")).device_no for n in range(3)]
        verdicts = {(c, no): v(days) for c, each in VERDICTS.items() for no, days in zip(fleet, each, strict=True)}
        await write_verdicts(store, FIRST, verdicts, {"disk": "critical", "lock": "low"})

        async def finish(tx: Transaction) -> str:
            await tx.many("UPDATE muster_devices SET tags = ? WHERE device_no = ?", list(zip(TAGS, fleet, strict=True)))
            await tx.run("UPDATE muster_devices SET last_seen_at = ? WHERE device_no = ?", (LONG_AGO, fleet[0]))
            await tx.run("DELETE FROM muster_news")
            await note(tx, [News("query", "users", fleet[0], day(9))])
            return await add_token(tx, "reader", "reader", NOW)

        return await store.write(finish)


@asynccontextmanager
async def served(tmp_path: Path) -> AsyncIterator[Api]:
    token = await a_history(tmp_path)
    async with (
        open_store(tmp_path, clock=lambda: NOW) as store,
        opened_database(await url_in(tmp_path)) as database,
        TestClient(TestServer(web_app(store, database.asker))) as client,
    ):
        yield Api(client, token)


async def test_a_day_is_listed_by_what_is_wanted(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        every = (await api("/api/v1/posture", day=day(2)))["posture"]
        assert sorted({row["control"] for row in every}) == ["disk", "gone", "lock"] and len(every) == 9
        assert [row["control"] for row in every] == sorted(row["control"] for row in every)
        failing = (await api("/api/v1/posture", day=day(2), status="fail"))["posture"]
        assert {(row["hostname"], row["control"]) for row in failing} == {
            ("laptop-0", "disk"), ("laptop-2", "disk"), ("laptop-0", "gone"), ("laptop-2", "gone"),
        }  # fmt: skip
        for given, hosts in (
            ({"tag": "eng"}, {"laptop-0", "laptop-1"}),
            ({"tag": "-"}, {"laptop-2"}),
            ({"tag": "sales", "control": "disk"}, {"laptop-0"}),
            ({"platform": "windows"}, set()),
            ({"device": every[0]["device_id"]}, {every[0]["hostname"]}),
            ({"owner": "nobody@example.com"}, set()),
        ):
            found = (await api("/api/v1/posture", day=day(2), **given))["posture"]
            assert {row["hostname"] for row in found} == hosts, given
        pages: list[Any] = []
        offset: int | None = 0
        while offset is not None:
            page = await api("/api/v1/posture", day=day(2), limit="2", offset=str(offset))
            pages, offset = pages + page["posture"], page["next_offset"]
        assert pages == every
        assert (await api("/api/v1/posture", day="2025-03-01"))["posture"] == []


async def test_numbers_of_a_day_and_of_a_period(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        told = await api("/api/v1/posture", by="control", day=day(8))
        disk = next(group for group in told["groups"] if group["control"] == "disk")
        assert (disk["title"], disk["severity"]) == ("Title of disk", "critical")
        assert (disk["pass"], disk["judged"], disk["pass_rate"]) == (1, 3, 33.33)
        assert (disk["open_failures"], disk["open_since"]) == (2, day(0))
        assert told["provisional"] == 0 and [group["control"] for group in told["groups"]] == ["disk", "lock"]
        period = {"from": day(0), "to": day(9)}
        told = await api("/api/v1/posture", by="tag", **period)
        assert [group["tag"] for group in told["groups"]] == ["eng", "sales", None]
        assert told["fleet"]["in_scope"] == 2 * 30 + 9 and told["provisional"] == 1 and told["days"] == 10
        eng, sales, none = told["groups"]
        assert eng["in_scope"] + none["in_scope"] == told["fleet"]["in_scope"] and sales["in_scope"] == 23
        gone = next(
            g for g in (await api("/api/v1/posture", by="control", **period))["groups"] if g["control"] == "gone"
        )
        assert (gone["in_scope"], gone["fail"], gone["devices_failing"], gone["open_failures"]) == (9, 5, 2, 0)


@pytest.mark.parametrize(
    ("path", "given", "why"),
    [
        ("posture", {}, "give day"),
        ("posture", {"day": "2026-03-11"}, "in the future"),
        ("posture", {"by": "control", "from": "2026-03-05", "to": "2026-03-04"}, "before it begins"),
        ("posture", {"by": "mood", "day": "2026-03-04"}, "by is one of"),
        ("posture", {"day": "yesterday"}, "YYYY-MM-DD"),
        ("posture", {"day": "2026-03-04", "status": "bad\n"}, "status is one of"),
        ("posture", {"day": "2026-03-04", "control": "näh"}, "there is no control"),
        ("posture", {"day": "2026-03-04", "limit": "0"}, "limit is a number"),
        ("failures", {"open": "yes"}, "open is 1 or 0"),
        ("failures", {"sort": "size"}, "sort is one of"),
        ("failures", {"device": "x"}, "there is no device"),
    ],
)
async def test_what_cannot_be_asked_for(tmp_path: Path, path: str, given: Mapping[str, str], why: str) -> None:
    async with served(tmp_path) as api:
        assert why in (await api(f"/api/v1/{path}", 400, **given))["error"]


async def test_failures_are_listed_oldest_or_gravest_first(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        every = (await api("/api/v1/failures"))["failures"]
        assert len(every) == 3 + 6 + 2 and {row["open"] for row in every} == {0, 1}
        going = (await api("/api/v1/failures", open="1"))["failures"]
        assert [(row["hostname"], row["control"], row["first_failed_day"]) for row in going] == [
            ("laptop-2", "disk", day(0)), ("laptop-0", "lock", day(0)), ("laptop-2", "lock", day(9)),
        ]  # fmt: skip
        assert going[1]["exempt_days"] == going[1]["failed_days"] == 10 and going[0]["remedied_day"] is None
        gravest = (await api("/api/v1/failures", sort="severity", limit="5"))["failures"]
        assert [(row["severity"], row["first_failed_day"]) for row in gravest] == [
            ("critical", day(0)), ("critical", day(2)), ("critical", day(8)), ("medium", day(0)), ("medium", day(1)),
        ]  # fmt: skip
        page = await api("/api/v1/failures", control="lock", limit="2", offset="2")
        assert len(page["failures"]) == 2 and page["next_offset"] == 4
        assert (await api("/api/v1/failures", tag="sales", open="1"))["failures"] == [going[1]]


async def test_prometheus_reads_what_stands(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        assert (await api.client.get("/metrics")).status == 401
        found = await api.metrics()
        assert found["muster_posture_devices", "disk", "closed", "fail"] == 2
        assert found["muster_posture_devices", "disk", "running", "fail"] == 1
        assert found["muster_posture_devices", "disk", "running", "stale"] == 0
        assert found["muster_posture_pass_ratio", "disk", "closed"] == pytest.approx(1 / 3)
        assert found["muster_posture_lapsed_devices", "disk", "running"] == 1
        assert found["muster_posture_coverage_ratio", "lock", "closed"] == 1
        assert found["muster_open_failures", "disk", "critical"] == 1
        assert found["muster_open_failures", "lock", "low"] == 2
        assert not any("gone" in key for key in found), "a control that is not judged any more"
        assert found["muster_devices", "silent"] == 1 and found["muster_devices", "active"] == 2
        assert found["muster_news_waiting",] == 1 and found["muster_judging_lag_seconds",] >= 0
        assert found["muster_canary_under_way",] == 0 and found["muster_ingested_bodies_total",] == 0
        assert found["muster_collector_batches_total", "known"] == found["muster_collector_lost_lines_total",] == 0
        assert found["muster_collectors_connected",] == 0
        assert found["muster_closed_until_timestamp_seconds",] == 1_773_100_800


def test_the_command_reads_well(tmp_path: Path) -> None:
    async def make() -> str:
        await a_history(tmp_path)
        return await url_in(tmp_path)

    url = asyncio.run(make())
    shown = muster_here("posture", "--database", url, "--day", day(8)).stdout
    lines = shown.splitlines()
    assert lines[0] == day(8)
    assert lines[1] == "3 devices, 2 of them failing; 50 % of 4 pass, coverage 100 % of 5"
    assert lines[2].split()[:4] == ["control", "severity", "pass", "rate"]
    assert lines[3].split() == ["disk", "critical", "33.33", "%", "of", "3", "100", "%", "of", "3", "2", "2", day(0)]
    told = json.loads(muster_here("posture", "--database", url, "--by", "platform", "--json").stdout)
    assert (told["from"], told["provisional"], told["groups"][0]["platform"]) == (day(9), 1, "linux")
    period = muster_here("posture", "--database", url, "--from", day(0), "--to", day(9), "--by", "tag").stdout
    assert period.startswith(f"{day(0)} to {day(9)}, 10 days judged, provisional\n") and "(none)" in period
    wrong = muster_here("posture", "--database", url, "--day", "2999-01-01", check=False)
    assert wrong.returncode == 2 and "in the future" in wrong.stderr


def test_the_command_says_that_nothing_was_judged(tmp_path: Path) -> None:
    async def make() -> str:
        async with open_store(tmp_path):
            return await url_in(tmp_path)

    url = asyncio.run(make())
    assert muster_here("posture", "--database", url).stdout.splitlines()[1:] == ["Nothing was judged."]
    told = json.loads(muster_here("posture", "--database", url, "--by", "owner", "--json").stdout)
    assert told["groups"] == [] and told["fleet"]["pass_rate"] is None


@pytest.mark.parametrize("what", ["tag", "owner", "device", "control", "criterion", "platform"])
async def test_what_no_database_takes_is_asked_of_none(tmp_path: Path, what: str) -> None:
    async with served(tmp_path) as ask:
        for path in ("/api/v1/posture", "/api/v1/failures", "/", "/failures"):
            answer = await ask.client.get(path, params={what: "a\0b", "day": day(9), "by": "tag"}, headers=ask.headers)
            assert answer.status in (200, 400, 404), (path, await answer.text())


async def test_a_device_is_not_unknown_because_the_database_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> int:
        raise DatabaseUnavailableError("it cannot be reached")

    async with served(tmp_path) as api:
        await api("/api/v1/devices/nobody/asked", 404)
        monkeypatch.setattr(asking, "device_no_of", away)
        await api("/api/v1/devices/nobody/asked", 503)
