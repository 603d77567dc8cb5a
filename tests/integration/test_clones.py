"""Machines that share hardware or a key, against a real server: seen, said, and their data kept apart."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from server.normalize.machines import SERIAL_DECORATION, UUID_DECORATION
from tests.support.server import Peer, Server, ask, serving, snapshot_line


@pytest.fixture
def running(tmp_path: Path, empty: str) -> Iterator[tuple[Server, dict[str, str]]]:
    with serving(tmp_path, database=empty) as (server, made):
        yield server, made


class Agent(Peer):
    """An osqueryd as far as this matters: it keeps its lines until they are taken, and enrols when its key is not."""

    def __init__(self, server: Server, secret: str, hostname: str, uuid: str, serial: str = "") -> None:
        super().__init__(server, secret)
        self.hostname, self.uuid, self.serial = hostname, uuid, serial
        self.buffer: list[dict[str, Any]] = []
        self.enrolments = 0
        self.reenrols = True

    def start(self) -> None:
        """Enrol."""
        self.enrolments += 1
        answer = self.enroll(
            system_info={"hostname": self.hostname, "uuid": self.uuid, "hardware_serial": self.serial},
            osquery_info={"instance_id": f"instance-of-{self.hostname}"},
        )
        assert self.node_key, answer

    def copy(self, hostname: str, uuid: str) -> Agent:
        """The machine's disk in another one: with its key, and with what it had not sent yet."""
        other = copy.copy(self)
        other.hostname, other.uuid, other.buffer, other.enrolments = hostname, uuid, list(self.buffer), 0
        return other

    def run(self, at: int) -> None:
        """Run a query."""
        line = snapshot_line("folks", at, [{"made_on": self.hostname, "n": str(at)}])
        decorations = {UUID_DECORATION: self.uuid, SERIAL_DECORATION: self.serial}
        self.buffer.append({**line, "hostIdentifier": self.hostname, "decorations": decorations})

    def send(self, tries: int = 5) -> bool:
        """Send what is kept; true once it was taken."""
        for _ in range(tries):
            answer = self.log(*self.buffer)
            if answer == {}:
                self.buffer.clear()
                return True
            assert answer == {"node_invalid": True}
            if self.reenrols:
                self.start()
        return False


def test_one_key_on_two_machines(running: tuple[Server, dict[str, str]]) -> None:
    server, made = running
    first = Agent(server, made["enroll_secret"], "first", "A-A")
    first.start()
    later = int(time.time()) + 60  # after the enrolment, which is to the second
    first.run(later - 600)
    clone = first.copy("clone", "B-B")
    clone.run(later)
    assert first.send()
    assert clone.send()
    for at in range(later + 1, later + 6):
        for agent in (first, clone):
            agent.run(at)
            assert agent.send(tries=1), "the two must not throw each other out"
    assert (first.enrolments, clone.enrolments) == (1, 1)
    found = ask(server.database, "SELECT hostname, made_on, COUNT(*) FROM folks_history GROUP BY 1, 2 ORDER BY 1")
    assert found == [["clone", "clone", 6], ["first", "first", 6]]
    said = dict(map(tuple, ask(server.database, "SELECT hostname, reason FROM rejects")))
    assert "used by another one (uuid B-B" in said["first"]
    assert "made on another machine (uuid A-A" in said["clone"]


def test_a_copy_that_may_not_enrol_changes_nothing_and_is_said_once(running: tuple[Server, dict[str, str]]) -> None:
    server, made = running
    first = Agent(server, made["enroll_secret"], "first", "A-A")
    first.start()
    clone = first.copy("clone", "B-B")
    clone.reenrols = False  # --disable_reenrollment
    clone.run(int(time.time()) + 60)
    assert not clone.send(tries=20)
    assert ask(server.database, "SELECT COUNT(*) FROM rejects") == [[1]]
    assert ask(server.database, "SELECT hostname FROM devices") == [["first"]]
    assert ask(server.database, "SELECT COUNT(*) FROM coverage") == [[0]]


def test_one_uuid_without_serial_on_two_machines(running: tuple[Server, dict[str, str]]) -> None:
    server, made = running
    agents = [Agent(server, made["enroll_secret"], name, "03AA-1", "Default string") for name in ("one", "two")]
    for agent in agents:
        agent.start()
    for at in range(3):
        for agent in agents:
            agent.run(int(time.time()) + at)
            assert agent.send(tries=1)
        agents[at % 2].start()  # its database was lost
    assert ask(server.database, "SELECT DISTINCT hostname, made_on FROM folks_history ORDER BY 1") == [
        ["one", "one"],
        ["two", "two"],
    ]
    assert ask(server.database, "SELECT hostname FROM rejects") == [["two"]]


def test_a_host_identifier_that_is_not_the_keys_device(running: tuple[Server, dict[str, str]]) -> None:
    server, made = running
    agents = [Agent(server, made["enroll_secret"], name, name, f"serial-{name}") for name in ("one", "two")]
    for agent in agents:
        agent.start()
    line = snapshot_line("folks", int(time.time()), [{"made_on": "two"}])
    assert agents[1].log({**line, "hostIdentifier": "one"}) == {}
    assert ask(server.database, "SELECT hostname, made_on FROM folks") == [["two", "two"]]
