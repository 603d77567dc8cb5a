"""A real server with a small fleet, and a real Chromium that looks at it."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from server.normalize.times import iso
from tests.browser.fleet import Machine, answers, query_failed, send
from tests.support.browser import find
from tests.support.server import Server, muster, serving
from tests.support.stores import shipped_catalog

DAY = 86_400
BROKEN = "only-root-has-uid-0"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
MACHINES = [
    Machine("good-linux"),
    Machine("bad-linux", failing=(BROKEN,)),
    Machine("good-mac", "darwin"),
    Machine("good-windows", "windows"),
    Machine("gone-linux"),
    Machine("ill-linux"),
    Machine("<script>alert(1)</script>"),
]


@dataclass(frozen=True)
class Console:
    """A running console."""

    server: Server
    token: str

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"


@pytest.fixture(scope="package")
def chromium() -> str:
    """Where Chromium is; without one these tests fail, unless they were given up expressly."""
    path = find()
    if path is None and os.environ.get("MUSTER_NO_BROWSER") == "1":
        pytest.skip("MUSTER_NO_BROWSER=1 is set and there is no Chromium: the console was NOT tested in a browser")
    if path is None:
        pytest.fail(
            "There is no Chromium to test the console in: install it (apt-get install chromium, or"
            " python -m tests.support.browser as root), or set MUSTER_NO_BROWSER=1 to leave these tests out."
        )
    return path


@pytest.fixture(scope="package")
def console(tmp_path_factory: pytest.TempPathFactory, chromium: str) -> Iterator[Console]:
    """The fleet: all of it answered yesterday, all but one today; one breaks a control, one has a query fail."""
    catalog, now = shipped_catalog(), int(time.time())
    folder = tmp_path_factory.mktemp("console")
    with serving(folder) as (server, made):
        for machine in MACHINES:
            key = machine.enroll(server, made["enroll_secret"])
            send(server, key, answers(catalog, machine.platform, (), now - DAY))
            if machine.hostname != "gone-linux":
                send(server, key, answers(catalog, machine.platform, machine.failing, now - 1))
            if machine.hostname == "ill-linux":
                version = catalog.queries["users", "linux"].version
                send(server, key, [query_failed("users", version, now, "no such table: users")], "status")
                send(server, key, [{"unixTime": now, "snapshot": [], "name": "", "action": "snapshot"}])
        _silence(folder / "t.db", now)
        for age in (1, 0):
            muster("evaluate", "--day", iso(now - age * DAY)[:10], "--database", server.database)
        yield Console(server, made["admin_token"])


def _silence(database: Path, now: int) -> None:
    """Let one device have been heard of three days ago."""
    connection = sqlite3.connect(database, timeout=30)
    with connection:
        connection.execute(
            "UPDATE muster_devices SET last_seen_at = ? WHERE hostname = 'gone-linux'", (iso(now - 3 * DAY),)
        )
    connection.close()


@pytest.fixture(scope="package")
def browser(chromium: str) -> Iterator[Browser]:
    """Playwright keeps an event loop in this thread, so it must be gone before other folders' asyncio tests begin."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def visitor(browser: Browser, console: Console) -> Iterator[BrowserContext]:
    """A browser nobody is signed in with."""
    context = browser.new_context(base_url=console.address)
    context.set_default_timeout(15_000)
    yield context
    context.close()


@pytest.fixture
def page(visitor: BrowserContext) -> Page:
    return visitor.new_page()


@pytest.fixture
def signed_in(page: Page, console: Console) -> Page:
    """A page at the posture, signed in."""
    sign_in(page, console.token)
    return page


def sign_in(page: Page, token: str) -> None:
    """Fill in the form as a person does."""
    page.goto("/")
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
