"""Everything that people read and every command, on both databases: the same fleet, the same answers."""

from __future__ import annotations

import html
import http.cookiejar
import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from server.normalize.times import iso
from tests.browser.fleet import Machine, answers, query_failed, send
from tests.support.server import Server, ask, database_of, muster_here, serving, snapshot_line
from tests.support.stores import shipped_catalog

DAY = 86_400
BROKEN = "only-root-has-uid-0"
MACHINES = [
    Machine("good-linux"),
    Machine("bad-linux", failing=(BROKEN,)),
    Machine("good-mac", "darwin"),
    Machine("good-windows", "windows"),
    Machine("gone-linux"),
]


@dataclass(frozen=True)
class Fleet:
    """A server with a small fleet of two days."""

    server: Server
    token: str
    folder: Path
    now: int

    def muster(self, *arguments: str) -> Any:
        """A command's JSON."""
        return json.loads(muster_here(*arguments, "--database", self.server.database, "--json").stdout)

    def api(self, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
        """An answer of the API."""
        status, answer = self.server.request(
            "GET" if body is None else "POST",
            f"/api/v1/{path}",
            b"" if body is None else json.dumps(body).encode(),
            {"Authorization": f"Bearer {self.token}"},
        )
        return status, json.loads(answer)


PAGES = 200
"""Of the console, that are looked at: every control of every device has one."""


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def fleet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    catalog, now = shipped_catalog(), int(time.time())
    folder = tmp_path_factory.mktemp("surface")
    with database_of(request.param, folder) as url, serving(folder, database=url) as (server, made):
        for machine in MACHINES:
            key = machine.enroll(server, made["enroll_secret"])
            send(server, key, answers(catalog, machine.platform, (), now - DAY))
            if machine.hostname != "gone-linux":
                send(server, key, answers(catalog, machine.platform, machine.failing, now - 1))
            if machine.hostname == "bad-linux":
                version = catalog.queries["os_version", "linux"].version
                send(server, key, [query_failed("os_version", version, now, "no such table")], "status")
                send(server, key, [{"unixTime": now, "snapshot": [], "name": "", "action": "snapshot"}])
        for age in (1, 0):
            muster_here("evaluate", "--day", iso(now - age * DAY)[:10], "--database", url)
        yield Fleet(server, made["admin_token"], folder, now)


def test_every_list_of_the_api(fleet: Fleet) -> None:
    today = iso(fleet.now)[:10]
    sizes = {}
    for path in (
        "devices",
        "coverage",
        "days",
        "exemptions",
        "rejects",
        f"posture?day={today}&limit=1000",
        "controls",
        "queries",
    ):
        status, answer = fleet.api(path)
        assert status == 200, answer
        sizes[path.partition("?")[0]] = len(answer[path.partition("?")[0]])
    assert (sizes["devices"], sizes["rejects"], sizes["exemptions"]) == (5, 1, 0)
    assert sizes["days"] >= 2
    assert sizes["posture"] == 5 * sizes["controls"]
    first, second = (fleet.api(f"devices?limit=3&offset={offset}")[1] for offset in (0, 3))
    assert [first["next_offset"], second["next_offset"]] == [3, None]
    assert len({device["device_id"] for device in first["devices"] + second["devices"]}) == 5


def test_users_sql_of_the_api(fleet: Fleet) -> None:
    status, answer = fleet.api(
        "sql", {"sql": "SELECT hostname, SUM(1), AVG(1.5) FROM devices GROUP BY 1 ORDER BY 1", "limit": 2}
    )
    assert (status, answer["rows"], answer["truncated"]) == (200, [["bad-linux", 1, 1.5], ["gone-linux", 1, 1.5]], True)
    assert fleet.api("sql", {"sql": "SELECT * FROM muster_tokens"})[0] == 400
    assert fleet.api("sql", {"sql": "not sql"})[0] == 400


def test_every_page_of_the_console(fleet: Fleet) -> None:
    browser = _Browser(fleet)
    seen: dict[str, str] = {}
    waiting = ["/", "/devices?q=LINUX", "/devices?show=silent", "/devices?page=2", f"/controls/{BROKEN}"]
    while waiting:
        path = waiting.pop()
        seen[path], links = browser.page(path)
        new = [link for link in links if link not in seen and link not in waiting]
        waiting += new[: max(0, PAGES - len(seen) - len(waiting))]
    assert 100 < len(seen) <= PAGES
    kinds = {path.partition("?")[0].split("/")[1] for path in seen}
    assert {"", "controls", "devices"} <= kinds
    assert any(path.count("/") == 3 and path.startswith("/devices/") for path in seen)
    assert "bad-linux" in seen[f"/controls/{BROKEN}"]


@pytest.mark.parametrize(
    "path",
    ["/?day=%00", "/controls/%00", "/controls/x%ED%A0%80", "/devices?q=%00", "/devices/%00", "/devices/x/%00",
     "/devices/%ED%A0%80", "/devices?page=99999999999999999999", "/controls/x?status=%00", "/?day=%F0%9F%98%80"],
)  # fmt: skip
def test_odd_addresses_are_no_errors_of_the_server(fleet: Fleet, path: str) -> None:
    assert _Browser(fleet).status(path) in (200, 303, 400, 404)


@pytest.mark.parametrize(
    "path", ["posture?day=%00", "posture?day=%ED%A0%80", "devices?limit=%00", "devices?offset=1000000000"]
)
def test_odd_questions_are_no_errors_of_the_server(fleet: Fleet, path: str) -> None:
    assert fleet.api(path)[0] in (200, 400)


def test_every_command(fleet: Fleet) -> None:
    today, database = iso(fleet.now)[:10], fleet.server.database
    device = ask(database, "SELECT device_id FROM devices WHERE hostname = 'bad-linux'")[0][0]
    assert fleet.muster("migrate") == {"applied": []}
    assert fleet.muster("migrate", "--plan") == {"planned": []}
    for kind in ("token", "secret"):
        fleet.muster(kind, "add", "ann")
        listed = fleet.muster(kind, "list")
        named = next(entry for entry in listed if entry["name"] == "ann")
        muster_here(kind, "revoke", named["id"], "--database", database)
    until = iso(fleet.now + 30 * 86_400)[:10]
    muster_here("exempt", "grant", device, BROKEN, "--until", until, "--reason", "lab", "--requested-by", "ann",
           "--approved-by", "bob", "--database", database)  # fmt: skip
    judged = fleet.muster("evaluate", "--day", today)
    assert {entry["control"]: entry["totals"] for entry in judged}[BROKEN]["exempt"] == 1
    assert [entry["changed"] for entry in fleet.muster("evaluate", "--day", today)] == [0] * len(judged)
    found = ask(
        database, f"SELECT status, underlying_status FROM posture WHERE control = '{BROKEN}' AND status = 'exempt'"
    )
    assert found == [["exempt", "fail"]]
    assert len(fleet.api("exemptions")[1]["exemptions"]) == 1
    log = fleet.folder / "osqueryd.results.log"
    log.write_bytes(json.dumps(snapshot_line("pets", fleet.now, [{"name": "rex"}])).encode() + b"\nnot json\n")
    assert fleet.muster("ingest", str(log)) == {"devices": 1, "answers": 1, "rejected": 0, "unreadable": 1}
    assert ask(database, "SELECT hostname, name FROM pets") == [["made-up", "rex"]]
    for form in ("table", "csv"):
        assert "rex" in muster_here("sql", "--format", form, "SELECT name FROM pets", "--database", database).stdout


class _Browser:
    """Somebody signed in."""

    def __init__(self, fleet: Fleet) -> None:
        self._address = f"http://127.0.0.1:{fleet.server.port}"
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
        form = urllib.parse.urlencode({"token": fleet.token}).encode()
        request = urllib.request.Request(f"{self._address}/sign-in", form, {"Origin": self._address})
        assert "Sign out" in self._opener.open(request).read().decode()

    def page(self, path: str) -> tuple[str, list[str]]:
        """The text of a page, and the pages that it leads to."""

        try:
            text = self._opener.open(self._address + path).read().decode()
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path}: {error}") from error
        links = [html.unescape(link) for link in re.findall(r'href="([^"]*)"', text)]
        joined = [urllib.parse.urljoin(path, link) for link in links]
        return text, [
            link.partition("#")[0] for link in joined if link.startswith("/") and not link.startswith("/static")
        ]

    def status(self, path: str) -> int:
        """The status of a page."""
        try:
            return int(self._opener.open(self._address + path).status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code
