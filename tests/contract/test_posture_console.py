"""The numbers on the console's pages."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

from server.report.words import dated
from tests.contract.test_posture_api import Api, day, served


async def text_of(api: Api, path: str, expect: int = 200, /, **given: str) -> str:
    """What a page says, without its markup."""
    answer = await api.client.get(path, params=given, headers=api.headers)
    html = await answer.text()
    assert answer.status == expect, html[-2000:]
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", html)))


async def test_the_first_page_tells_rates_coverage_and_what_is_open(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        page = await text_of(api, "/", day=day(8))
        assert "33.33 % 1 of 3 judged devices pass" in page and "Coverage 100 % of 3." in page
        assert f"2 open since {dated(day(0))}. 1 remedied within 90 days, in 5 days." in page
        newest = await text_of(api, "/")
        assert "1 lapsed during the day." in newest
        mine = await text_of(api, "/", tag="sales", day=day(8))
        assert "0 of 1 judged device pass" in mine and "All - for none" not in mine
        assert "Nothing to show" in await text_of(api, "/", platform="windows")
        assert "platform is one of" in (await text_of(api, "/", 400, platform="beos")).lower()
        assert "Title of disk" not in await text_of(api, "/", criterion="soc2/CC6.1")


async def test_a_control_tells_its_own_and_those_of_some_devices(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        page = await text_of(api, "/controls/disk", day=day(8))
        assert "Coverage 100 % of 3" in page and f"2 open since {dated(day(0))}" in page
        silent = await text_of(api, "/controls/disk", day=day(4), status="stale")
        assert "laptop-0" in silent and "failing since 3 Mar" in silent
        mine = await text_of(api, "/controls/disk", day=day(8), tag="-")
        assert "Tag -" in mine and "laptop-2" in mine and "laptop-0" not in mine
        assert "no longer in the packs" in await text_of(api, "/controls/gone")
        assert "There is no control" in await text_of(api, "/controls/never", 404)


async def test_a_device_tells_since_when_it_fails_and_what_mending_took(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        listed = (await api("/api/v1/posture", day=day(8), tag="sales"))["posture"]
        page = await text_of(api, f"/devices/{listed[0]['device_id']}", day=day(4))
        assert "Failing since 3 Mar." in page
        later = await text_of(api, f"/devices/{listed[0]['device_id']}")
        assert "2 failures before, remedied in 5 days at most." in later


async def test_open_failures_have_a_page(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        page = await text_of(api, "/failures")
        assert page.index("laptop-2") < page.index(dated(day(0))) and "10 days failing" in page
        assert "10 exempt" in page and f"last passed {dated(day(8))}" in page
        gravest = await text_of(api, "/failures", sort="severity")
        assert gravest.index("Critical severity") < gravest.index("Low severity")
        assert "laptop-2" not in await text_of(api, "/failures", tag="eng")
        assert "Title of disk" not in await text_of(api, "/failures", control="lock")
        assert "Nothing is open" in await text_of(api, "/failures", platform="darwin")
        assert "sorted by" in await text_of(api, "/failures", 400, sort="size")
