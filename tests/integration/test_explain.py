"""Explanations by the command, the API and the console: one verdict, told the same."""

from __future__ import annotations

import json
import time
import urllib.parse
from typing import Any

import pytest

from server.normalize.times import iso
from tests.browser.fleet import Machine, answers, send
from tests.support.server import Server, muster_here
from tests.support.stores import shipped_catalog

CONTROL = "only-root-has-uid-0"
NOW = int(time.time())
TODAY, YESTERDAY = (iso(NOW - age * 86_400)[:10] for age in (0, 1))


@pytest.fixture(scope="module")
def told(running: tuple[Server, dict[str, str]]) -> tuple[Server, str]:
    """A server with a device that breaks a control since today, and two of one name."""
    server, made = running
    catalog = shipped_catalog()
    for machine in (Machine("bad-linux", failing=(CONTROL,)), Machine("twin"), Machine("TWIN")):
        key = machine.enroll(server, made["enroll_secret"])
        send(server, key, answers(catalog, "linux", (), NOW - 86_400))
        send(server, key, answers(catalog, "linux", machine.failing, NOW - 1))
    for day in (YESTERDAY, TODAY):
        muster_here("evaluate", "--day", day, "--database", server.database)
    return server, made["admin_token"]


def api(told: tuple[Server, str], **query: str) -> tuple[int, dict[str, Any]]:
    server, token = told
    path = f"/api/v1/explain?{urllib.parse.urlencode(query)}"
    status, body = server.request("GET", path, b"", {"Authorization": f"Bearer {token}"})
    return status, json.loads(body)


def test_the_command_and_the_api_tell_the_same(told: tuple[Server, str]) -> None:
    database = ("--database", told[0].database)
    status, found = api(told, device="bad-linux", control=CONTROL, day=TODAY)
    assert status == 200
    assert found["verdict"]["status"] == "fail"
    assert found["before"]["status"] == "pass"
    assert found["day"]["previous"] == YESTERDAY
    assert found["rows"]["count"] >= 1
    assert found["rows"]["rows"][0]["valid_from"] == iso(NOW - 1)
    assert found["judged_by"]["exact"]
    assert found["judged_by"]["application"]["number"] == 1
    assert [one["query"] for one in found["rule"]["queries"]] == ["users"]
    by_command = json.loads(muster_here("explain", "bad-linux", CONTROL, "--day", TODAY, "--json", *database).stdout)
    assert by_command == found
    shown = muster_here("explain", found["device"]["device_id"], CONTROL, *database).stdout
    assert "FAIL" in shown
    assert "1 row of users that decided" in shown or "rows of users that decided" in shown
    assert f"Fail since {found['words']['since'].removeprefix('Fail since ')}" in shown
    assert "application 1" in shown


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ({}, 400, "explain needs ?device=&control="),
        ({"device": "bad-linux"}, 400, "explain needs"),
        ({"device": "bad-linus", "control": CONTROL}, 404, "did you mean 'bad-linux'?"),
        ({"device": "bad-linux", "control": "only-root"}, 404, "There is no control"),
        ({"device": "twin", "control": CONTROL}, 400, "2 devices may be meant"),
        ({"device": "bad-linux", "control": CONTROL, "day": "2999-01-01"}, 400, "is in the future"),
        ({"device": "bad-linux", "control": CONTROL, "day": "1999-01-01"}, 404, "was not judged on 1999-01-01"),
        ({"device": "bad-linux", "control": CONTROL, "day": "noon"}, 400, "is no day"),
        ({"device": "bad-linux", "control": CONTROL, "limit": "0"}, 400, "limit is a number from 1"),
        ({"device": "bad-linux", "control": "\x00"}, 400, "'control' has a NUL in it"),
        ({"device": "x\x00", "control": CONTROL}, 400, "'device' has a NUL in it"),
    ],
    ids=lambda value: None if isinstance(value, dict) else str(value)[:20],
)
def test_odd_questions_get_plain_answers(
    told: tuple[Server, str], query: dict[str, str], status: int, said: str
) -> None:
    answered, body = api(told, **query)
    assert answered == status
    assert said in body["error"]


def test_the_command_lists_who_may_be_meant(told: tuple[Server, str]) -> None:
    done = muster_here("explain", "twin", CONTROL, "--database", told[0].database, check=False)
    assert done.returncode == 1
    assert done.stderr.count("last heard of") == 2
    assert api(told, device="twin", control=CONTROL)[1]["candidates"][0]["hostname"].lower() == "twin"
    future = muster_here(
        "explain", "bad-linux", CONTROL, "--day", "2999-01-01", "--database", told[0].database, check=False
    )
    assert future.returncode == 1
    assert "Traceback" not in future.stderr
