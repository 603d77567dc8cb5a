"""What the owner is told, in words and as an object, and a control socket that nobody can keep busy."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from collector.openness import control as controls
from collector.openness.control import Control
from collector.openness.disclose_words import disclosure_text
from collector.openness.disclosure import disclosure
from collector.openness.peer import peer_uid
from collector.openness.protocol import ControlError, NotRunningError, ask
from collector.openness.sources import Sources
from collector.openness.status import status
from collector.openness.status_words import status_text
from collector.openness.words import ago, every, moment, printable, size
from collector.policy import Policy
from collector.policy.tables import GivenTables
from collector.settings import Settings
from collector.spool import Line, Spool
from tests.support.osquery_tables import osquery_tables

NOW = 1_764_000_000.0


@dataclass
class Standing:
    started_at: float = NOW - 7200
    enrolled: bool = True
    enrolment_problem: str = ""
    delivery_problem: str = ""
    delivered_at: dict[str, float] = field(default_factory=dict)
    heard_at: float | None = NOW - 30
    channel: str = "connected"


@dataclass
class Answer:
    rows: list[dict[str, str]]
    code: int = 0
    message: str = ""


class Osqueryd:
    """Answers what is asked of its flags, version and schedule."""

    def __init__(self, flags: dict[str, str] | None = None, schedule: list[dict[str, str]] | None = None) -> None:
        self.flags, self.schedule, self.asked = flags or {}, schedule or [], 0

    def __call__(self, seconds: float) -> Osqueryd:
        return self

    def query(self, sql: str) -> Answer:
        self.asked += 1
        if "osquery_flags" in sql:
            return Answer([{"name": name, "value": value} for name, value in self.flags.items()])
        return Answer(self.schedule if "osquery_schedule" in sql else [{"version": "5.23.0"}])

    def close(self) -> None: ...


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="own-", dir="/tmp"))  # a socket's path has 107 bytes
    yield made
    shutil.rmtree(made)


@pytest.fixture
def sources(folder: Path) -> Iterator[Sources]:
    """Those of a device that is well."""
    settings = Settings(
        server="https://muster.example.org",
        state_dir=folder,
        control_socket=folder / "control.sock",
        policy_file=folder / "policy.toml",
    )
    (folder / "node_key").write_text("key")
    with closing(Spool(folder / "spool.db", 1 << 26)) as spool:
        policy = Policy.load(settings.policy_file, GivenTables(osquery_tables()), owner=os.getuid())
        yield Sources(settings, spool, policy, Osqueryd(), Standing(), clock=lambda: NOW)


def test_a_device_that_is_well_has_no_problems(sources: Sources) -> None:
    found = status(sources)
    assert found["problems"] == []
    told = status_text(found, NOW)
    for said in (
        "https://muster.example.org, last reached 30 seconds ago",
        "Waiting       nothing",
        "Lost          nothing",
        "osqueryd      5.23.0, answers",
        f"Own policy    none; to deny something, write {sources.settings.policy_file}",
        "The server has not said yet.",
    ):
        assert said in told


def _gone(seconds: float) -> Osqueryd:
    raise ConnectionError("no socket")


@pytest.mark.parametrize(
    ("standing", "said"),
    [
        (None, "the collector does not run"),
        (Standing(heard_at=NOW - 7200), "the server was not reached for a while"),
        (Standing(heard_at=None), "the server was not reached for a while"),
    ],
    ids=["stopped", "silent", "never"],
)
def test_what_is_wrong_is_told_with_the_rest(sources: Sources, standing: Standing | None, said: str) -> None:
    found = status(Sources(sources.settings, sources.spool, sources.policy, _gone, standing, clock=lambda: NOW))
    assert said in found["problems"] and "osqueryd does not answer" in found["problems"]
    assert "does not answer: no socket" in status_text(found, NOW)


def test_a_policy_with_a_slip_is_told(sources: Sources) -> None:
    sources.settings.policy_file.write_text('deny_tables = ["shell_histroy"]')
    assert status(sources)["problems"] == ["'shell_histroy' in the policy fits nothing that osquery has"]
    sources.settings.policy_file.write_text("deny = 1")
    found = status(sources)
    assert found["problems"] == ["the device's own policy cannot be used, so that nothing is answered"]
    assert "it has an unknown key 'deny'" in " ".join(status_text(found, NOW).split())


def test_verdicts_stand_worst_first_and_oldest_first(sources: Sources) -> None:
    verdicts = [
        {"control": name, "title": name, "status": status, "since_day": since, "reason": "r\x1b[2J", "mend": ""}
        for name, status, since in (
            ("fine", "pass", "2025-01-01"),
            ("late", "stale", "2025-11-01"),
            ("new", "fail", "2025-11-24"),
            ("old", "fail", "2025-11-20"),
            ("broken", "error", ""),
        )
    ]
    sources.spool.keep("posture", json.dumps({"day": "2025-11-24", "verdicts": [*verdicts, 3]}).encode())
    found = status(sources)
    assert [one["title"] for one in found["posture"]["verdicts"]] == ["old", "new", "broken", "late", "fine"]
    assert found["problems"] == ["4 controls need attention"]
    told = status_text(found, NOW)
    assert "FAILS since 20 Nov 2025 (5 days): old" in told and "FAILS since 24 Nov 2025 (first day): new" in told
    assert "\x1b" not in told


@pytest.mark.parametrize("note", [b"", b"3", b"[]", b"{}", b'{"verdicts": 3, "queries": {"a": 1}}', b"\xff"])
def test_notes_that_are_nonsense_are_none(sources: Sources, note: bytes) -> None:
    for key in ("posture", "config", "ledger", "sent_log", "sent_queries"):
        sources.spool.keep(key, note)
    assert status_text(status(sources), NOW)
    assert disclosure_text(disclosure(sources), NOW, sql=True)


QUERY: dict[str, Any] = {
    "name": "users@0123456789",
    "query": "users",
    "description": "Accounts.",
    "sql": "SELECT uid FROM users;",
    "interval": 3600,
    "columns": [{"name": "uid", "description": "users.uid"}],
    "mode": "state",
    "controls": [{"id": "a", "title": "No guests"}],
}
RUN = {
    "name": "pack/base/users@0123456789",
    "query": QUERY["sql"],
    "interval": "3600",
    "last_executed": str(int(NOW) - 600),
    "denylisted": "0",
}


def _told(sources: Sources, osqueryd: Osqueryd, *, sql: bool = False) -> str:
    sources = Sources(sources.settings, sources.spool, sources.policy, osqueryd, Standing(), clock=lambda: NOW)
    return disclosure_text(disclosure(sources), NOW, sql=sql)


def test_who_sends_what_ran_is_told(sources: Sources) -> None:
    sources.spool.keep("config", json.dumps({"queries": [QUERY]}).encode())
    flags = {"disable_logging": "false", "tls_hostname": "other.example.org"}
    tls = _told(sources, Osqueryd({**flags, "logger_plugin": "tls"}, [RUN]))
    assert "osqueryd sends the answers of its schedule to other.example.org itself." in tls
    assert "last ran 10 minutes ago, and was then sent by osqueryd" in tls
    assert "Every hour" in tls and "Why:  No guests" in tls
    ours = Osqueryd({**flags, "logger_plugin": "filesystem,muster"}, [RUN])
    assert "last ran 10 minutes ago; not sent by the collector yet" in _told(sources, ours)
    sources.spool.keep("sent_queries", json.dumps({QUERY["name"]: [int(NOW) - 300, int(NOW) - 120]}).encode())
    assert "last sent by the collector 2 minutes ago" in _told(sources, ours)
    assert "osqueryd has none of them in its schedule just now" in _told(sources, Osqueryd(flags))
    denied = Osqueryd(flags, [{**RUN, "denylisted": "1"}])
    assert "not run for a day, since osqueryd ended over it" in _told(sources, denied)


def test_what_goes_past_the_policy_is_told(sources: Sources) -> None:
    past = Osqueryd({"config_plugin": "tls", "disable_distributed": "false", "distributed_plugin": "tls"})
    said = " ".join(_told(sources, past).split())
    assert "osqueryd fetches its schedule and live questions of its own from its server itself, past the policy" in said
    assert "disable_tables" in said
    sources.settings.policy_file.write_text('deny_tables = ["users"]')
    sources.spool.keep("config", json.dumps({"queries": [QUERY]}).encode())
    past.schedule = [RUN]
    assert "users (DENIED by this device's own policy, but run past it)" in _told(sources, past)
    past.flags["config_plugin"] = "muster"
    assert "users (refused by this device's own policy)" in _told(sources, past)
    assert "past the policy" not in _told(sources, Osqueryd({"config_plugin": "muster"}))


def test_what_else_osqueryd_runs_is_told(sources: Sources) -> None:
    curious = {**RUN, "name": "pack/x/curious", "query": "SELECT command FROM shell_history"}
    told = " ".join(_told(sources, Osqueryd({}, [RUN, curious]), sql=True).split())
    assert "2 queries are in osqueryd's schedule of which the server has not told the collector" in told
    assert "Read, however: the commands typed into a terminal (by pack/x/curious)." in told


def test_times_and_sizes_as_a_person_reads_them() -> None:
    assert [ago(NOW, NOW - back) for back in (0, 1, 59, 60, 3600, 172800)] == [
        *("just now", "just now", "59 seconds ago", "1 minute ago", "1 hour ago", "2 days ago"),
    ]
    assert ago(NOW, None) == "never" and ago(NOW, NOW + 500) == "just now"
    assert [every(one) for one in (0, 45, 60, 900, 3600, 21600, 86400)] == [
        *(
            "at times",
            "every 45 seconds",
            "every minute",
            "every 15 minutes",
            "every hour",
            "every 6 hours",
            "every day",
        ),
    ]
    assert [size(one) for one in (1, 2, 2048, 3 << 20)] == ["1 byte", "2 bytes", "2.0 kB", "3.0 MB"]
    assert moment(NOW).endswith(time.strftime("%H:%M", time.localtime(NOW)))
    assert printable("a\x1b[31mé\n") == "a\ufffd[31mé\n"


class Doing:
    """Does nothing, or what a test says."""

    def __init__(self, send: Callable[[], None] = lambda: None, evidence: Awaitable[str] | None = None) -> None:
        self.send = send
        self._evidence = evidence

    async def evidence(self) -> str:
        return await self._evidence if self._evidence else "nothing was missing"

    async def verdicts(self) -> bool:
        return True


@asynccontextmanager
async def listening(
    sources: Sources, doing: Doing | None = None, uid: int | None = 1000, there: Callable[[Path], bool] = Path.exists
) -> AsyncIterator[Callable[[dict[str, Any]], Any]]:
    """The control socket, and a way to ask it."""
    component = Control(sources, doing or Doing(), peer=lambda connection: uid)
    task = asyncio.create_task(component.run())
    path = sources.settings.control_socket
    while not there(path):
        await asyncio.sleep(0)
        assert not task.done(), task.result()

    async def asked(request: dict[str, Any]) -> dict[str, Any]:
        return await asyncio.to_thread(ask, path, request)

    try:
        yield asked
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_anybody_may_ask_by_the_socket(sources: Sources) -> None:
    async with listening(sources) as asked:
        assert sources.settings.control_socket.stat().st_mode & 0o777 == 0o666
        assert (await asked({"do": "status"}))["server"] == "https://muster.example.org"
        assert "queries" in await asked({"do": "disclose"})
    assert not sources.settings.control_socket.exists()
    with pytest.raises(NotRunningError):
        ask(sources.settings.control_socket, {"do": "status"})


async def test_a_socket_left_behind_gives_way(sources: Sources) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(sources.settings.control_socket))
    with pytest.raises(NotRunningError):
        ask(sources.settings.control_socket, {"do": "status"})
    sources.settings.control_socket.unlink()
    sources.settings.control_socket.touch()
    async with listening(sources, there=Path.is_socket) as asked:
        assert await asked({"do": "status"})


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"do": "reboot"}, "there are status, disclose, sync"),
        ({}, "a request is one line"),
        ({"do": "sync", "wait": 1e9}, "wait is a number of seconds"),
        ({"do": "sync", "wait": True}, "wait is a number of seconds"),
        ({"do": ["status"]}, "there are status, disclose, sync"),
        ({"do": "status", "x": "y" * 10_000}, "broke off"),
    ],
    ids=["unknown", "empty", "long", "true", "list", "large"],
)
async def test_what_is_no_request_is_refused(sources: Sources, request_: dict[str, Any], said: str) -> None:
    async with listening(sources) as asked:
        with pytest.raises(ControlError, match=said):
            await asked(request_)
        assert await asked({"do": "status"})


async def test_others_than_root_may_sync_once_a_minute(sources: Sources) -> None:
    async with listening(sources) as asked:
        await asked({"do": "sync", "wait": 1})
        with pytest.raises(ControlError, match="asked for a moment ago; again in"):
            await asked({"do": "sync", "wait": 1})
    async with listening(sources, uid=0) as asked:
        await asked({"do": "sync", "wait": 1})
        await asked({"do": "sync", "wait": 1})


async def test_a_sync_says_what_came_of_it(sources: Sources) -> None:
    spool = sources.spool
    assert isinstance(spool, Spool)
    spool.put([Line("snapshot", "a", 1, b"{}")])

    def send() -> None:
        batch = spool.batch("log", 1 << 20, 100)
        assert batch is not None
        spool.settle(batch)

    async with listening(sources, Doing(send), uid=0) as asked:
        found = await asked({"do": "sync", "wait": 5})
        assert (found["left"], found["problem"], found["verdicts"]) == (0, "", True)
        spool.put([Line("snapshot", "a", 1, b"{}")])
        standing = sources.standing
        assert isinstance(standing, Standing)

    def fail() -> None:
        standing.delivery_problem = "the server cannot be reached"

    async with listening(sources, Doing(fail), uid=0) as asked:
        found = await asked({"do": "sync", "wait": 5})
        assert (found["left"], found["problem"]) == (1, "the server cannot be reached")


async def test_evidence_that_takes_long_goes_on_and_what_fails_is_told(sources: Sources) -> None:
    taken: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    async with listening(sources, Doing(evidence=taken), uid=0) as asked:
        assert (await asked({"do": "sync", "wait": 0.1}))["evidence"] == "still being taken"
        assert not taken.done()
        taken.set_exception(ZeroDivisionError("by zero"))
        assert (await asked({"do": "sync", "wait": 5}))["evidence"] == "could not be taken: by zero"


async def test_nobody_keeps_osqueryd_busy_by_asking(sources: Sources) -> None:
    osqueryd = sources.osquery
    assert isinstance(osqueryd, Osqueryd)
    async with listening(sources) as asked:
        await asyncio.gather(*(asked({"do": "status"}) for _ in range(5)))
    assert osqueryd.asked == 2


async def test_those_who_say_nothing_are_let_go(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controls, "REQUEST_SECONDS", 0.05)
    async with listening(sources) as asked:
        silent = [
            await asyncio.open_unix_connection(str(sources.settings.control_socket))
            for _ in range(controls.MOST_CONNECTIONS)
        ]
        for reader, writer in silent:
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
        assert await asked({"do": "status"})


async def test_too_many_at_once_are_told_so(sources: Sources) -> None:
    async with listening(sources) as asked:
        held = [
            await asyncio.open_unix_connection(str(sources.settings.control_socket))
            for _ in range(controls.MOST_CONNECTIONS)
        ]
        with pytest.raises(ControlError, match="too many ask at once"):
            await asked({"do": "status"})
        for _, writer in held:
            writer.close()
            await writer.wait_closed()


async def test_a_failure_is_told_and_the_next_is_answered(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(sources: Sources) -> dict[str, Any]:
        raise ZeroDivisionError

    async with listening(sources) as asked:
        with monkeypatch.context() as patched:
            patched.setattr(controls, "status", fails)
            with pytest.raises(ControlError, match="its log says how"):
                await asked({"do": "status"})
        assert await asked({"do": "status"})


def test_the_kernel_says_who_asks() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert peer_uid(ours) == os.getuid()
    with socket.socket(socket.AF_INET) as other:
        assert peer_uid(other) in (None, os.getuid(), 2**32 - 1, -1)
