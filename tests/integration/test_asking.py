"""A device is asked again now: by command, API and console, against a real server."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from server.normalize.questions import parse_question
from tests.support.server import Peer, Server, ask, muster, muster_here
from tests.support.stores import shipped_catalog

CONTROL, QUERY = "only-root-has-uid-0", "users"
ROOT = {"uid": "0", "username": "root", "directory": "/root", "shell": "/bin/sh"}


@pytest.fixture
def peer(running: tuple[Server, dict[str, str]], own_name: str) -> Peer:
    """A device that has told the time."""
    peer = Peer(running[0], running[1]["enroll_secret"])
    assert "node_key" in peer.enroll(system_info={"uuid": f"uuid {own_name}", "hostname": own_name})
    server_asks_the_time(peer)
    return peer


def server_asks_the_time(peer: Peer) -> None:
    for question in peer.questions():
        peer.answer(question, {"unix_time": str(int(time.time())), "total_seconds": "900"})


def device_id(server: Server, name: str) -> str:
    ((found,),) = ask(server.database, f"SELECT device_id FROM devices WHERE hostname = '{name}'")
    return str(found)


def next_questions(peer: Peer, seconds: float = 30) -> dict[str, str]:
    """What the device is asked within the time a server takes to see it."""
    deadline = time.monotonic() + seconds
    while not (found := peer.questions()):
        assert time.monotonic() < deadline, "it was not asked"
        time.sleep(0.2)
    return found


def api(server: Server, token: str, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
    method, sent = ("GET", b"") if body is None else ("POST", json.dumps(body).encode())
    status, answer = server.request(method, f"/api/v1/{path}", sent, {"Authorization": f"Bearer {token}"})
    return status, json.loads(answer)


def row(**told: str) -> dict[str, str]:
    columns = [column.name for column in shipped_catalog().queries[QUERY, "linux"].columns]
    return {**dict.fromkeys(columns, ""), **told}


def test_a_command_waits_for_the_answer_and_the_verdict_follows(server: Server, peer: Peer, own_name: str) -> None:
    command = ("device", "ask", own_name, "--control", CONTROL, "--by", "eve", "--wait", "60", "--json")
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(muster, *command, "--database", server.database)
        ((question, sql),) = next_questions(peer).items()
        found = parse_question(question)
        assert found and found.query == QUERY and sql == shipped_catalog().queries[QUERY, "linux"].sql
        assert peer.answer(question, row(**ROOT)) == {}
        made = json.loads(asking.result().stdout)
    assert (made["asked_by"], made["queries"], made["skipped"]) == ("eve", [QUERY], {})
    assert [(one["query"], one["outcome"], one["sent"]) for one in made["questions"]] == [(QUERY, "answered", 1)]
    posture = f"SELECT status FROM posture WHERE hostname = '{own_name}' AND control = '{CONTROL}'"
    today = time.strftime("%Y-%m-%d", time.gmtime())
    muster_here("evaluate", "--day", today, "--database", server.database)
    assert ask(server.database, posture) == [["pass"]]
    shown = muster_here("device", "show", made["device_id"], "--database", server.database).stdout
    assert "asked" in shown and "answered" in shown
    # The same body again, as osquery sends it where our answer was lost, and with other rows.
    for told in (row(**ROOT), row(uid="0", username="toor")):
        assert peer.answer(question, told) == {}
    muster_here("evaluate", "--day", today, "--database", server.database)
    assert ask(server.database, posture) == [["pass"]]


def test_without_an_answer_the_command_says_so(server: Server, peer: Peer, own_name: str) -> None:
    command = ("device", "ask", own_name, "--control", CONTROL, "--wait", "1", "--database", server.database)
    done = muster_here(*command, check=False)
    assert (done.returncode, "waits for the device" in done.stdout) == (3, True), done.stdout + done.stderr
    for named, message in (("nobody", "no device 'nobody'"), (own_name, "no-such-control")):
        done = muster_here(
            "device", "ask", named, "--control", "no-such-control", "--database", server.database, check=False
        )
        assert done.returncode == 1 and message in done.stderr


def test_the_api_asks_for_admins_and_tells_everybody(
    running: tuple[Server, dict[str, str]], peer: Peer, own_name: str
) -> None:
    server, made = running
    reader = json.loads(
        muster_here("token", "add", own_name, "--role", "reader", "--database", server.database, "--json").stdout
    )["token"]
    path = f"devices/{device_id(server, own_name)}"
    assert api(server, reader, f"{path}/ask", {})[0] == 403
    admin = made["admin_token"]
    assert api(server, admin, f"{path}/ask", {"control": "no-such-control"})[0] == 404
    assert api(server, admin, "devices/nobody/ask", {})[0] == 404
    assert api(server, admin, "devices/nobody/asked")[0] == 404
    assert api(server, admin, "devices/no%00body/asked")[0] == 404
    assert api(server, admin, "devices/no%00body/ask", {})[0] == 404
    odd_bodies: list[object] = [[], "x", {"control": 1}, {"contrl": "x"}, {"control": "\0"}]
    for odd in odd_bodies:
        assert api(server, admin, f"{path}/ask", odd)[0] == 400
    status, asked = api(server, admin, f"{path}/ask", {})
    assert status == 202 and asked["asked_by"] == "admin"
    assert set(asked["queries"]) == shipped_catalog().judged_queries("linux") & set(asked["queries"])
    assert len(asked["queries"]) > 10
    questions = next_questions(peer)
    assert len(questions) == 10, "no more than ten a call"
    failing = next(iter(questions))
    peer.answer(failing, status=1)
    status, told = api(server, reader, f"{path}/asked")
    assert status == 200 and len(told["asked"]) == len(asked["queries"])
    outcomes = {one["query"]: (one["outcome"], one["message"], one["sent"]) for one in told["asked"]}
    found = parse_question(failing)
    assert found and outcomes[found.query] == ("failed", "no such table: time", 1)
    assert sum(sent for _, _, sent in outcomes.values()) == 10
    assert api(server, reader, "asked?limit=2")[1]["next_offset"] == 2


def test_the_console_has_a_button(running: tuple[Server, dict[str, str]], peer: Peer, own_name: str) -> None:
    server, made = running
    page = f"/devices/{device_id(server, own_name)}"
    reader = json.loads(
        muster_here("token", "add", own_name, "--role", "reader", "--database", server.database, "--json").stdout
    )["token"]
    admin = {"Authorization": f"Bearer {made['admin_token']}", "Sec-Fetch-Site": "same-origin"}
    viewer = {"Authorization": f"Bearer {reader}", "Sec-Fetch-Site": "same-origin"}
    assert b"Ask again now" in server.request("GET", page, headers=admin)[1]
    assert b"Ask again now" not in server.request("GET", page, headers=viewer)[1]
    assert server.request("POST", f"{page}/ask", headers=viewer)[0] == 403
    assert server.request("POST", f"{page}/ask", headers={**admin, "Sec-Fetch-Site": "cross-site"})[0] == 403
    assert server.request("POST", "/devices/nobody/ask", headers=admin)[0] == 404
    assert b"Waits for the device" not in server.request("GET", page, headers=admin)[1]
    assert server.request("POST", f"{page}/ask", headers=admin)[0] == 303
    shown = server.request("GET", page, headers=viewer)[1]
    assert b"Waits for the device" in shown and b"by admin" in shown
    assert next_questions(peer)
