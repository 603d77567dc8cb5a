"""Problems of a packs folder on a terminal, as a compiler shows them, and in a pipe, a line each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from server.catalog.problems import Problem

LONGEST_SOURCE = 4 * 1024 * 1024
WIDEST = 160
_WORD = re.compile(r"\w+|\S|\Z")


def print_problems(problems: Sequence[Problem], root: Path, *, terminal: bool) -> None:
    """Print them to standard output; on a terminal each with its source line and a caret under what is wrong."""
    if not terminal:
        for problem in problems:
            click.echo(str(problem))
        return
    console = Console(highlight=False, soft_wrap=True)
    for problem in problems:
        console.print(_shown(problem, root), "", sep="\n")


def _shown(problem: Problem, root: Path) -> Text:
    place = f"{problem.file}:{problem.line}" + (f":{problem.column}" if problem.column else "")
    text = Text.assemble((f"{place}: ", "bold"), ("problem: ", "bold red"), (_printable(problem.message), "bold"))
    source = _line(root / problem.file, problem.line)
    if source is not None:
        text.append(_excerpt(source, problem))
    if problem.hint:
        text.append("\n      = ", "bold blue").append(_printable(problem.hint))
    return text


def _excerpt(source: str, problem: Problem) -> Text:
    """The source line, and carets under the word at the column."""
    start = max(0, problem.column - WIDEST // 2) if len(source) > WIDEST else 0
    line = _printable(source[start : start + WIDEST])
    text = Text.assemble("\n", (f"{problem.line:>5} | ", "blue"), line)
    if problem.column:
        word = _WORD.match(source, min(problem.column - 1, len(source)))
        width = max(1, min(len(word[0]) if word else 1, WIDEST))
        indent = " " * (problem.column - 1 - start)
        text.append("\n      | ", "blue").append(f"{indent}{'^' * width}", "bold red")
    return text


def _printable(text: str) -> str:
    """Without what would move a terminal's cursor or change its colours."""
    return "".join(char if char.isprintable() else " " for char in text)


def _line(path: Path, number: int) -> str | None:
    """A line of a file, or None where there is no such text."""
    lines = _lines(path)
    return lines[number - 1] if 0 < number <= len(lines) else None


@lru_cache(maxsize=8)
def _lines(path: Path) -> Sequence[str]:
    try:
        if not path.is_file() or path.stat().st_size > LONGEST_SOURCE:
            return ()
        return path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError):
        return ()
