"""The console's door, without a browser: what forged forms, strange addresses and revoked tokens come to."""

from __future__ import annotations

import http.client
import json
from urllib.parse import urlencode

import pytest

from tests.browser.conftest import Console
from tests.support.server import muster

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
OWN = {"Sec-Fetch-Site": "same-origin", **FORM}


def ask(
    console: Console, method: str, path: str, headers: dict[str, str] | None = None, **form: str
) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", console.server.port, timeout=30)
    connection.request(method, path, urlencode(form).encode() if form else None, headers or {})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer


def session(console: Console, token: str, headers: dict[str, str] | None = None) -> str:
    """Sign in and return the cookie as it was set."""
    answer = ask(console, "POST", "/sign-in", {**OWN, **(headers or {})}, token=token)
    assert answer.status == 303
    return str(answer.getheader("Set-Cookie"))


def test_strangers_are_sent_to_sign_in(console: Console) -> None:
    for path in ("/", "/devices", "/nowhere", "/controls/x?day=2026-01-01"):
        answer = ask(console, "GET", path)
        assert answer.status == 303
        assert str(answer.getheader("Location")).startswith("/sign-in")
        assert "default-src 'none'" in str(answer.getheader("Content-Security-Policy"))
    assert "script" not in str(answer.getheader("Content-Security-Policy"))
    assert ask(console, "POST", "/devices", OWN).status == 303


def test_the_api_keeps_its_own_door(console: Console) -> None:
    cookie = session(console, console.token).partition(";")[0]
    assert ask(console, "GET", "/api/v1/devices", {"Cookie": cookie}).status == 401
    assert ask(console, "GET", "/healthz").status == 200


def test_a_bearer_token_reads_pages_too(console: Console) -> None:
    assert ask(console, "GET", "/", {"Authorization": f"Bearer {console.token}"}).status == 200
    assert ask(console, "GET", "/", {"Authorization": "Bearer mst_wrong"}).status == 303


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "OWN"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "OWN"}, 303),
        ({"Sec-Fetch-Site": "same-origin"}, 303),
    ],
)
def test_forms_of_other_sites_are_refused(console: Console, headers: dict[str, str], status: int) -> None:
    sent = {name: console.address if value == "OWN" else value for name, value in headers.items()}
    assert ask(console, "POST", "/sign-in", {**FORM, **sent}, token=console.token).status == status
    assert ask(console, "POST", "/sign-out", {**FORM, **sent}).status == status


@pytest.mark.parametrize("after", ["//evil.example", "https://evil.example/", "/\\evil.example", "/a\r\nSet-Cookie: x"])
def test_signing_in_ends_nowhere_else(console: Console, after: str) -> None:
    answer = ask(console, "POST", "/sign-in", OWN, token=console.token, next=after)
    assert (answer.status, answer.getheader("Location")) == (303, "/")


def test_the_cookie_is_secure_behind_tls(console: Console) -> None:
    plain = session(console, console.token)
    assert "HttpOnly" in plain and "SameSite=Strict" in plain and "Path=/" in plain and "Secure" not in plain
    assert "Secure" in session(console, console.token, {"X-Forwarded-Proto": "https"})


def test_a_revoked_token_ends_its_sessions(console: Console) -> None:
    database = ("--database", console.server.database, "--json")
    token = json.loads(muster("token", "add", "short-lived", *database).stdout)["token"]
    cookie = {"Cookie": session(console, token).partition(";")[0]}
    assert ask(console, "GET", "/", cookie).status == 200
    known = {entry["name"]: entry["id"] for entry in json.loads(muster("token", "list", *database).stdout)}
    muster("token", "revoke", known["short-lived"], *database[:2])
    assert ask(console, "GET", "/", cookie).status == 303


def test_forms_that_are_not_ours_are_told_so(console: Console) -> None:
    assert ask(console, "POST", "/sign-in", {**OWN, "Content-Type": "text/plain"}, token="x").status == 400
    assert ask(console, "POST", "/sign-in", OWN, token="x" * 20_000).status == 400
    assert ask(console, "POST", "/sign-in", OWN, token="").status == 403


def test_files_are_kept_by_their_digest_only(console: Console) -> None:
    assert "no-cache" in str(ask(console, "GET", "/static/console.css").getheader("Cache-Control"))
    assert ask(console, "GET", "/static/..%2Fpages.py").status == 404


def test_nonsense_is_answered_and_never_fails(console: Console) -> None:
    reader = {"Authorization": f"Bearer {console.token}"}
    for path, status in {
        "/?day=yesterday": 400,
        "/?day=0001-01-01": 404,
        "/controls/only-root-has-uid-0?status=good": 400,
        "/controls/%00": 404,
        "/devices/%ED%A0%80": 404,
        "/devices?q=%00%25_!": 200,
        "/devices?page=-1": 200,
        "/devices?page=99999999999999999999": 200,
        "/controls/only-root-has-uid-0?page=999999": 200,
        "/devices/x/%2F..%2F": 404,
    }.items():
        assert ask(console, "GET", path, reader).status == status, path
    assert console.token not in "".join(console.server.output)
