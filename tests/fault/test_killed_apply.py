"""``muster packs apply`` killed at any moment leaves everything of an application, or nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from server.catalog.content import Content
from tests.fault.conftest import Made
from tests.support import packs
from tests.support.load import stored
from tests.support.server import ROOT, muster

KILLS = 8


def numbered(number: int) -> Content:
    """Packs with a query of their own, so that each application makes a table."""
    pack = f"title: All of it\nqueries: {{residents: , more_{number}: }}\ncontrols: [no-guests]\n"
    return packs.content({f"queries/more_{number}.sql": "-- More.\nSELECT uid FROM users\n", packs.PACK: pack})


def test_all_or_nothing(database: Made, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "server.cli.main", "packs", "apply", "--database", database.url]
    begin = time.monotonic()
    muster("packs", "apply", str(packs.write(numbered(0), tmp_path / "0")), "--database", database.url)
    took = time.monotonic() - begin
    for number in range(1, KILLS + 1):
        folder = packs.write(numbered(number), tmp_path / str(number))
        process = subprocess.Popen([*command, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            # Later and later, most of them near the end, where it writes.
            process.communicate(timeout=took * (0.5 + 0.6 * number / KILLS))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
    applied = {row[0] for row in stored(database.url, "SELECT hash FROM muster_applications")}
    tables = {row[0] for row in stored(database.url, "SELECT query FROM muster_queries")}
    contents = {row[0] for row in stored(database.url, "SELECT hash FROM muster_pack_contents")}
    for number in range(KILLS + 1):
        whole = numbered(number).hash in applied
        assert (f"more_{number}" in tables) == whole
        assert (numbered(number).hash in contents) == whole
    states = [row[0] for row in stored(database.url, "SELECT state FROM muster_applications ORDER BY number DESC")]
    assert states == ["applied", *["superseded"] * (len(states) - 1)]
    last = json.loads(muster("packs", "apply", str(folder), "--database", database.url, "--json").stdout)
    assert last["state"] == "applied" and last["hash"] == numbered(KILLS).hash
