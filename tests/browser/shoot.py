"""Screenshots of the console with a made-up fleet: ``python -m tests.browser.shoot FOLDER``."""

from __future__ import annotations

import random
import sqlite3
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from server.catalog.catalog import Catalog
from tests.browser.conftest import ARGUMENTS
from tests.browser.fleet import Machine, answers, query_failed, send
from tests.support.browser import find
from tests.support.server import Server, muster, serving
from tests.support.stores import shipped_catalog

DAY = 86_400
DAYS = 30
_NAMES = (
    "ada alan barbara claude dennis donald dorothy edith edsger frances grace guido hedy ida jean john joan kathleen "
    "ken lynn mae margaret mary niklaus peter radia rosa shafi sophie tim whitfield yvonne"
).split()
_KINDS = (("mbp", "darwin"), ("mbp", "darwin"), ("win", "windows"), ("lx", "linux"))


def fleet(dice: random.Random) -> list[Machine]:
    """Fifty-eight laptops and servers."""
    found = []
    for number in range(50):
        kind, platform = _KINDS[number % len(_KINDS)]
        found.append(Machine(f"{dice.choice(_NAMES)}-{kind}-{number + 11}", platform))
    return found + [Machine(f"build-{number:02d}.prod.example.com", "linux") for number in range(1, 9)]


def live(server: Server, secret: str, catalog: Catalog, now: int) -> None:
    """Play thirty days: controls break and are mended, laptops are shut, one query fails, some fall silent."""
    dice = random.Random(20)
    controls = [loaded.control_id for loaded in catalog.judged()]
    # Answers of a minute ago count for today also just after midnight.
    today = now - 60
    for machine in fleet(dice):
        key = machine.enroll(server, secret)
        broken = set(dice.choices(controls, k=2)) if dice.random() < 0.35 else set()
        silent_from = dice.randint(1, 26) if dice.random() < 0.08 else DAYS
        failing_query = dice.random() < 0.05
        lines, statuses = [], []
        for day in range(DAYS):
            if dice.random() < 0.04:
                broken.add(dice.choice(controls))
            broken = {control for control in broken if dice.random() > 0.08}
            away = machine.hostname[0] != "b" and datetime.fromtimestamp(today, UTC).weekday() - (DAYS - 1 - day) % 7
            if day >= silent_from or (away in (5, -2) and dice.random() < 0.2) or dice.random() < 0.015:
                continue
            at = today - (DAYS - 1 - day) * DAY
            lines += answers(catalog, machine.platform, broken, at)
            if failing_query and day > 20:
                version = catalog.queries["os_version", machine.platform].version
                statuses.append(query_failed("os_version", version, at + 1, "vtable constructor failed: os_version"))
        send(server, key, lines)
        send(server, key, statuses, "status")


def age(database: Path, now: int) -> None:
    """Devices that stopped answering were last heard of then, not when this script sent their answers."""
    with sqlite3.connect(database) as connection:
        connection.execute(
            "UPDATE muster_devices SET owner = lower(substr(hostname, 1, instr(hostname || '-', '-') - 1)) ||"
            " '@example.com', tags = CASE platform WHEN 'darwin' THEN 'eng' WHEN 'linux' THEN 'eng,server' ELSE '' END,"
            " last_seen_at = MIN(last_seen_at, (SELECT MAX(at) FROM muster_instants i"
            " WHERE i.device_no = muster_devices.device_no))"
        )
    connection.close()


def exempt(database: str, now: int) -> None:
    """Grant one exemption to a failing device."""
    with sqlite3.connect(database.removeprefix("sqlite:///")) as connection:
        found = connection.execute(
            "SELECT d.device_id, p.control FROM posture p JOIN devices d USING (device_id)"
            " WHERE p.status = 'fail' ORDER BY p.day DESC, d.hostname LIMIT 1"
        ).fetchone()
    connection.close()
    until = (datetime.fromtimestamp(now, UTC) + timedelta(days=20)).date().isoformat()
    muster(
        "exempt", "grant", found[0], found[1], "--until", until, "--reason", "Waits for the vendor, SEC-411",
        "--requested-by", "ada@example.com", "--approved-by", "grace@example.com", "--database", database,
    )  # fmt: skip


def shoot(browser: Browser, address: str, token: str, folder: Path) -> None:
    """Every page, light and dark and narrow."""
    for name, scheme, width in (("light", "light", 1280), ("dark", "dark", 1280), ("narrow", "light", 360)):
        context = browser.new_context(
            color_scheme=scheme,  # type: ignore[arg-type]
            viewport={"width": width, "height": 900},
            java_script_enabled=False,
            device_scale_factor=1.5,
        )
        page = context.new_page()
        page.goto(f"{address}/")
        page.screenshot(path=folder / f"sign-in-{name}.png")
        page.get_by_label("Token").fill(token)
        page.get_by_role("button", name="Sign in").click()
        _pages(page, address, folder, name)
        context.close()


def _pages(page: Page, address: str, folder: Path, name: str) -> None:
    page.screenshot(path=folder / f"posture-{name}.png", full_page=True)
    page.locator(".control h3 a").first.click()
    page.screenshot(path=folder / f"control-{name}.png", full_page=True)
    page.get_by_role("link", name="Why").first.click()
    page.screenshot(path=folder / f"why-{name}.png", full_page=True)
    page.go_back()
    page.locator("table tbody th a").first.click()
    page.screenshot(path=folder / f"device-{name}.png", full_page=True)
    page.get_by_role("link", name="users", exact=True).or_(page.locator("table.cards tbody th a").first).last.click()
    page.screenshot(path=folder / f"rows-{name}.png", full_page=True)
    page.goto(f"{address}/devices")
    page.screenshot(path=folder / f"devices-{name}.png", full_page=True)
    page.goto(f"{address}/failures")
    page.screenshot(path=folder / f"failures-{name}.png", full_page=True)
    page.goto(f"{address}/?tag=eng")
    page.screenshot(path=folder / f"posture-eng-{name}.png", full_page=True)
    page.goto(f"{address}/exemptions")
    page.screenshot(path=folder / f"exemptions-{name}.png", full_page=True)
    page.locator("table.cards tbody th a").first.click()
    page.screenshot(path=folder / f"exemption-{name}.png", full_page=True)
    page.goto(f"{address}/devices/nobody")
    page.screenshot(path=folder / f"error-{name}.png")


def main(folder: Path) -> None:
    """Play the fleet and take the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    now, catalog = int(time.time()), shipped_catalog()
    with tempfile.TemporaryDirectory() as scratch, serving(Path(scratch)) as (server, made):
        live(server, made["enroll_secret"], catalog, now)
        age(Path(scratch) / "t.db", now)
        last = datetime.fromtimestamp(now, UTC).date()
        period = ("--from", (last - timedelta(days=DAYS - 1)).isoformat(), "--to", last.isoformat())
        muster("evaluate", *period, "--database", server.database)
        exempt(server.database, now)
        muster("evaluate", "--day", last.isoformat(), "--database", server.database)
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=find(), args=ARGUMENTS)
            shoot(browser, f"http://127.0.0.1:{server.port}", made["admin_token"], folder)
            browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
