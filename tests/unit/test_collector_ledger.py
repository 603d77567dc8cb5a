"""What was asked of a device is written down, bounded, and told apart from its schedule."""

from __future__ import annotations

import json
import os
from pathlib import Path

from collector.policy import Policy
from collector.policy.ledger import MOST_BYTES, MOST_ENTRIES, NOTE, Ledger
from collector.policy.questions import QuestionCheck

DAY = 86400


class _Notes(dict[str, bytes]):
    def keep(self, key: str, value: bytes) -> None:
        self[key] = value


def test_a_question_stands_once_as_it_was_noted_last() -> None:
    ledger = Ledger(_Notes(), clock=lambda: 1000)
    ledger.note("a", "SELECT 1", "refused", message="denied")
    ledger.note("b", "SELECT 2", "answered", rows=3)
    ledger.note("a", "SELECT 1", "answered", rows=1)
    assert [(one.id, one.status, one.rows, one.at) for one in ledger.entries()] == [
        ("b", "answered", 3, 1000),
        ("a", "answered", 1, 1000),
    ]


def test_the_same_again_stands_once_with_how_often() -> None:
    now = [1000.0]
    ledger = Ledger(_Notes(), clock=lambda: now[0])
    for number in range(3):
        now[0] += 10
        ledger.note(f"t{number}", "SELECT 1", "answered", rows=number)
        ledger.note(f"t{number}", "SELECT 1", "answered", rows=number)
    ledger.note("x", "SELECT 1", "failed")
    assert [(one.id, one.status, one.rows, one.times, one.at) for one in ledger.entries()] == [
        ("t2", "answered", 2, 3, 1030),
        ("x", "failed", 0, 1, 1030),
    ]


def test_what_is_older_than_thirty_days_goes() -> None:
    now, notes = [0.0], _Notes()
    ledger = Ledger(notes, clock=lambda: now[0])
    ledger.note("old", "SELECT 1", "answered")
    now[0] = 31 * DAY
    assert ledger.entries() == []
    ledger.note("new", "SELECT 2", "answered")
    assert b"old" not in notes[NOTE]


def test_it_stays_small_and_keeps_the_newest() -> None:
    notes = _Notes()
    ledger = Ledger(notes, clock=lambda: 1000)
    for number in range(MOST_ENTRIES + 5):
        ledger.note(str(number), f"SELECT {number}" + "é" * 3000, "failed", message="x" * 1000)
    entries = ledger.entries()
    assert len(notes[NOTE]) <= MOST_BYTES + 2
    assert entries[-1].id == str(MOST_ENTRIES + 4) and 10 < len(entries) <= MOST_ENTRIES
    assert len(entries[-1].sql) == 2000 and len(entries[-1].message) == 300


def test_a_note_that_cannot_be_read_is_begun_anew() -> None:
    for note in (b"{", b"{}", b"[1]", b'[{"id": "a"}]', b"\xff"):
        ledger = Ledger(_Notes({NOTE: note}))
        assert ledger.entries() == []
        ledger.note("a", "SELECT '\ud800'", "answered")
        assert len(ledger.entries()) == 1


def test_a_query_of_the_schedule_asked_early_is_not_live(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("deny_live = true")
    notes = _Notes()
    check = QuestionCheck(Policy.load(path, owner=os.getuid()), notes)
    assert "deny_live" in (check("SELECT 1") or "")
    notes.keep("config", json.dumps({"queries": [{"name": "a", "sql": "SELECT 1;\n"}]}).encode())
    assert check(" SELECT 1 ") is None
    assert "deny_live" in (check("SELECT 2") or "")
    notes.keep("config", b"?")
    assert "deny_live" in (check("SELECT 1") or "")
