"""Tables in a terminal: what a row is called by is never cut, and what does not fit is said."""

from __future__ import annotations

import pytest
from rich.console import Console
from rich.table import Table

from server.cli import tables

ID, LONG = "3579960e78839921", "the operating system release still gets security fixes"


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_console", lambda: Console(markup=False, highlight=False, width=60))


def table() -> Table:
    made = Table("exemption_id", "control", "first_day", "last_day", box=None)
    made.add_row(ID, LONG, "2026-11-04", "2027-01-23")
    return made


def test_columns_that_can_be_done_without_go_first(terminal: None, capsys: pytest.CaptureFixture[str]) -> None:
    tables.print_table(table(), ("nothing", "first_day", "last_day"))
    printed = capsys.readouterr().out
    assert "Not shown in 60 columns: first_day, last_day." in printed
    assert ID in printed and "2026-11-04" not in printed


def test_what_does_not_fit_is_folded_and_never_cut(terminal: None, capsys: pytest.CaptureFixture[str]) -> None:
    tables.print_table(table())
    printed = capsys.readouterr().out
    assert ID in printed and "…" not in printed
    assert all(word in printed.split() for word in LONG.split())


def test_where_there_is_room_all_is_shown(terminal: None, capsys: pytest.CaptureFixture[str]) -> None:
    made = Table("exemption_id", "last_day", box=None)
    made.add_row(ID, "2027-01-23")
    tables.print_table(made, ("last_day",))
    assert "2027-01-23" in capsys.readouterr().out
