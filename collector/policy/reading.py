"""What a statement reads, told by compiling it against empty tables of the same names.

Two witnesses are heard. SQLite's authorizer names the tables and columns that the text names, but says nothing of
those that a NATURAL JOIN or USING brings in, nor of their tables: so the compiled program is read as well, for the
tables that it opens and the columns that it takes from them.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from collector.policy.size import growth
from collector.policy.tables import Tables, quoted

MOST_SQL = 1024 * 1024
MOST_NAMED = 200_000
"""Times that the authorizer may be called."""
MOST_GROWTH = 20_000
"""Expressions and views that a statement may be made of when each stands in place of its mentions."""
MOST_UNKNOWN = 64
"""Functions and collations, unknown to this SQLite, that one statement may use."""
MOST_STEPS = 250_000
"""Length of a compiled statement."""
PRAGMAS = frozenset({"table_info", "table_xinfo", "function_list"})
"""Those that only say how tables and functions are called."""
TOUCHED = (
    "json_each('[]')",
    "json_tree('[]')",
    *(f"pragma_{name}('x')" for name in sorted(PRAGMAS - {"function_list"})),
)
FUNCTION_TABLES = {"carve": "carves"}
"""Functions of osquery that do what asking a table does."""
QUESTION = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE})

NO_QUESTION = "it is no SELECT: it would change, make or attach something"
_UNKNOWN = re.compile(r"no such (function|collation sequence): (.+)", re.DOTALL)
_P2_IS_REGISTER = 0x10
_OPENING = frozenset({"OpenRead", "OpenWrite", "ReopenIdx"})
_WHOLE_ROW = frozenset({"RowData", "RowCell", "Offset"})


class UnreadableError(Exception):
    """It cannot be told what the statement reads; the message says why."""


@dataclass(frozen=True, slots=True)
class Reads:
    """What a statement reads, in lower case."""

    tables: frozenset[str]
    columns: frozenset[tuple[str, str]]


class Reader:
    """Tells what statements read, for one set of tables. Used by one thread at a time, whichever it is."""

    def __init__(self, tables: Tables, also: Iterable[tuple[str, str]] = ()) -> None:
        """``also`` are columns that the tables are taken to have, whether or not they are known to."""
        self._connection = sqlite3.connect(
            ":memory:", check_same_thread=False, isolation_level=None, cached_statements=0
        )
        self._unknown = 0
        columns = _with(tables.columns, also)
        self._columns = {name.lower(): tuple(one.lower() for one in of) for name, of in columns.items()}
        self._views = tables.views
        self._pages: dict[tuple[int, int], str] = {}
        self._build(columns, tables)

    @property
    def worn(self) -> bool:
        """Whether statements have made it grow, so that a new one should be made."""
        return self._unknown > 10 * MOST_UNKNOWN

    def close(self) -> None:
        """Give its memory back."""
        self._connection.close()

    def reads(self, sql: str) -> Reads:
        """The tables and columns that a statement reads. Raises ``UnreadableError``, never anything else."""
        if len(sql) > MOST_SQL:
            raise UnreadableError("it is longer than 1 MiB")
        if self._growth(sql) > MOST_GROWTH:
            raise UnreadableError("its common table expressions or views grow too large")
        witness = _Witness()
        self._connection.set_authorizer(witness)
        try:
            program = self._compiled(sql, witness)
            opened, taken = self._from_program(program)
        except (sqlite3.Error, sqlite3.Warning, ValueError, MemoryError, RecursionError, OverflowError) as error:
            raise UnreadableError(witness.refused or str(error)) from error
        finally:
            self._connection.set_authorizer(None)
        if witness.refused or not witness.asked:
            raise UnreadableError(witness.refused or NO_QUESTION)
        return Reads(frozenset(witness.tables | opened), frozenset(witness.columns | taken))

    def _growth(self, sql: str) -> int:
        try:
            return growth(sql, self._views)
        except RecursionError:
            return MOST_GROWTH + 1

    def _compiled(self, sql: str, witness: _Witness) -> list[tuple[Any, ...]]:
        """The program of a statement; functions and collations that this SQLite has not are made up on the way."""
        for _ in range(MOST_UNKNOWN):
            try:
                cursor = self._connection.execute("EXPLAIN " + sql)
            except sqlite3.OperationalError as error:
                unknown = _UNKNOWN.fullmatch(str(error))
                if unknown is None or witness.refused:
                    raise
                self._make_up(unknown[1], unknown[2])
                continue
            if cursor.description is None or "opcode" not in [column[0] for column in cursor.description]:
                raise UnreadableError("it is not a SELECT")
            return cursor.fetchall()
        raise UnreadableError(f"it uses more than {MOST_UNKNOWN} functions that are not SQLite's")

    def _make_up(self, kind: str, name: str) -> None:
        self._unknown += 1
        if kind == "function":
            self._connection.create_function(name, -1, _nothing)
        else:
            self._connection.create_collation(name, _alike)

    def _from_program(self, program: list[tuple[Any, ...]]) -> tuple[set[str], set[tuple[str, str]]]:
        """The tables that a program opens, and the columns that it takes from them."""
        cursors: dict[int, set[str]] = {}
        for _, opcode, cursor, page, database, _, flags, *_ in program:
            if opcode in _OPENING:
                if int(flags or 0) & _P2_IS_REGISTER:
                    raise UnreadableError("it makes a table")
                name = self._pages.get((database, page))
                if name is not None:
                    cursors.setdefault(cursor, set()).add(name)
        columns: set[tuple[str, str]] = set()
        for _, opcode, cursor, number, *_ in program:
            for name in cursors.get(cursor, ()) if opcode == "Column" or opcode in _WHOLE_ROW else ():
                of = self._columns[name]
                columns |= {(name, one) for one in ([of[number]] if opcode == "Column" and number < len(of) else of)}
        return {name for names in cursors.values() for name in names}, columns

    def _build(self, columns: Mapping[str, tuple[str, ...]], tables: Tables) -> None:
        """osquery's tables are both ``temp.NAME`` and, as modules that are their own tables, ``main.NAME``."""
        run = self._connection.execute
        run("PRAGMA temp_store = MEMORY")  # else the temporary tables are a file
        run("PRAGMA main.page_size = 512")
        run("PRAGMA temp.page_size = 512")
        for sql in tables.views.values():
            self._add_view(sql)
        taken = tables.made | {str(row[0]).lower() for row in run("SELECT name FROM sqlite_master")}
        for name, of in columns.items():
            written = ", ".join(quoted(one) for one in of)
            run(f"CREATE TABLE temp.{quoted(name)} ({written})")
            if name.lower() not in taken:
                run(f"CREATE TABLE main.{quoted(name)} ({written})")
        for number, master in enumerate(("sqlite_master", "sqlite_temp_master")):
            for name, page in run(f"SELECT name, rootpage FROM {master} WHERE type = 'table'"):
                self._pages[number, page] = name.lower()
        for table in TOUCHED:  # connects it, which the authorizer would take for a change
            run(f"SELECT 1 FROM {table}").fetchall()
        run("SELECT 1 FROM pragma_function_list LIMIT 1").fetchall()
        self._connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        self._connection.setlimit(sqlite3.SQLITE_LIMIT_VDBE_OP, MOST_STEPS)

    def _add_view(self, sql: str) -> None:
        """One that cannot be made is left out: what reads it names no table then, and is refused."""
        if sql[:12].upper() != "CREATE VIEW ":
            return
        with contextlib.suppress(sqlite3.Error, sqlite3.Warning, ValueError):
            self._connection.execute(sql)


class _Witness:
    """Hears from SQLite's authorizer what a statement names."""

    def __init__(self) -> None:
        self.tables: set[str] = set()
        self.columns: set[tuple[str, str]] = set()
        self.refused = ""
        self.asked = False
        self._named = 0

    def __call__(self, action: int, one: str | None, other: str | None, *_: str | None) -> int:
        self._named += 1
        if self._named > MOST_NAMED:
            self.refused = "it is too large"
        elif action == sqlite3.SQLITE_PRAGMA:
            if (one or "").lower() not in PRAGMAS:
                self.refused = f"it has the pragma {one}"
            self.asked = True
        elif action == sqlite3.SQLITE_SELECT:
            self.asked = True
        elif action not in QUESTION:
            self.refused = NO_QUESTION
        elif action == sqlite3.SQLITE_READ and one:
            self.tables.add(one.lower())
            if other:
                self.columns.add((one.lower(), other.lower()))
        elif action == sqlite3.SQLITE_FUNCTION and other:
            table = FUNCTION_TABLES.get(other.lower())
            self.tables |= {table} if table else set()
        return sqlite3.SQLITE_DENY if self.refused else sqlite3.SQLITE_OK


def _nothing(*_: object) -> None:
    """Stands in for a function of osquery's: it is never called."""


def _alike(one: str, other: str) -> int:
    """Stands in for a collation of osquery's: it is never called."""
    return 0


def _with(columns: Mapping[str, tuple[str, ...]], also: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    """The tables, with more columns where they are not known to have them."""
    whole = dict(columns)
    by_lower = {name.lower(): name for name in columns}
    for table, column in also:
        name = by_lower.get(table)
        if name is not None and column not in {one.lower() for one in whole[name]}:
            whole[name] = (*whole[name], column)
    return whole
