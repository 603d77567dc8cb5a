"""The console as a person meets it: with a browser, from the sign-in to the deciding row and out again."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from tests.browser.conftest import BROKEN, MACHINES, Console, sign_in
from tests.browser.fleet import Machine
from tests.support.server import serving

PAGES = (
    "/",
    f"/controls/{BROKEN}",
    f"/controls/{BROKEN}?status=error",
    "/devices",
    "/devices?show=silent",
    "/devices?q=x",
    f"/devices/bad-linux/controls/{BROKEN}",
)


def open_device(page: Page, hostname: str) -> None:
    page.goto("/devices")
    page.get_by_role("link", name=hostname, exact=True).click()


def test_only_a_token_opens_the_door(page: Page, console: Console) -> None:
    page.goto(f"/controls/{BROKEN}?status=pass")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.get_by_label("Token").fill("mst_wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("not known here")
    page.get_by_label("Token").fill(console.token)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"**/controls/{BROKEN}?status=pass")
    assert console.token not in page.url + page.content()
    cookie = page.context.cookies()[0]
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/")
    assert console.token not in cookie["value"]


def test_the_posture_names_its_denominators(signed_in: Page) -> None:
    article = signed_in.get_by_role("article").filter(has=signed_in.locator(f"a[href='/controls/{BROKEN}']"))
    # Of seven devices: one is not applicable, one silent, one cannot answer; one of the other four fails.
    expect(article).to_contain_text("3 of 4 judged devices pass")
    expect(article).to_contain_text("Left out: 1 stale, 1 error, 1 not applicable")
    for status in ("Pass", "Fail", "Stale", "No data", "Error", "Not applicable", "Exempt"):
        expect(article.get_by_role("listitem").filter(has_text=re.compile(rf"\d {status}$"))).to_have_count(1)
    expect(signed_in.locator("h1")).to_contain_text("Provisional")
    expect(article.get_by_role("group", name="The last 30 days").get_by_role("img")).to_have_count(30)
    expect(article.locator(".strip [role=img]").last).to_have_attribute("aria-label", re.compile("provisional.*1 fail"))


def test_what_changed_and_who_is_silent(signed_in: Page) -> None:
    failing = signed_in.locator(".change", has=signed_in.get_by_text("Newly failing"))
    expect(failing.get_by_role("listitem")).to_contain_text(["bad-linux"])
    expect(failing).to_contain_text("was pass")
    newly_silent = signed_in.locator(".change", has=signed_in.get_by_text("Newly silent"))
    expect(newly_silent.get_by_role("listitem")).to_contain_text(["gone-linux"])
    silent = signed_in.get_by_role("region", name="Silent devices").get_by_role("row")
    expect(silent).to_have_count(2)
    expect(silent.nth(1)).to_contain_text("gone-linux")
    expect(silent.nth(1)).to_contain_text("3 days ago")


def test_from_a_control_to_the_row_that_decides(signed_in: Page) -> None:
    signed_in.locator(f".control a[href='/controls/{BROKEN}']").click()
    row = signed_in.get_by_role("row").filter(has_text="bad-linux")
    expect(row.locator(".row")).to_have_count(1)
    expect(row.locator(".decides", has_text="uid")).to_contain_text("0")
    row.get_by_role("link", name="All rows of users").click()
    expect(signed_in.get_by_role("region", name="Rows of users").get_by_role("columnheader").first).to_have_text("uid")
    signed_in.get_by_role("link", name="bad-linux").click()
    expect(signed_in.get_by_role("heading", level=1)).to_have_text("bad-linux")
    standing = signed_in.get_by_role("article").filter(has=signed_in.locator(f"a[href='/controls/{BROKEN}']"))
    expect(standing).to_contain_text("Fail")
    expect(standing.locator(".strip [role=img]").nth(28)).to_have_attribute("aria-label", re.compile("Pass"))


def test_why_a_device_fails_and_what_it_was_the_day_before(signed_in: Page) -> None:
    signed_in.goto(f"/controls/{BROKEN}")
    signed_in.get_by_role("link", name="Why fail on bad-linux").click()
    expect(signed_in.locator(".verdict")).to_contain_text("Fail since")
    rows = signed_in.get_by_role("region", name=re.compile("rows? of users that decided"))
    expect(rows.locator(".decides", has_text="uid").first).to_contain_text("0")
    expect(rows).to_contain_text("still there")
    expect(signed_in.get_by_role("region", name="Judged by")).to_contain_text("application 1")
    signed_in.locator(".days a[rel=prev]").click()
    expect(signed_in.locator(".verdict h2")).to_have_text("Pass")
    expect(signed_in.locator(".verdict")).to_contain_text("From")
    signed_in.locator(".days a[rel=next]").click()
    expect(signed_in.locator(".verdict h2")).to_have_text("Fail")


def test_why_a_device_is_stale(signed_in: Page) -> None:
    open_device(signed_in, "gone-linux")
    standing = signed_in.get_by_role("article").filter(
        has=signed_in.locator(f"a[href='/controls/{BROKEN}?status=stale']")
    )
    standing.get_by_role("link", name=re.compile("^why ")).click()
    missing = signed_in.get_by_role("region", name="What is missing")
    expect(missing).to_contain_text("Nothing at all was observed on the device on that day.")
    expect(missing).to_contain_text("The last answer to")


def test_silence_is_told_in_words(signed_in: Page) -> None:
    signed_in.goto(f"/controls/{BROKEN}?status=stale")
    expect(signed_in.get_by_role("row").filter(has_text="gone-linux")).to_contain_text("The last answer is from before")
    signed_in.goto(f"/controls/{BROKEN}?status=error")
    expect(signed_in.get_by_role("row").filter(has_text="ill-linux")).to_contain_text("the query failed")
    signed_in.goto(f"/controls/{BROKEN}?status=not_applicable")
    expect(signed_in.get_by_role("row").filter(has_text="good-windows")).to_contain_text("no rule for this platform")


def test_the_page_of_a_device_has_all_it_answered(signed_in: Page) -> None:
    open_device(signed_in, "ill-linux")
    answers = signed_in.get_by_role("region", name="What it last answered")
    expect(answers.get_by_role("row").filter(has_text="users")).to_contain_text("no such table: users")
    expect(signed_in.get_by_role("region", name="Set aside")).to_contain_text(re.compile("[1-9] line"))
    open_device(signed_in, "good-mac")
    expect(signed_in.locator(".facts")).to_contain_text(MACHINES[2].serial)


def test_devices_are_found_by_name_and_serial(signed_in: Page) -> None:
    for text in ("GOOD-MAC", MACHINES[2].serial[:8].lower()):
        signed_in.goto("/devices")
        signed_in.get_by_role("searchbox").fill(text)
        signed_in.get_by_role("button", name="Search").click()
        expect(signed_in.get_by_role("row")).to_have_count(2)
        expect(signed_in.get_by_role("row").nth(1)).to_contain_text("good-mac")
    signed_in.goto("/devices?q=%25")
    expect(signed_in.get_by_role("heading", name="No device matches")).to_be_visible()


def test_what_a_device_calls_itself_is_only_text(signed_in: Page) -> None:
    signed_in.on("dialog", lambda _dialog: pytest.fail("a script ran"))
    open_device(signed_in, "<script>alert(1)</script>")
    expect(signed_in.get_by_role("heading", level=1)).to_have_text("<script>alert(1)</script>")


def test_signing_out_locks_the_door(signed_in: Page) -> None:
    kept = signed_in.context.cookies()
    signed_in.get_by_role("button", name="Sign out").click()
    expect(signed_in.get_by_role("heading", name="Sign in")).to_be_visible()
    signed_in.context.add_cookies([{**cookie} for cookie in kept])  # type: ignore[typeddict-item]
    signed_in.goto("/devices")
    expect(signed_in.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_link_from_elsewhere_finds_the_session(signed_in: Page, console: Console) -> None:
    signed_in.goto("about:blank")
    signed_in.set_content(f"<a href='{console.address}/devices'>devices</a>")
    signed_in.get_by_role("link").click()
    expect(signed_in.get_by_role("heading", name="Devices")).to_be_visible()


def test_nothing_breaks_the_content_policy(signed_in: Page) -> None:
    said: list[str] = []

    def note(message: ConsoleMessage) -> None:
        said.append(message.text)

    signed_in.on("console", note)
    for path in PAGES:
        answer = signed_in.goto(path)
        assert answer is not None and "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"
    open_device(signed_in, "bad-linux")
    assert signed_in.evaluate("getComputedStyle(document.body).margin") == "0px", "the stylesheet is not in use"
    assert said == []


def test_an_unknown_page_looks_like_the_others(signed_in: Page) -> None:
    for path in ("/nowhere", "/devices/nobody", "/controls/nothing", "/?day=1999-01-01"):
        answer = signed_in.goto(path)
        assert answer is not None and answer.status == 404
        expect(signed_in.get_by_role("heading", name="Not found")).to_be_visible()
        assert "default-src 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_telephone_shows_it_without_a_horizontal_scroll(browser: Browser, console: Console, scheme: str) -> None:
    with browser.new_context(
        base_url=console.address,
        viewport={"width": 360, "height": 740},
        color_scheme=scheme,  # type: ignore[arg-type]
    ) as context:
        page = context.new_page()
        sign_in(page, console.token)
        open_device(page, "bad-linux")
        for path in (*PAGES, page.url, f"{page.url}/users", "/nowhere"):
            page.goto(path)
            assert page.evaluate("document.documentElement.scrollWidth") <= 360, path


def test_no_script_is_needed(browser: Browser, console: Console) -> None:
    with browser.new_context(base_url=console.address, java_script_enabled=False) as context:
        page = context.new_page()
        sign_in(page, console.token)
        expect(page.get_by_role("heading", name="Controls", exact=True)).to_be_visible()
        page.get_by_role("navigation", name="Day").get_by_role("link").click()
        assert "day=" in page.url
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_the_keyboard_skips_to_the_content(signed_in: Page) -> None:
    signed_in.keyboard.press("Tab")
    expect(signed_in.get_by_role("link", name="Skip to the content")).to_be_focused()
    signed_in.keyboard.press("Enter")
    expect(signed_in.locator("main")).to_be_focused()


def test_an_empty_fleet_is_shown_how_to_begin(browser: Browser, tmp_path: Path) -> None:
    with serving(tmp_path) as (server, made), browser.new_context(viewport={"width": 360, "height": 740}) as context:
        address = f"http://127.0.0.1:{server.port}"
        page = context.new_page()
        page.goto(address)
        page.get_by_label("Token").fill(made["admin_token"])
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name="No device has enrolled yet")).to_be_visible()
        expect(page.locator("pre")).to_contain_text(f"--tls_hostname=127.0.0.1:{server.port}")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        for path in (f"/controls/{BROKEN}", "/devices"):
            answer = page.goto(f"{address}{path}")
            assert answer is not None and answer.status == 200
        Machine("first-linux").enroll(server, made["enroll_secret"])
        page.goto(f"{address}/devices")
        page.get_by_role("link", name="first-linux").click()
        expect(page.get_by_role("region", name="What it last answered")).to_contain_text("Nothing yet")
        page.goto(address)
        expect(page.get_by_role("heading", name="Silent devices")).to_be_visible()
