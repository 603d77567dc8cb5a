"""What is acknowledged survives a power cut. ``kill -9`` cannot show that: the kernel keeps what a dead process wrote.

A layer under SQLite keeps of every file what it held at its last fsync, which is what a disk is sure to hold when the
power fails. Whatever was acknowledged has to be in there.
"""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from server.app import opened_database
from server.store.driver import Transaction
from tests.fault.conftest import Made, made
from tests.support.load import Load, devices_of
from tests.support.server import Server

SOURCE = Path(__file__).parent.parent / "support" / "power_cut.c"
COMMIT = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1] + "/t.db", isolation_level=None)
connection.execute("CREATE TABLE t (n)")
connection.execute("PRAGMA journal_mode = WAL")
connection.execute("PRAGMA synchronous = FULL")
connection.execute("CREATE TABLE another (n)")
connection.execute(f"PRAGMA synchronous = {sys.argv[2]}")
connection.execute("INSERT INTO t VALUES (1)")
os._exit(0)
"""


@pytest.fixture
def layer(tmp_path: Path) -> dict[str, str]:
    """The environment of a process whose files are kept as the disk has them, in ``disk``."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("there is no C compiler to build the layer with; the setting itself is tested without it")
    library = tmp_path / "power_cut.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"], check=True, timeout=60)
    live, disk = tmp_path / "live", tmp_path / "disk"
    live.mkdir()
    disk.mkdir()
    return {"LD_PRELOAD": str(library), "POWER_CUT_FROM": str(live), "POWER_CUT_TO": str(disk)}


@pytest.mark.parametrize(("synchronous", "rows"), [("FULL", 1), ("NORMAL", 0)])
def test_the_layer_tells_what_would_be_lost(layer: dict[str, str], synchronous: str, rows: int) -> None:
    live, disk = layer["POWER_CUT_FROM"], layer["POWER_CUT_TO"]
    subprocess.run([sys.executable, "-c", COMMIT, live, synchronous], env=layer, check=True, timeout=60)
    for directory, expected in ((live, 1), (disk, rows)):
        connection = sqlite3.connect(f"{directory}/t.db")
        assert connection.execute("SELECT COUNT(*) FROM t").fetchone() == (expected,)
        connection.close()


@pytest.mark.parametrize("answers", [1, 40, 400])
def test_what_was_acknowledged_survives_a_power_cut(layer: dict[str, str], answers: int) -> None:
    live, disk = layer["POWER_CUT_FROM"], layer["POWER_CUT_TO"]
    database = made("sqlite", f"sqlite:///{live}/t.db")
    for path in Path(live).glob("t.db*"):  # what was there before the layer
        shutil.copy(path, disk)
    server = Server(database.url, environment=layer)
    load = Load(devices_of(server, database.secret, 4, filler="x" * 2000))
    with load.going():
        load.more(answers)
        server.kill()
    load.check(f"sqlite:///{disk}/t.db")
    connection = sqlite3.connect(f"{disk}/t.db")
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


async def test_every_commit_waits_for_the_disk(database: Made) -> None:
    async def setting(tx: Transaction) -> str:
        if database.kind == "sqlite":
            return str(await tx.row("PRAGMA synchronous"))
        return str(await tx.row("SHOW synchronous_commit"))

    async with opened_database(database.url) as opened:
        assert await opened.driver.write(setting) == ("(2,)" if database.kind == "sqlite" else "('on',)")
