"""Packs are applied, tried on a few devices, promoted and rolled back while real servers serve."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import packs
from tests.support.load import stored
from tests.support.server import HURRIED, Peer, Server, ask, database_of, muster_here

BASE = packs.content()
SHELLS = packs.content({packs.RESIDENTS: "-- Who there is.\nSELECT username AS who, uid, shell FROM users\n"})
BROKEN = packs.content({packs.CONTROL: packs.control("shell = '/bin/bash'")})
SECONDS = 30
"""Longer than any server takes to go over to other packs."""


def config(peer: Peer, server: Server | None = None) -> str:
    body = json.dumps({"node_key": peer.node_key}).encode()
    return (server or peer.server).request("POST", "/api/osquery/config", body)[1].decode()


def asks_shells(peer: Peer, server: Server | None = None) -> bool:
    return "shell FROM users" in config(peer, server)


def until(happened: Callable[[], bool]) -> None:
    """Look until it has happened; the servers look every two seconds."""
    end = time.monotonic() + SECONDS
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.1)


def device(server: Server, secret: str, name: str) -> Peer:
    peer = Peer(server, secret)
    peer.enroll(system_info={"uuid": f"uuid-{name}", "hostname": name})
    assert peer.node_key
    return peer


def told(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(muster_here("packs", *arguments, "--json").stdout)
    return found


def test_apply_canary_promote_and_rollback_while_the_server_serves(empty: str, tmp_path: Path) -> None:
    base, shells = packs.write(BASE, tmp_path / "base"), packs.write(SHELLS, tmp_path / "shells")
    at = ("--database", empty)
    made = json.loads(muster_here("init", *at, "--packs", str(base), "--json").stdout)
    server = Server(empty, program=HURRIED)
    try:
        chosen, other = (device(server, made["enroll_secret"], name) for name in ("chosen", "other"))
        ((chosen_id,),) = ask(empty, "SELECT device_id FROM devices WHERE hostname = 'chosen'")
        before = config(other)
        unknown = muster_here("packs", "plan", str(shells), "--canary", "tag=eng", *at, check=False)
        assert unknown.returncode == 1 and "No device has the tag 'eng'" in unknown.stderr
        assert muster_here("device", "tag", chosen_id, "+Eng", "-lab", *at).stdout == "eng\n"

        plan = told("plan", str(shells), "--canary", "tag=eng", *at)
        assert (plan["canary"], plan["devices_changed"]) == (["chosen"], 1)
        assert plan["counts"]["queries"] == {"changed": 1}
        assert (
            "      | +SELECT username AS who, uid, shell FROM users\n"
            in muster_here("packs", "plan", str(shells), *at).stdout
        )
        assert muster_here("packs", "plan", str(base), *at).stdout.startswith("No changes: ")

        canary = told("apply", str(shells), "--canary", "tag=eng", "--note", "shells too", "--by", "ada", *at)
        assert (canary["number"], canary["state"], canary["applied_by"]) == (2, "canary", "ada")
        until(lambda: asks_shells(chosen))
        assert config(other) == before

        refused = muster_here("packs", "apply", str(base), *at, check=False)
        assert refused.returncode == 0 and "Nothing to do" in refused.stdout
        refused = muster_here("packs", "apply", str(packs.write(BROKEN, tmp_path / "broken")), *at, check=False)
        assert refused.returncode == 3 and "no-guests/control.yaml" in refused.stderr
        refused = muster_here("packs", "plan", str(tmp_path / "broken"), *at, check=False)
        assert refused.returncode == 3 and "no-guests/control.yaml" in refused.stderr and not refused.stdout

        shown_while_under_way(server, made["admin_token"])

        refused = muster_here("packs", "promote", *at, check=False)
        assert refused.returncode == 1 and "--force" in refused.stderr
        assert told("promote", "--force", *at)["state"] == "applied"
        until(lambda: asks_shells(other))
        assert told("rollback", *at)["restores"] == 1
        until(lambda: not asks_shells(other) and not asks_shells(chosen))
        assert config(other) == before
        history = json.loads(muster_here("packs", "history", "--json", *at).stdout)
        assert [(one["number"], one["state"]) for one in history] == [
            (3, "applied"),
            (2, "superseded"),
            (1, "superseded"),
        ]
        assert "shells too" in muster_here("packs", "history", *at).stdout
    finally:
        assert server.stop() == 0, "".join(server.output)
    assert stored(empty, "SELECT number FROM muster_served ORDER BY device_no") == [(3,), (3,)]
    assert stored(empty, "SELECT server FROM muster_servers") == []


def test_two_servers_on_one_database_agree(tmp_path: Path) -> None:
    base, shells = packs.write(BASE, tmp_path / "base"), packs.write(SHELLS, tmp_path / "shells")
    with database_of("postgres", tmp_path) as url:
        at = ("--database", url)
        made = json.loads(muster_here("init", *at, "--packs", str(base), "--json").stdout)
        servers = [Server(url, "--packs", str(base)), Server(url)]
        try:
            peers = [device(servers[0], made["enroll_secret"], f"device-{number}") for number in range(8)]
            applied = muster_here("packs", "apply", str(shells), "--canary", "50%", *at).stdout
            assert applied.startswith("Changes against application 1: queries 1 changed; controls 1 changed; another")
            until(lambda: all(any(asks_shells(peer, server) for peer in peers) for server in servers))
            new = [device(servers[0], made["enroll_secret"], f"new-{number}") for number in range(8)]
            for peer in (*peers, *new):
                assert config(peer, servers[0]) == config(peer, servers[1])
            members = stored(url, "SELECT COUNT(*) FROM muster_canary_devices")[0][0]
            assert sum(asks_shells(peer) for peer in (*peers, *new)) == members
            muster_here("packs", "rollback", *at)
            until(lambda: not any(asks_shells(peer, server) for peer in peers for server in servers))
            assert len({config(peer, server) for peer in peers for server in servers}) == 1
        finally:
            assert [server.stop() for server in servers] == [0, 0], "".join(servers[0].output + servers[1].output)


def test_a_restart_keeps_what_was_applied_by_hand(tmp_path: Path) -> None:
    base, shells = packs.write(BASE, tmp_path / "base"), packs.write(SHELLS, tmp_path / "shells")
    url = f"sqlite:///{tmp_path / 't.db'}"
    made = json.loads(muster_here("init", "--database", url, "--packs", str(base), "--json").stdout)
    muster_here("packs", "apply", str(shells), "--database", url)
    server = Server(url, "--packs", str(base))
    try:
        assert asks_shells(device(server, made["enroll_secret"], "one"))
        assert any("application 2 stays in force" in line for line in server.output)
    finally:
        assert server.stop() == 0, "".join(server.output)


def shown_while_under_way(server: Server, token: str) -> None:
    """What the command and the API tell of the canary that has one of two devices."""
    at = ("--database", server.database)
    until(lambda: stored(server.database, "SELECT number FROM muster_served ORDER BY number") == [(1,), (2,)])
    status = told("status", *at)
    assert status["canary"]["application"]["number"] == 2
    assert [on["devices"] for on in status["canary"]["platforms"]] == [1]
    assert "Canary on tag=eng: application 2 (" in muster_here("packs", "status", *at).stdout
    one = told("status", "--device", "chosen", *at)
    assert [(of["query"], of["state"]) for of in one["queries"]] == [("residents", "schedule not told")]
    unknown = muster_here("packs", "status", "--device", "nobody", *at, check=False)
    assert unknown.returncode == 1 and "no device 'nobody'" in unknown.stderr
    code, answer = server.request("GET", "/api/v1/packs", headers={"Authorization": f"Bearer {token}"})
    counts = json.loads(answer)
    assert (code, [entry["number"] for entry in counts["packs"]]) == (200, [2, 1])
    assert [on["waiting"] for on in counts["canary"]["platforms"]] == [1]
    assert counts["in_force"]["number"] == 1


@pytest.mark.parametrize("options", [("--canary", "half"), ("--canary", "100%")])
def test_a_selector_that_makes_no_sense_is_a_mistake_of_usage(tmp_path: Path, options: tuple[str, str]) -> None:
    root = packs.write(BASE, tmp_path / "packs")
    done = muster_here("packs", "apply", str(root), *options, check=False)
    assert done.returncode == 2 and "share below 100%" in done.stderr
