"""What the owner is told, in words and as an object."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from collector.openness.disclose_words import disclosure_text
from collector.openness.disclosure import disclosure
from collector.openness.sources import Sources
from collector.openness.status import status
from collector.openness.status_words import status_text
from collector.openness.words import ago, every, moment, printable, size
from collector.policy.ledger import Ledger
from tests.support.owner import NOW, Osqueryd, Standing, device


@pytest.fixture
def sources() -> Iterator[Sources]:
    """Those of a device that is well."""
    with device() as sources:
        yield sources


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


def test_questions_are_told_and_the_schedules_own_apart(sources: Sources) -> None:
    long = {**QUERY, "query": "long", "name": "long@0123456789", "sql": "SELECT '" + "x" * 5000 + "';"}
    sources.spool.keep("config", json.dumps({"queries": [QUERY, long]}).encode())
    ledger = Ledger(sources.spool, clock=lambda: NOW)
    for number, sql in enumerate((QUERY["sql"], QUERY["sql"], long["sql"], "SELECT pid\nFROM processes")):
        ledger.note(str(number), sql, "answered", rows=4)
    ledger.note("r", "SELECT 1", "refused", message="live questions are not answered by this device (deny_live)")
    told = " ".join(_told(sources, Osqueryd()).split())
    assert f"Of the schedule, asked early and answered, last {moment(NOW)}: long, users (2 times)." in told
    assert f"{moment(NOW)}: answered, 4 rows sent SELECT pid FROM processes" in told
    assert "refused by this device's own policy live questions are not answered by this device (deny_live)" in told


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
