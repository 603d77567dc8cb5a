"""Questions about posture that have no answer: each command and each path says why, in words, and nothing breaks."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest

from tests.support.server import Server, muster_here

CONTROL = "only-root-has-uid-0"
PERIOD = ("--from", "2026-02-02", "--to", "2026-02-01")
EXEMPT = ("--until", "SOON", "--reason", "x", "--requested-by", "ann", "--approved-by", "bob")
COMMANDS: list[tuple[tuple[str, ...], int, str]] = [
    (("evaluate", "--day", "2999-01-01"), 1, "in the future"),
    (("evaluate", *PERIOD), 1, "ends on 2026-02-01 before it begins on 2026-02-02"),
    (("evaluate", "--day", "2026-02-30"), 2, "does not match"),
    (("evaluate", "--day", "1969-12-31"), 1, "before 1970-01-01"),
    (("posture", "--day", "2999-01-01"), 2, "2999-01-01"),
    (("posture", "--day", "soon"), 2, "soon"),
    (("posture", *PERIOD), 2, "2026-02-01"),
    (("posture", "--control", "nope"), 2, "no control 'nope'"),
    (("posture", "--device", "nobody"), 2, "no device 'nobody'"),
    (("exempt", "grant", "nobody", CONTROL, *EXEMPT), 1, "'nobody' is not known"),
    (("exempt", "grant", "--tag", "nothing", CONTROL, *EXEMPT), 1, "No device has the tag 'nothing'"),
    (("exempt", "grant", "--person", "nobody", CONTROL, *EXEMPT), 1, "'nobody' is neither in the roster nor"),
    (("exempt", "grant", "nobody", "nope", *EXEMPT), 1, "There is no control 'nope'"),
    (("exempt", "grant", "nobody", CONTROL, "--until", "2999-01-01", *EXEMPT[2:]), 1, "exemption_days_max"),
    (("exempt", "grant", "nobody", CONTROL, "--until", "2001-01-01", *EXEMPT[2:]), 1, "would end before it begins"),
    (("exempt", "approve", "none"), 1, "There is no exemption 'none'"),
    (("exempt", "revoke", "none", "--reason", "x"), 1, "There is no exemption 'none'"),
    (("exempt", "show", "none"), 1, "There is no exemption 'none'"),
    (("zone", "Mars/Olympus"), 2, "no time zone"),
    (("explain", "nobody", CONTROL), 1, "There is no device 'nobody'"),
]
PATHS: list[tuple[str, dict[str, str], int, str]] = [
    ("posture", {}, 400, "day"),
    ("posture", {"day": "yesterday"}, 400, "day"),
    ("posture", {"day": "2026-02-30"}, 400, "2026-02-30"),
    ("posture", {"day": "2999-01-01"}, 400, "2999-01-01"),
    ("posture", {"by": "control", "from": "2026-02-02", "to": "2026-02-01"}, 400, "2026-02-01"),
    ("posture", {"day": "2026-02-02", "control": "nope"}, 400, "no control 'nope'"),
    ("posture", {"day": "2026-02-02", "device": "nobody"}, 400, "no device 'nobody'"),
    ("failures", {"control": "nope"}, 400, "no control 'nope'"),
    ("exemptions", {"active": "soon"}, 400, "active"),
    ("exemptions/none", {}, 404, "There is no exemption 'none'"),
    ("explain", {}, 400, "explain needs ?device=&control="),
    ("explain", {"device": "nobody", "control": CONTROL}, 404, "There is no device 'nobody'"),
]


@pytest.mark.parametrize(("arguments", "code", "says"), COMMANDS, ids=[" ".join(one[0][:6]) for one in COMMANDS])
def test_commands(server: Server, arguments: tuple[str, ...], code: int, says: str) -> None:
    soon = (datetime.now(UTC) + timedelta(days=30)).date().isoformat()
    given = [soon if one == "SOON" else one for one in arguments]
    done = muster_here(*given, "--database", server.database, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert says in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("path", "query", "status", "says"), PATHS, ids=["&".join((one[0], *one[1].values())) for one in PATHS]
)
def test_paths(
    running: tuple[Server, dict[str, str]], path: str, query: dict[str, str], status: int, says: str
) -> None:
    server, made = running
    headers = {"Authorization": f"Bearer {made['admin_token']}"}
    answered, body = server.request("GET", f"/api/v1/{path}?{urlencode(query)}", headers=headers)
    assert answered == status, body
    assert says in json.loads(body)["error"]


def test_a_fleet_of_zero(running: tuple[Server, dict[str, str]]) -> None:
    server, made = running
    headers = {"Authorization": f"Bearer {made['admin_token']}"}
    day = "2026-02-02"
    judged = json.loads(muster_here("evaluate", "--day", day, "--json", "--database", server.database).stdout)
    assert judged
    assert all(one["totals"] == {} and one["changed"] == 0 for one in judged)
    status, body = server.request("GET", f"/api/v1/posture?day={day}", headers=headers)
    assert (status, json.loads(body)["posture"]) == (200, [])
    status, body = server.request("GET", f"/api/v1/posture?day={day}&by=control", headers=headers)
    assert status == 200
    fleet = json.loads(body)["fleet"]
    assert (fleet["devices"], fleet["judged"], fleet["pass_rate"], fleet["coverage"]) == (0, 0, None, None)
    shown = muster_here("posture", "--day", day, "--database", server.database).stdout
    assert shown.splitlines() == [day, "No device of those asked for is in scope."]
    status, body = server.request("GET", "/", headers=headers)
    assert status < 500
