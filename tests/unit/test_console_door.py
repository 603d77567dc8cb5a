"""Who may come in, from where, and for how long."""

from __future__ import annotations

import pytest

from server.console.assets import Assets
from server.console.pages import Pages, query_string
from server.console.requests import came_by_tls, local_path, same_site
from server.console.sessions import IDLE_SECONDS, Sessions


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/devices?q=a%20b&page=2", "/devices?q=a%20b&page=2"),
        ("/controls/x#devices", "/controls/x#devices"),
        ("", "/"),
        ("devices", "/"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("/a\nb", "/"),
        ("/\t/evil.example", "/"),
        ("/sign-in?next=/", "/"),
        ("/sign-out", "/"),
        ("/" + "a" * 3000, "/"),
    ],
)
def test_only_paths_of_our_own(text: str, path: str) -> None:
    assert local_path(text) == path


def test_where_a_form_came_from() -> None:
    assert same_site({"Sec-Fetch-Site": "same-origin"})
    assert not same_site({"Sec-Fetch-Site": "none"})
    assert not same_site({"Sec-Fetch-Site": "cross-site", "Origin": "https://muster.test", "Host": "muster.test"})
    assert same_site({"Origin": "https://Muster.test:8443", "Host": "muster.test:8443"})
    assert not same_site({"Origin": "https://muster.test:8444", "Host": "muster.test:8443"})
    assert not same_site({"Origin": "null", "Host": "muster.test"})
    assert not same_site({"Host": "muster.test"})
    assert not same_site({})


def test_encrypted_to_the_browser() -> None:
    assert came_by_tls(True, {})
    assert came_by_tls(False, {"X-Forwarded-Proto": "HTTPS"})
    assert not came_by_tls(False, {"X-Forwarded-Proto": "http"})


def test_a_session_ends_when_it_is_idle_or_closed() -> None:
    now = [0.0]
    sessions = Sessions(clock=lambda: now[0])
    first, second = sessions.open("one"), sessions.open("two")
    assert first != second
    now[0] = IDLE_SECONDS
    assert sessions.token_hash_of(first) == "one"
    now[0] += 1
    assert sessions.token_hash_of(second) is None
    assert sessions.token_hash_of(first) == "one", "being used, it goes on"
    sessions.close(first)
    assert sessions.token_hash_of(first) is None
    assert sessions.token_hash_of("made up") is None


def test_sessions_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.console.sessions.LARGEST", 2)
    now = [0.0]
    sessions = Sessions(clock=lambda: now[0])
    opened = []
    for _ in range(3):
        now[0] += 1
        opened.append(sessions.open("hash"))
    assert [sessions.token_hash_of(one) is not None for one in opened] == [False, True, True]


def test_an_address_changes_with_the_file() -> None:
    assets = Assets()
    style = assets.find("console.css")
    assert style is not None
    assert assets.address("console.css") == f"/static/console.css?v={style.digest}"
    assert b"@import" not in style.body and b"http" not in style.body.replace(b"http://www.w3.org", b"")
    assert assets.find("../pages.py") is None


def test_pages_escape_what_they_are_given() -> None:
    page = Pages(Assets()).render(
        "error.html", viewer=None, path="/", now=0, code=404, message="<script>alert(1)</script>"
    )
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert " style=" not in page


def test_links_keep_what_is_given_only() -> None:
    assert query_string({"day": None, "status": "fail", "q": "a&b", "page": ""}) == "?status=fail&q=a%26b"
    assert query_string({"day": None}) == ""
