"""``muster roster`` and ``muster device import`` as a user meets them, beside a server that runs."""

from __future__ import annotations

import getpass
import json
from datetime import UTC, datetime
from pathlib import Path

from tests.support.server import Peer, ask, muster_here, serving, stored_bytes


def test_people_are_imported_listed_shown_and_erased(tmp_path: Path, empty: str) -> None:
    where, file = ("--database", empty), tmp_path / "people.csv"
    assert muster_here("roster", "list", *where, check=False).returncode == 4
    muster_here("init", *where)
    file.write_text(
        "Person;E-Mail;Last Day;access_disabled_sso;devices\n"
        "7;petunia@example.com;2026-01-31;2026-02-01T09:00:00+01:00;SN-PETUNIA\n"
        "8;bob@example.com;;;\n",
        encoding="utf-8",
    )
    planned = json.loads(muster_here("roster", "import", str(file), *where, "--json", "--dry-run").stdout)
    assert ask(empty, "SELECT COUNT(*) FROM people") == [[0]]
    done = json.loads(muster_here("roster", "import", str(file), *where, "--json").stdout)
    assert {**planned, "dry_run": False} == done
    assert (done["added"], done["changed"], done["missing"], done["counts_from"]) == (2, 0, 0, "2026-01-31")
    again = muster_here("roster", "import", str(file), *where).stdout
    assert again == "imported 2 entries: 0 added, 0 changed, 0 not in the file any more, 2 unchanged\n"
    assert ask(empty, "SELECT imported_by, sha256, entries FROM imports") == [[getpass.getuser(), done["sha256"], 2]]

    listed = json.loads(muster_here("roster", "list", *where, "--json").stdout)
    assert [(entry["person"], entry["state"]) for entry in listed] == [("7", "departed"), ("8", "active")]
    assert "petunia@example.com" in muster_here("roster", "list", *where).stdout
    shown = json.loads(muster_here("roster", "show", "7", *where, "--json").stdout)
    assert shown["access_disabled"] == {"sso": "2026-02-01T08:00:00Z"}
    assert "SN-PETUNIA" in muster_here("roster", "show", "7", *where).stdout
    assert ask(empty, "SELECT person, last_day, access_disabled_at FROM people ORDER BY 1") == [
        ["7", "2026-01-31", "2026-02-01T08:00:00Z"],
        ["8", None, None],
    ]

    file.write_text("person,email,last_day\n8,bob@example.com,2026-03-31\n", encoding="utf-8")
    told = muster_here("roster", "import", str(file), *where).stdout
    assert "  missing  7\n" in told and "  changed  8: last_day – → 2026-03-31\n" in told
    before = ask(empty, "SELECT * FROM people ORDER BY 1")
    file.write_text("person,email,lastday\n8,bob,01/02/2026\n", encoding="utf-8")
    bad = muster_here("roster", "import", str(file), *where, check=False)
    assert (bad.returncode, bad.stdout) == (3, "")
    assert "people.csv:1" in bad.stderr and "did you mean 'last_day'?" in bad.stderr
    file.write_text("person,email,last_day\n8,bob,01/02/2026\n", encoding="utf-8")
    bad = muster_here("roster", "import", str(file), *where, check=False)
    assert bad.returncode == 3 and "people.csv:2" in bad.stderr and "2 problem(s) found" in bad.stderr
    assert ask(empty, "SELECT * FROM people ORDER BY 1") == before

    refused = muster_here("roster", "erase", "7", "--reason", "x", *where, check=False)
    assert (refused.returncode, b"petunia" in stored_bytes(empty).lower()) == (1, True)
    stone = json.loads(muster_here("roster", "erase", "7", "--reason", "r 1", "--yes", *where, "--json").stdout)[
        "person"
    ]
    assert b"petunia" not in stored_bytes(empty).lower()
    assert "r 1" in muster_here("roster", "show", stone, *where).stdout
    nobody = muster_here("roster", "show", "7", *where, check=False)
    assert (nobody.returncode, "no person '7'" in nobody.stderr) == (1, True)


def test_assets_are_silent_devices_until_their_machines_enrol(tmp_path: Path, empty: str) -> None:
    with serving(tmp_path, database=empty) as (server, made):
        where, file = ("--database", server.database), tmp_path / "assets.csv"
        file.write_text(
            "serial,platform,owner,tags\nSN-1,Linux,ada@example.com,Eng\nSN-2,,,\nTo be filled by O.E.M.,,,\n",
            encoding="utf-8",
        )
        bad = muster_here("device", "import", str(file), *where, check=False)
        assert bad.returncode == 3 and "assets.csv:4" in bad.stderr and "placeholder" in bad.stderr
        file.write_text("serial,platform,owner,tags\nSN-1,Linux,ada@example.com,Eng\nSN-2,,,\n", encoding="utf-8")
        muster_here("device", "import", str(file), *where, "--dry-run")
        assert ask(server.database, "SELECT COUNT(*) FROM devices") == [[0]]
        assert json.loads(muster_here("device", "import", str(file), *where, "--json").stdout)["added"] == 2
        listed = json.loads(muster_here("device", "list", *where, "--json").stdout)
        assert [(d["serial"], d["platform"], d["state"]) for d in sorted(listed, key=lambda d: str(d["serial"]))] == [
            ("SN-1", "linux", "never seen"),
            ("SN-2", "", "never seen"),
        ]
        ids = {entry["serial"]: entry["device_id"] for entry in listed}
        assert "never seen" in muster_here("device", "list", *where).stdout
        assert "SN-1" in muster_here("device", "show", ids["SN-1"], *where).stdout
        cookie = {"Authorization": f"Bearer {made['admin_token']}"}
        for page in ("/", "/devices", "/devices?show=silent", f"/devices/{ids['SN-1']}"):
            status, body = server.request("GET", page, headers=cookie)
            assert (status, b"never" in body) == (200, True), page

        today = f"{datetime.now(UTC):%Y-%m-%d}"
        muster_here("evaluate", "--day", today, *where)
        found = ask(server.database, "SELECT DISTINCT device_id, status FROM posture")
        assert [ids["SN-2"], "no_data"] in found
        assert ask(
            server.database, f"SELECT COUNT(*) FROM posture WHERE device_id = '{ids['SN-2']}' AND status <> 'no_data'"
        ) == [[0]]

        peer = Peer(server, made["enroll_secret"])
        peer.enroll(system_info={"hostname": "laptop", "uuid": "uuid-1", "hardware_serial": " sn-1 "})
        assert ask(server.database, "SELECT device_id, hostname, owner, tags FROM devices WHERE enrolled_at <> ''") == [
            [ids["SN-1"], "laptop", "ada@example.com", "eng"]
        ]
        assert ask(server.database, "SELECT COUNT(*) FROM devices") == [[2]]
