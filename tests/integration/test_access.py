"""Who may ask: everything but osquery's endpoints and health wants a bearer token, and only hashes are kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.server import Peer, Server, ask, database_of, muster, serving, stored_bytes


@pytest.fixture(scope="module")
def running(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, dict[str, str]]]:
    directory = tmp_path_factory.mktemp("access")
    with database_of(kind, directory) as url, serving(directory, database=url) as (server, made):
        yield server, made


CLOSED = [
    "/api/v1/devices",
    "/api/v1/controls",
    "/api/v1/posture?day=2026-01-01",
    "/api/v1/posture?by=tag&day=2026-01-01",
    "/api/v1/failures?open=1",
    "/api/v1/queries",
    "/api/v1/coverage",
    "/api/v1/exemptions",
    "/api/v1/rejects",
    "/api/v1/days",
    "/api/v1/nope",
]


@pytest.mark.parametrize("path", CLOSED)
@pytest.mark.parametrize("header", [None, "Bearer", "Bearer wrong", "Basic YTpi", "NodeKey x", "Bearer " + "x" * 5000])
def test_no_token_no_answer(running: tuple[Server, dict[str, str]], path: str, header: str | None) -> None:
    status, body = running[0].request("GET", path, headers={"Authorization": header} if header else {})
    assert status == 401
    assert "token" in json.loads(body)["error"]


@pytest.mark.parametrize("path", CLOSED[:-1])
def test_the_token_opens(running: tuple[Server, dict[str, str]], path: str) -> None:
    server, made = running
    status, body = server.request("GET", path, headers={"Authorization": f"Bearer {made['admin_token']}"})
    assert status == 200
    assert isinstance(json.loads(body), dict)


def test_health_is_open(running: tuple[Server, dict[str, str]]) -> None:
    assert running[0].request("GET", "/healthz")[0] == 200
    assert running[0].request("GET", "/readyz")[0] == 200


def test_an_enrol_secret_or_node_key_is_no_token(running: tuple[Server, dict[str, str]]) -> None:
    server, made = running
    peer = Peer(server, made["enroll_secret"])
    peer.enroll()
    for key in (made["enroll_secret"], peer.node_key):
        assert server.request("GET", "/api/v1/devices", headers={"Authorization": f"Bearer {key}"})[0] == 401
    assert Peer(server, made["admin_token"]).enroll().get("error")


def test_sql_over_http(running: tuple[Server, dict[str, str]]) -> None:
    server, made = running
    headers = {"Authorization": f"Bearer {made['admin_token']}"}

    def post(body: object) -> tuple[int, dict[str, object]]:
        status, answer = server.request("POST", "/api/v1/sql", json.dumps(body).encode(), headers)
        return status, json.loads(answer)

    assert post({"sql": "SELECT 1 AS one"}) == (200, {"columns": ["one"], "rows": [[1]], "truncated": False})
    assert post({"sql": "SELECT * FROM muster_tokens"})[0] == 400
    assert post({"sql": 7})[0] == 400
    assert post([])[0] == 400
    assert server.request("POST", "/api/v1/sql", b'{"sql": "SELECT 1"}')[0] == 401


def test_tokens_are_made_listed_and_revoked(running: tuple[Server, dict[str, str]]) -> None:
    server, _ = running
    where = ("--database", server.database, "--json")
    token = json.loads(muster("token", "add", "ci", *where).stdout)["token"]
    headers = {"Authorization": f"Bearer {token}"}
    assert server.request("GET", "/api/v1/days", headers=headers)[0] == 200
    entry = next(entry for entry in json.loads(muster("token", "list", *where).stdout) if entry["name"] == "ci")
    muster("token", "revoke", entry["id"], "--database", server.database)
    assert server.request("GET", "/api/v1/days", headers=headers)[0] == 401


def test_a_revoked_secret_enrols_nobody(running: tuple[Server, dict[str, str]]) -> None:
    server, _ = running
    where = ("--database", server.database, "--json")
    secret = json.loads(muster("secret", "add", "old", *where).stdout)["secret"]
    assert Peer(server, secret).enroll()["node_key"]
    entry = next(entry for entry in json.loads(muster("secret", "list", *where).stdout) if entry["name"] == "old")
    muster("secret", "revoke", entry["id"], "--database", server.database)
    assert "error" in Peer(server, secret).enroll()


def test_no_secret_is_stored_in_clear(running: tuple[Server, dict[str, str]]) -> None:
    server, made = running
    peer = Peer(server, made["enroll_secret"])
    peer.enroll(system_info={"uuid": "u", "hostname": "the-machine-that-is-stored"})
    stored = stored_bytes(server.database)
    assert b"the-machine-that-is-stored" in stored
    for value in (made["admin_token"], made["enroll_secret"], peer.node_key):
        assert value.encode() not in stored


def test_the_file_is_its_owners(tmp_path: Path) -> None:
    muster("init", "--database", f"sqlite:///{tmp_path / 't.db'}")
    assert (tmp_path / "t.db").stat().st_mode & 0o077 == 0


def test_enrolling_again_revokes_the_key_before(running: tuple[Server, dict[str, str]]) -> None:
    server, made = running
    peer = Peer(server, made["enroll_secret"])
    peer.enroll(system_info={"uuid": "the-same-machine", "hostname": "again"})
    first = peer.node_key
    peer.enroll(system_info={"uuid": "the-same-machine", "hostname": "again"})
    assert server.post("config", json.dumps({"node_key": first}).encode()) == {"node_invalid": True}
    assert "packs" in server.post("config", json.dumps({"node_key": peer.node_key}).encode())
    assert ask(server.database, "SELECT COUNT(*) FROM devices WHERE hostname = 'again'") == [[1]]


def test_lists_are_paged(running: tuple[Server, dict[str, str]]) -> None:
    server, made = running
    for n in range(3):
        Peer(server, made["enroll_secret"]).enroll(system_info={"uuid": f"paged-{n}", "hostname": f"paged-{n}"})
    headers = {"Authorization": f"Bearer {made['admin_token']}"}
    seen, offset = [], 0
    while offset is not None:
        status, body = server.request("GET", f"/api/v1/devices?limit=2&offset={offset}", headers=headers)
        assert status == 200
        page = json.loads(body)
        assert len(page["devices"]) <= 2
        seen += [device["device_id"] for device in page["devices"]]
        offset = page["next_offset"]
    assert len(seen) == len(set(seen)) == ask(server.database, "SELECT COUNT(*) FROM devices")[0][0]
    for query in (
        "limit=000000000000999999",
        "offset=00000000000099999999999999999999",
        "limit=x",
        "limit=-1",
        "limit=0",
        "limit=5000",
        "offset=%C2%B2",
    ):
        assert server.request("GET", f"/api/v1/devices?{query}", headers=headers)[0] == 400
