"""Printing tables: as wide as the terminal, and as wide as they are into a pipe."""

from __future__ import annotations

from collections.abc import Sequence

import click
from rich.console import Console, RenderableType
from rich.table import Table

_PIPE_WIDTH = 10_000


def print_table(table: Table, droppable: Sequence[str] = ()) -> None:
    """Print a table. Values are shown as they are: brackets in a note are no markup.

    In a terminal too narrow for it, columns of ``droppable`` are left out, the first named first, and it is said so.
    """
    console = _console()
    left_out: list[str] = []
    roomy = console.options.update_width(_PIPE_WIDTH)
    for name in droppable:
        if console.measure(table, options=roomy).maximum <= console.width:
            break
        left_out += _without(table, name)
    print_any(table)
    if left_out:
        click.echo(f"Not shown in {console.width} columns: {', '.join(left_out)}.")


def print_any(shown: RenderableType) -> None:
    """Print texts and tables, as ``print_table`` does."""
    if isinstance(shown, Table):
        _cut_nothing(shown)
    _console().print(shown)


def _console() -> Console:
    console = Console(markup=False, highlight=False)
    return console if console.is_terminal else Console(markup=False, highlight=False, width=_PIPE_WIDTH)


def _without(table: Table, name: str) -> list[str]:
    """Take a column out, if the table has it."""
    found = [column for column in table.columns if column.header == name]
    table.columns = [column for column in table.columns if column.header != name]
    return [str(column.header) for column in found]


def _cut_nothing(table: Table) -> None:
    """Fold what does not fit; what a row is called by, and may be typed, stays in one piece."""
    for number, column in enumerate(table.columns):
        column.overflow, column.no_wrap = "fold", column.no_wrap or number == 0
