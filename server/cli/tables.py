"""Printing tables: as wide as the terminal, and as wide as they are into a pipe."""

from __future__ import annotations

from rich.console import Console, RenderableType
from rich.table import Table

_PIPE_WIDTH = 10_000


def print_table(table: Table) -> None:
    """Print a table. Values are shown as they are: brackets in a note are no markup."""
    print_any(table)


def print_any(shown: RenderableType) -> None:
    """Print texts and tables, as ``print_table`` does."""
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console = Console(markup=False, highlight=False, width=_PIPE_WIDTH)
    console.print(shown)
