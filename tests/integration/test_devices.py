"""``muster device`` and ``muster hold`` as a user meets them, beside a server that runs."""

from __future__ import annotations

import getpass
import json
import time
from pathlib import Path

from tests.support.server import Peer, ask, muster_here, serving, stored_bytes


def test_a_device_is_shown_retired_and_erased_beside_the_server(tmp_path: Path, empty: str) -> None:
    with serving(tmp_path, database=empty) as (server, made):
        where = ("--database", server.database)
        now = int(time.time())
        peers = [Peer(server, made["enroll_secret"]) for _ in range(2)]
        for peer, name in zip(peers, ("petunia", "other"), strict=True):
            peer.enroll(system_info={"hostname": name, "uuid": f"uuid-{name}", "hardware_serial": f"sn-{name}"})
            peer.snapshot("folks", now, [{"who": name}])
        listed = json.loads(muster_here("device", "list", *where, "--json").stdout)
        ids = {entry["hostname"]: entry["device_id"] for entry in listed}
        assert [(entry["hostname"], entry["state"]) for entry in listed] == [("other", "active"), ("petunia", "active")]
        shown = json.loads(muster_here("device", "show", ids["petunia"], *where, "--json").stdout)
        assert shown["device"]["serial"] == "sn-petunia"
        assert [(answer["query"], answer["status"]) for answer in shown["answers"]] == [("folks", "ok")]
        assert "petunia" in muster_here("device", "show", ids["petunia"], *where).stdout
        assert "petunia" in muster_here("device", "list", *where).stdout

        refused = muster_here("device", "erase", ids["petunia"], *where, "--reason", "x", check=False)
        assert refused.returncode == 1  # nobody said yes
        assert ask(server.database, "SELECT COUNT(*) FROM erasures") == [[0]]
        done = muster_here("device", "erase", ids["petunia"], *where, "--reason", "request 17", "--yes", "--json")
        told = json.loads(done.stdout)
        assert told["how_many"] >= 3
        assert (told["erased_by"], told["reason"], told["scrubbed"]) == (getpass.getuser(), "request 17", True)
        assert told["finished_at"] is not None
        kept = stored_bytes(server.database)
        assert b"other" in kept and b"petunia" not in kept
        # Its key is unknown, and the machine is let in again as another.
        assert peers[0].snapshot("folks", now + 1, [{"who": "petunia"}]) == {"node_invalid": True}
        assert peers[1].snapshot("folks", now + 1, [{"who": "other"}]) == {}
        again = json.loads(
            muster_here("device", "erase", ids["petunia"], *where, "--reason", "y", "--yes", "--json").stdout
        )
        assert again == told
        peers[0].enroll(system_info={"hostname": "petunia", "uuid": "uuid-petunia", "hardware_serial": "sn-petunia"})
        assert peers[0].snapshot("folks", now + 2, [{"who": "petunia"}]) == {}
        states = [(entry["hostname"], entry["state"]) for entry in json.loads(
            muster_here("device", "list", *where, "--json").stdout)]  # fmt: skip
        assert states == [("(erased)", "erased"), ("other", "active"), ("petunia", "active")]
        erased = muster_here("device", "show", ids["petunia"], *where).stdout
        assert "request 17" in erased

        assert "retired since" in muster_here("device", "retire", ids["other"], *where).stdout
        time_out = time.monotonic() + 20
        while peers[1].snapshot("folks", now + 3, [{"who": "other"}]) != {"node_invalid": True}:
            assert time.monotonic() < time_out
        assert ask(server.database, f"SELECT COUNT(*) FROM folks WHERE device_id = '{ids['other']}'") == [[1]]
        nobody = muster_here("device", "show", "nobody", *where, check=False)
        assert (nobody.returncode, "no device 'nobody'" in nobody.stderr) == (1, True)


def test_holds_are_added_listed_and_ended(empty: str) -> None:
    where = ("--database", empty)
    muster_here("init", *where)
    hold_id = muster_here("hold", "add", "2026-01-01", "2026-03-31", "--reason", "audit of Q1", *where).stdout.strip()
    (listed,) = json.loads(muster_here("hold", "list", *where, "--json").stdout)
    assert (listed["hold_id"], listed["first_day"], listed["last_day"]) == (hold_id, "2026-01-01", "2026-03-31")
    assert listed["ended_at"] is None
    muster_here("hold", "end", hold_id, *where)
    assert "ended" in muster_here("hold", "list", *where).stdout
    twice = muster_here("hold", "end", hold_id, *where, check=False)
    assert (twice.returncode, "no open hold" in twice.stderr) == (1, True)
    backwards = muster_here("hold", "add", "2026-02-01", "2026-01-01", "--reason", "x", *where, check=False)
    assert backwards.returncode == 2


def test_how_long_things_are_kept_is_an_option_of_the_server(tmp_path: Path) -> None:
    told = muster_here("serve", "--help").stdout
    for option, days in (("--keep-rows-days", 550), ("--keep-events-days", 30), ("--keep-verdicts-days", 2557)):
        assert option in told
        assert f"default: {days}" in " ".join(told.split())
    few = muster_here("serve", "--keep-rows-days", "3", "--database", f"sqlite:///{tmp_path / 't.db'}", check=False)
    assert few.returncode == 2
