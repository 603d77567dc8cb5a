"""Answers: what a device said to one query at one instant, put together from the lines of a body."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from server.normalize.names import parse_scheduled_name
from server.normalize.text import clean_text, unescape_differential
from server.wire.messages import RawRows, ResultLine, Row
from server.wire.repeats import read_rows


@dataclass(slots=True, kw_only=True)
class Answer:
    """The answer of one run.

    ``snapshot`` says that ``added`` is everything that is true at ``unix_time`` and came as one line. Otherwise it is a
    run of a differential, of which more may come in another body; ``whole`` then marks the first run of an epoch,
    which starts from nothing.
    """

    query: str
    version: str | None
    unix_time: int
    epoch: int
    counter: int
    snapshot: bool
    whole: bool
    added: list[Row] = field(default_factory=list)
    removed: list[Row] = field(default_factory=list)
    fingerprint: str = ""
    """Of ``added``, where it was computed on the way."""
    raw_rows: RawRows | None = None
    """What ``added`` was read from, if it was large."""
    unread: bool = False
    """Whether ``added`` is still to be read from ``raw_rows``: see ``read``."""

    def read(self) -> None:
        """Read rows that were left unread because the same bytes had been read, and found right, before."""
        if self.unread and self.raw_rows:
            self.added = list(_named(read_rows(self.raw_rows)))
            self.unread = False


def answers_of(lines: Iterable[ResultLine], platform: str = "") -> list[Answer]:
    """Group lines into answers and order them as they happened.

    The lines of a body are sorted by a text key and not by time; all lines of one run share query, epoch, counter and
    instant. A differential's first run (counter 0) is the whole truth of its epoch.
    """
    runs: dict[tuple[str, int, int, int, str], Answer] = {}
    for line in lines:
        name = parse_scheduled_name(clean_text(line.name.strip()))
        snapshot = line.kind.startswith("snapshot")
        if line.kind in ("snapshot", "diff"):
            # The line is the whole run: a second one is a repetition, or for the store to choose between.
            key = (line.name, line.epoch, line.counter, line.unix_time, f"{line.kind} {len(runs)}")
        else:
            key = (line.name, line.epoch, line.counter, line.unix_time, line.kind)
        run = runs.get(key)
        if run is None:
            run = runs[key] = Answer(
                query=name.query,
                version=name.version,
                unix_time=line.unix_time,
                epoch=line.epoch,
                counter=line.counter,
                snapshot=line.kind == "snapshot",
                whole=snapshot or line.counter == 0,
            )
        run.raw_rows, run.unread = line.raw_rows, line.unread
        run.added += _named(line.added if snapshot else _unescaped(line.added, platform))
        run.removed += _named(_unescaped(line.removed, platform))
    return sorted(runs.values(), key=lambda run: (run.query, run.unix_time, run.epoch, run.counter))


def _named(rows: Sequence[Row]) -> Sequence[Row]:
    """The rows, with names of columns that can be kept."""
    names = "".join(set[str]().union(*rows))
    if names.isascii() and "\x00" not in names:
        return rows
    return [{clean_text(column): value for column, value in row.items()} for row in rows]


def _unescaped(rows: Sequence[Row], platform: str) -> list[Row]:
    windows = platform == "windows"
    return [
        {
            column: unescape_differential(value, windows=windows)
            if isinstance(value, str) and "\\x" in value
            else value
            for column, value in row.items()
        }
        for row in rows
    ]
