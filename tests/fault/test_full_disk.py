"""A full disk under SQLite: osquery keeps its data, the file stays whole, and once there is room all goes on."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fault.conftest import made
from tests.support.disks import SizeLimit, SmallDisk, small_disk
from tests.support.load import Load, devices_of, stored
from tests.support.server import Server


@pytest.fixture(params=["file system", "file size"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SmallDisk | SizeLimit]:
    """Both ways of running out of room; the first needs the right to mount."""
    if request.param == "file size":
        yield SizeLimit(tmp_path)
        return
    directory = tmp_path / "small"
    directory.mkdir()
    with small_disk(directory, 64) as mounted:
        if mounted is None:
            pytest.skip("mounting is not allowed here; the limit on the size of files stands for it")
        yield mounted


def test_a_full_disk(disk: SmallDisk | SizeLimit) -> None:
    path = disk.directory / "t.db"
    database = made("sqlite", f"sqlite:///{path}")
    server = Server(database.url)
    load = Load(devices_of(server, database.secret, 4, filler="x" * 2000))
    with load.going():
        load.more(20)
        for _ in range(2):
            disk.fill(server.pid)
            load.until(lambda: load.refused >= 20)
            acknowledged = load.acknowledged
            disk.empty(server.pid)
            load.more(40)
            assert load.acknowledged >= acknowledged + 40
            for device in load.devices:
                device.refused.clear()
    assert server.stop() == 0
    assert any(disk.says in line for line in server.output)
    load.check(database.url)
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    finally:
        connection.close()
    for device in load.devices:
        assert stored(database.url, f"SELECT COUNT(*) FROM {device.table}_history")[0][0] >= device.next


def test_a_second_server_on_the_file_refuses(tmp_path: Path) -> None:
    database = made("sqlite", f"sqlite:///{tmp_path / 't.db'}")
    server = Server(database.url)
    with pytest.raises(AssertionError, match="one server a SQLite file"):
        Server(database.url)
    server.kill()
    assert Server(database.url).stop() == 0, "the lock dies with the process"
