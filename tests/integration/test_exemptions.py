"""``muster exempt``, the API and the console's pages of exemptions, on a server that runs."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support.server import Peer, Server, ask, muster_here

CONTROL = "osquery-current"


def day(ahead: int) -> str:
    return (datetime.now(UTC) + timedelta(days=ahead)).date().isoformat()


class Api:
    """The API as the holder of a token uses it."""

    def __init__(self, server: Server, token: str) -> None:
        self.server, self.token = server, token

    def __call__(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        sent = b"" if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.token}"}
        status, answer = self.server.request(method, f"/api/v1/exemptions{path}", sent, headers)
        return status, json.loads(answer)

    def form(self, path: str, **said: str) -> tuple[int, str]:
        headers = {
            "Authorization": f"Bearer {self.token}", "Content-Type": "application/x-www-form-urlencoded",
            "Sec-Fetch-Site": "same-origin",
        }  # fmt: skip
        status, answer = self.server.request("POST", f"/exemptions{path}", urlencode(said).encode(), headers)
        return status, answer.decode()

    def page(self, path: str = "") -> tuple[int, str]:
        status, answer = self.server.request(
            "GET", f"/exemptions{path}", headers={"Authorization": f"Bearer {self.token}"}
        )
        return status, answer.decode()


def token(server: Server, name: str, role: str = "admin") -> Api:
    return Api(server, muster_here("token", "add", name, "--role", role, "--database", server.database).stdout.strip())


@pytest.fixture
def device(running: tuple[Server, dict[str, str]], own_name: str) -> str:
    """A device of the test's own with a tag of its own, which is the test's name too."""
    server, made = running
    Peer(server, made["enroll_secret"]).enroll(system_info={"uuid": own_name, "hostname": own_name})
    found = ask(server.database, f"SELECT device_id FROM devices WHERE hostname = '{own_name}'")
    device_id = str(found[0][0])
    muster_here("device", "tag", device_id, f"+{own_name}", "--database", server.database)
    return device_id


def exempt(server: Server, *arguments: str) -> Any:
    return json.loads(muster_here("exempt", *arguments, "--database", server.database, "--json").stdout)


def refused(server: Server, *arguments: str) -> tuple[int, str]:
    done = muster_here("exempt", *arguments, "--database", server.database, check=False)
    return done.returncode, done.stderr


def test_asking_approving_and_revoking_by_command(server: Server, device: str, own_name: str) -> None:
    asked = exempt(
        server, "request", device, CONTROL, "--until", day(10), "--reason", "lab", "--requested-by", "ann",
        "--risk", "old osquery", "--compensating-control", "no network", "--link", "https://tickets/1",
    )  # fmt: skip
    assert (asked["phase"], asked["devices"], asked["risk"]) == ("requested", 0, "old osquery")
    exemption_id = asked["exemption_id"]
    assert refused(server, "approve", exemption_id, "--by", "A N N")[0] == 1
    approved = exempt(server, "approve", exemption_id, "--by", "bob")
    assert (approved["phase"], approved["first_day"], approved["devices"]) == ("active", day(0), 1)
    mine = [entry["exemption_id"] for entry in exempt(server, "list", "--expiring", "14d", "--device", device)]
    assert mine == [exemption_id]
    assert exempt(server, "list", "--expiring", "9", "--device", device) == []
    assert exempt(server, "list", "--unneeded", "--device", device) == []
    shown = exempt(server, "show", exemption_id)
    assert [(one["device_id"], one["hostname"]) for one in shown["devices"]] == [(device, own_name)]
    revoked = exempt(server, "revoke", exemption_id, "--reason", "mended", "--by", "carl")
    assert (revoked["phase"], revoked["revoked_by"], revoked["devices"]) == ("revoked", "carl", 0)
    assert refused(server, "revoke", exemption_id, "--reason", "again")[0] == 1
    again = exempt(server, "request", device, CONTROL, "--until", day(10), "--reason", "lab")
    assert exempt(server, "reject", again["exemption_id"], "--reason", "no", "--by", "bob")["phase"] == "rejected"
    assert len(exempt(server, "list", "--device", device)) == 2
    for command in (("list", "--device", device), ("show", exemption_id)):
        assert exemption_id in muster_here("exempt", *command, "--database", server.database).stdout


def test_granting_by_tag_and_what_is_refused(server: Server, device: str, own_name: str) -> None:
    by = ("--reason", "lab", "--requested-by", "ann", "--approved-by", "bob")
    made = exempt(server, "grant", "--tag", own_name, CONTROL, "--until", day(3), *by)
    assert (made["scope"], made["subject"], made["devices"]) == ("tag", own_name, 1)
    assert refused(server, "grant", "--tag", own_name, CONTROL, "--until", day(4), *by)[0] == 1
    for wrong, says in (
        ((device, CONTROL, "--until", day(366)), "more than the 365"),
        ((device, CONTROL, "--until", day(-1)), "would end before"),
        ((device, CONTROL, "--until", day(3), "--from", day(-1)), "is over"),
        ((device, "nonsense", "--until", day(3)), "no control 'nonsense'"),
        (("nobody", CONTROL, "--until", day(3)), "is not known"),
        (("--person", "nobody", CONTROL, "--until", day(3)), "neither in the roster"),
    ):
        code, said = refused(server, "grant", *wrong, *by)
        assert (code, says in said) == (1, True), said
    for usage in ((CONTROL,), (device, "--tag", "x", CONTROL), (device, CONTROL, "more")):
        assert refused(server, "grant", *usage, "--until", day(3), *by)[0] == 2
    assert refused(server, "list", "--expiring", "soon")[0] == 2
    assert "is not known" in refused(server, "list", "--device", "nobody")[1]


def test_asking_approving_and_revoking_by_the_api(server: Server, device: str, own_name: str) -> None:
    ann, bob, reader = token(server, "ann"), token(server, "bob"), token(server, "reader", "reader")
    body = {"control": CONTROL, "subject": device, "last_day": day(5), "reason": "lab"}
    assert reader("POST", "", body)[0] == 403
    status, answer = ann("POST", "", body)
    entry = answer["exemption"]
    assert (status, entry["requested_by"], entry["request_token"], entry["phase"]) == (201, "ann", "ann", "requested")
    path = f"/{entry['exemption_id']}"
    assert reader("POST", f"{path}/approve")[0] == 403
    assert ann("POST", f"{path}/approve")[0] == 409
    status, answer = bob("POST", f"{path}/approve")
    assert (status, answer["exemption"]["approved_by"], answer["exemption"]["decision_token"]) == (200, "bob", "bob")
    assert bob("POST", f"{path}/reject", {"reason": "late"})[0] == 409
    status, answer = reader("GET", path)
    assert (status, [one["device_id"] for one in answer["devices"]]) == (200, [device])
    assert ann("POST", f"{path}/revoke")[0] == 400
    status, answer = ann("POST", f"{path}/revoke", {"reason": "mended"})
    assert (status, answer["exemption"]["revoked_by"], answer["exemption"]["phase"]) == (200, "ann", "revoked")
    named = {**body, "scope": "tag", "subject": own_name, "requested_by": "Dora", "first_day": day(1)}
    status, answer = ann("POST", "", named)
    assert (status, answer["exemption"]["requested_by"]) == (201, "Dora")
    assert ann("POST", f"/{answer['exemption']['exemption_id']}/approve")[0] == 409
    assert bob("POST", f"/{answer['exemption']['exemption_id']}/reject", {"reason": "no"})[0] == 200


def test_lists_of_the_api(server: Server, device: str) -> None:
    reader = token(server, "lister", "reader")
    by = ("--reason", "lab", "--requested-by", "ann", "--approved-by", "bob")
    made = [
        exempt(server, "grant", device, CONTROL, "--from", day(ahead), "--until", day(ahead + 1), *by)["exemption_id"]
        for ahead in (0, 2, 4)
    ]
    mine = f"?device={device}"

    def found(query: str = "") -> list[str]:
        status, answer = reader("GET", mine + query)
        assert status == 200
        return [entry["exemption_id"] for entry in answer["exemptions"]]

    assert sorted(found()) == sorted(made)
    assert found(f"&active={day(2)}") == [made[1]]
    assert found("&expiring=14") == [made[0]]
    assert (found("&control=other"), found("&state=revoked"), found("&unneeded=7")) == ([], [], [])
    status, answer = reader("GET", f"{mine}&limit=2")
    assert (status, len(answer["exemptions"]), answer["next_offset"]) == (200, 2, 2)
    status, answer = reader("GET", f"{mine}&limit=2&offset=2")
    assert (len(answer["exemptions"]), answer["next_offset"]) == (1, None)
    for wrong in (
        "?active=yesterday",
        "?active=20260101",
        "?active=2026-W01-1",
        "?expiring=0",
        "?state=odd",
        "?limit=0",
        "?control=%00",
    ):
        assert reader("GET", wrong)[0] == 400, wrong


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ([], 400), ({}, 400), ({"control": 1}, 400), ({"odd": "x"}, 400), ({"scope": "all"}, 400),
        ({"last_day": "soon"}, 400), ({"last_day": "2000-01-01"}, 409), ({"subject": "nobody\0"}, 409),
        ({"control": "nope\0"}, 409), ({"reason": "  "}, 409), ({"link": "javascript:alert(1)"}, 409),
    ],
    ids=str,
)  # fmt: skip
def test_bodies_that_are_refused(running: tuple[Server, dict[str, str]], said: Any, status: int) -> None:
    server, made = running
    api = Api(server, made["admin_token"])
    whole = {"control": CONTROL, "subject": "nobody", "last_day": day(5), "reason": "lab"}
    code, answer = api("POST", "", {**whole, **said} if said else said)
    assert (code, bool(answer["error"])) == (status, True)


def test_what_there_is_not(running: tuple[Server, dict[str, str]]) -> None:
    server, made = running
    api = Api(server, made["admin_token"])
    assert [api("GET", "/none")[0], api("POST", "/none/approve")[0], api("GET", "/%00")[0]] == [404] * 3
    assert [api.page("/none")[0], api.form("/none/approve")[0], api.page("?show=odd")[0]] == [404, 404, 400]


def test_deciding_on_the_console(server: Server, device: str, own_name: str) -> None:
    ann, bob, reader = token(server, "ann"), token(server, "bob"), token(server, "watcher", "reader")
    asked = ann("POST", "", {"control": CONTROL, "subject": device, "last_day": day(5), "reason": "<b>lab</b>"})[1]
    path = f"/{asked['exemption']['exemption_id']}"
    status, page = bob.page(path)
    assert status == 200 and "&lt;b&gt;lab" in page and "Approve" in page
    assert ">Approve<" not in reader.page(path)[1]
    assert own_name in reader.page("?show=requested")[1]
    assert reader.form(f"{path}/approve")[0] == 403
    status, page = ann.form(f"{path}/approve")
    assert status == 409 and "another one has to approve it" in page
    assert bob.form(f"{path}/approve")[0] == 303
    assert own_name in bob.page()[1] and own_name in bob.page("?show=expiring")[1]
    assert bob.form(f"{path}/revoke", reason=" ")[0] == 409
    assert bob.form(f"{path}/revoke", reason="mended")[0] == 303
    page = reader.page(path)[1]
    assert "Revoked because" in page and "mended" in page and own_name in reader.page("?show=all")[1]
    headers = {"Authorization": f"Bearer {bob.token}", "Content-Type": "application/x-www-form-urlencoded"}
    strange = server.request("POST", f"/exemptions{path}/revoke", b"", {**headers, "Sec-Fetch-Site": "cross-site"})
    assert strange[0] == 403


def test_judging_and_the_view_follow(server: Server, device: str) -> None:
    today = time.strftime("%Y-%m-%d", time.gmtime())
    muster_here("evaluate", "--database", server.database, "--day", today)
    exempt(
        server, "grant", device, CONTROL, "--until", day(1), "--reason", "lab", "--requested-by", "ann",
        "--approved-by", "bob",
    )  # fmt: skip
    muster_here("evaluate", "--database", server.database, "--day", today)
    statement = f"SELECT status, underlying_status FROM posture WHERE control = '{CONTROL}' AND device_id = '{device}'"
    assert ask(server.database, statement) == [["exempt", "no_data"]]
    statement = "SELECT first_day, last_day FROM posture_exempted WHERE device_id = "
    assert ask(server.database, f"{statement}'{device}'") == [[today, day(1)]]
