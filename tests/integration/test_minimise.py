"""The key of the hashes, as whoever runs the server meets it."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

from server.app import shipped_packs
from server.catalog.catalog import load_catalog
from tests.support.server import Peer, ask, muster, muster_here, serving, snapshot_line, stored_bytes


def _line(at: int) -> str:
    return json.dumps({**snapshot_line("logins", at, [{"login": "robert.bold"}]), "hostIdentifier": "h"})


def test_the_key_from_its_making_to_its_loss(tmp_path: Path, kind: str, empty: str) -> None:
    packs = Path(shutil.copytree(shipped_packs(), tmp_path / "packs"))
    (packs / "minimise.yaml").write_text("rules:\n  - {query: '*', columns: [login], action: hash, why: Names.}\n")
    url, log, key = empty, tmp_path / "results.log", tmp_path / "t.db-minimise-key"
    now = int(time.time())
    log.write_text(_line(now))
    common: tuple[str, ...] = ("--database", url, "--packs", str(packs))
    keyed: tuple[str, ...] = ()
    muster_here("init", *common)
    assert not key.exists()
    if kind == "postgres":  # nothing is beside the database there
        unsaid = muster_here("ingest", str(log), *common, check=False)
        assert (unsaid.returncode, "--minimise-key-file" in unsaid.stderr) == (2, True)
        keyed = ("--minimise-key-file", str(key))
        common = (*common, *keyed)
    muster_here("ingest", str(log), *common)
    assert key.stat().st_mode & 0o777 == 0o600
    [[first]] = json.loads(muster_here("sql", "SELECT login FROM logins", "--database", url, "--json").stdout)["rows"]
    assert first.startswith("h_")
    kept = stored_bytes(url)
    assert first.encode() in kept and b"robert.bold" not in kept

    key.unlink()
    for command in (("ingest", str(log)), ("serve", "--listen", "127.0.0.1:0")):
        lost = muster(*command, *common, check=False)
        assert lost.returncode == 4
        assert "--new-minimise-key" in lost.stderr
    muster_here("migrate", "--database", url, "--new-minimise-key", *keyed)
    log.write_text(_line(now + 1))
    muster_here("ingest", str(log), *common)
    [[second]] = json.loads(muster_here("sql", "SELECT login FROM logins", "--database", url, "--json").stdout)["rows"]
    assert second != first


def test_a_server_says_what_it_does_not_keep_and_does_not_keep_it(tmp_path: Path, empty: str) -> None:
    packs = Path(shutil.copytree(shipped_packs(), tmp_path / "packs"))
    (packs / "queries" / "procs.linux.sql").write_text("-- Processes.\nSELECT name, cmdline AS how FROM processes\n")
    with serving(tmp_path, "--packs", str(packs), database=empty) as (server, made):
        _, answer = server.request("GET", "/api/v1/queries", headers={"Authorization": f"Bearer {made['admin_token']}"})
        notes = {query["query"]: query["minimised"] for query in json.loads(answer)["queries"]}
        assert notes["procs"]["how"].startswith("drop (minimise.yaml:")
        assert notes["users"] == {}

        peer = Peer(server, made["enroll_secret"])
        peer.enroll()
        now = int(time.time())
        version = _version(packs)
        peer.snapshot(f"pack/x/procs@{version}", now, [{"name": "sh", "how": "sh -c hunter2"}])
        peer.snapshot("shell_history", now, [{"command": "hunter2"}])
        peer.log({"name": "shell_history", "snapshot": [{"command": "hunter2"}]})
        server.post("log", f'{{"node_key": "{peer.node_key}", "data": [{{"columns": {{"a": "hunter2" oops'.encode())
        assert ask(server.database, "SELECT name, how FROM procs") == [["sh", None]]
        assert len(ask(server.database, "SELECT 1 FROM rejects")) == 2
        kept = stored_bytes(server.database)
    assert b"hunter2" not in kept
    assert b"values withheld" in kept


def _version(packs: Path) -> str:
    return load_catalog(packs).queries["procs", "linux"].version
