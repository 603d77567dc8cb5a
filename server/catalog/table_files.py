"""CSV files as spreadsheets and other systems write them, read strictly: what is odd is a problem with its line."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

from server.catalog.problems import CatalogError, Problem, did_you_mean
from server.normalize.times import FORMAT

FILE_BYTES = 64 * 1024 * 1024
FIELD_CHARS = 10_000
PROBLEMS_SHOWN = 50
"""More are not told: a file with the wrong delimiter has one in every line."""
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_UNKEEPABLE = re.compile(r"[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class TableFile:
    """What was read of a file: its name, its digest, the columns it has, and its rows."""

    name: str
    sha256: str
    columns: frozenset[str]
    rows: Sequence[FileRow]


@dataclass(slots=True)
class FileRow:
    """One row: where it begins, its values by column, trimmed, and what was found to be wrong with it."""

    file: str
    line: int
    values: Mapping[str, str]
    problems: list[Problem] = field(repr=False)

    def problem(self, column: str, message: str, hint: str = "") -> None:
        """Something is wrong with this row's value of a column, named and counted."""
        number = [*self.values].index(column) + 1 if column in self.values else 0
        text = f"column {column}: {message}"
        self.problems.append(Problem(self.file, self.line, text, hint, column=number))

    def text(self, column: str, longest: int = 255) -> str:
        """The text of a column, empty where there is none."""
        value = self.values.get(column, "")
        if len(value) > longest:
            self.problem(column, f"longer than {longest} characters")
        return value[:longest]

    def many(self, column: str, separators: str) -> list[str]:
        """The texts of a column that holds several."""
        return [part.strip() for part in re.split(f"[{separators}]+", self.values.get(column, "")) if part.strip()]

    def day(self, column: str) -> str | None:
        """The day of a column, ``2026-11-24``; None where there is none."""
        value = self.values.get(column, "")
        if not value:
            return None
        try:
            if _DAY.fullmatch(value):
                return date.fromisoformat(value).isoformat()
        except ValueError:
            pass
        ambiguous = re.fullmatch(r"\d{1,2}[/.-]\d{1,2}[/.-]\d{2,4}", value)
        why = "it cannot be told which is the month: " if ambiguous else ""
        self.problem(column, f"{value[:40]!r} is no day that is certain", f"{why}write YYYY-MM-DD")
        return None

    def instant(self, column: str) -> str | None:
        """The instant of a column in UTC, as the store has it; None where there is none."""
        value = self.values.get(column, "")
        if not value:
            return None
        try:
            told = datetime.fromisoformat(value) if _DAY.match(value) else None
            if told is not None and told.tzinfo is not None:
                return told.astimezone(UTC).strftime(FORMAT)
        except (ValueError, OverflowError):
            pass
        self.problem(column, f"{value[:40]!r} is no instant with its time zone", "write 2026-11-24T17:00:00+01:00")
        return None

    def choice(self, column: str, known: Mapping[str, str]) -> str:
        """One of a few words, whatever their case; empty where there is none."""
        value = self.values.get(column, "")
        spelled = _plain(value)
        if value and spelled not in known:
            self.problem(column, f"{value[:40]!r} is not known", did_you_mean(spelled, set(known.values())))
        return known.get(spelled, "")


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns a file may have: those it must have, others, those that begin so, and other spellings."""

    required: Sequence[str]
    optional: Sequence[str]
    prefixes: Sequence[str] = ()
    spellings: Mapping[str, str] = field(default_factory=dict)

    def named(self, header: str) -> str:
        """The column that a header means: its case, and spaces or hyphens in place of ``_``, do not matter."""
        plain = _plain(header)
        return self.spellings.get(plain, plain)

    def known(self, column: str) -> bool:
        """Whether there is such a column."""
        return column in (*self.required, *self.optional) or column.startswith(tuple(self.prefixes))


def read_table(path: Path, columns: Columns) -> TableFile:
    """Read a file whole. Raises ``CatalogError`` with what is wrong with it; its rows gather more problems."""
    shown = path.name
    try:
        if path.stat().st_size > FILE_BYTES:
            raise CatalogError([Problem(shown, 1, f"file is larger than {FILE_BYTES} bytes")])
        raw = path.read_bytes()
    except OSError as error:
        raise CatalogError([Problem(shown, 1, f"cannot be read: {error.strerror}")]) from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise CatalogError([Problem(shown, line, "file is not UTF-8", "save it as CSV UTF-8")]) from error
    problems: list[Problem] = []
    records = _records(shown, text, columns, problems)
    header = next(records, None)
    if header is None:
        raise CatalogError(problems or [Problem(shown, 1, "file is empty")])
    names = _header(shown, header, columns)
    rows = [
        FileRow(shown, line, dict(zip(names, values, strict=True)), problems)
        for line, values in records
        if _fits(shown, line, values, names, problems)
    ]
    if not rows and not problems:
        problems.append(Problem(shown, header[0], "file has a header and no rows", "nothing is imported of it"))
    if problems:
        raise CatalogError(problems[:PROBLEMS_SHOWN])
    return TableFile(shown, hashlib.sha256(raw).hexdigest(), frozenset(names), rows)


def unique(rows: Sequence[FileRow], key: Callable[[FileRow], str], column: str) -> None:
    """Note a problem for every row that has the key of an earlier one."""
    first: dict[str, int] = {}
    for row in rows:
        found = key(row)
        if found and found in first:
            row.problem(column, f"{found!r} is in line {first[found]} already")
        first.setdefault(found, row.line)


def refuse_problems(table: TableFile) -> None:
    """Raise ``CatalogError`` if anything was found to be wrong with a row."""
    problems = table.rows[0].problems
    if problems:
        raise CatalogError(sorted(problems)[:PROBLEMS_SHOWN])


def _plain(text: str) -> str:
    return re.sub(r"[\s_-]+", "_", text.strip().lower())


def _records(shown: str, text: str, columns: Columns, problems: list[Problem]) -> Iterator[tuple[int, list[str]]]:
    """The records that are not empty, each with its first line."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text, columns), strict=True)
    line = 1
    try:
        for record in reader:
            values = [value.strip() for value in record]
            if any(values):
                if any(len(value) > FIELD_CHARS or _UNKEEPABLE.search(value) for value in values):
                    problems.append(Problem(shown, line, "a value is over 10,000 characters, or has one that is none"))
                else:
                    yield line, values
            line = reader.line_num + 1
    except csv.Error as error:
        problems.append(Problem(shown, line, f"not CSV from here on: {error}", "is a quotation mark missing?"))


def _delimiter(text: str, columns: Columns) -> str:
    """That of ``,`` and ``;`` which makes more known columns of the first line."""
    first = next((line for line in text.splitlines() if line.strip()), "")

    def known(delimiter: str) -> int:
        return sum(columns.known(columns.named(name.strip().strip('"'))) for name in first.split(delimiter))

    return max(",;", key=known)


def _header(shown: str, header: tuple[int, list[str]], columns: Columns) -> list[str]:
    """The columns of a file. Raises ``CatalogError`` for those that are unknown, missing or there twice."""
    line, written = header
    names = [columns.named(name) for name in written]
    every = (*columns.required, *columns.optional)
    problems = [
        Problem(shown, line, f"unknown column {name[:60]!r}", did_you_mean(columns.named(name), every))
        for name in written
        if not columns.known(columns.named(name))
    ]
    problems += [
        Problem(shown, line, f"column {name!r} is missing", f"there are: {', '.join(sorted(set(written)))[:200]}")
        for name in columns.required
        if name not in names
    ]
    problems += [
        Problem(shown, line, f"column {name!r} is there twice")
        for name in sorted(set(names))
        if columns.known(name) and names.count(name) > 1
    ]
    if problems:
        raise CatalogError(problems)
    return names


def _fits(shown: str, line: int, values: Sequence[str], names: Sequence[str], problems: list[Problem]) -> bool:
    if len(values) == len(names):
        return True
    problems.append(Problem(shown, line, f"{len(values)} values, but the header has {len(names)} columns"))
    return False
