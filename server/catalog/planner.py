"""osquery's own reading of a query: SQLite's planner over tables that answer it as osquery's do.

Only plans are made and no table is ever read. What a plan says is what osquery would do: which columns are used, and
which conditions reach a table, be they in WHERE or in a join.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import cast

import apsw

from server.catalog.schema import OsquerySchema, SchemaColumn, SchemaTable
from server.normalize.values import TEXT

_COLLATIONS = ("version", "version_dpkg", "version_rhel", "version_arch")
_SQL_TYPES = {"text": "TEXT", "bigint": "BIGINT", "double": "DOUBLE"}
_ALLOWED = (apsw.SQLITE_READ, apsw.SQLITE_SELECT, apsw.SQLITE_FUNCTION, apsw.SQLITE_RECURSIVE)
# osquery's numbers, which decide in what order tables are joined.
_DEAR, _CHEAP = 1_000_000.0, 1.0

MOST_CANDIDATES = 3_000
"""Ways to read a table that are looked at: a join of more tables than anybody reads has them without end."""

EQUALS, LIKE = apsw.SQLITE_INDEX_CONSTRAINT_EQ, apsw.SQLITE_INDEX_CONSTRAINT_LIKE
_ORDERING = (
    apsw.SQLITE_INDEX_CONSTRAINT_GT,
    apsw.SQLITE_INDEX_CONSTRAINT_GE,
    apsw.SQLITE_INDEX_CONSTRAINT_LT,
    apsw.SQLITE_INDEX_CONSTRAINT_LE,
)


@dataclass(frozen=True, slots=True)
class Scan:
    """One look at a table: the columns that are used, and the operators of the conditions that reach it, by column."""

    table: SchemaTable
    used: frozenset[str]
    conditions: Mapping[str, frozenset[int]]


@dataclass(slots=True)
class Plan:
    """What a query reads."""

    scans: list[Scan] = field(default_factory=list)
    reads: set[tuple[str, str]] = field(default_factory=set)
    """Tables and columns, as named in the schema; the column is empty where only rows are counted."""
    functions: set[str] = field(default_factory=set)


class PlanError(Exception):
    """osquery would refuse the SQL. ``offset`` is where, in characters, or None."""

    def __init__(self, message: str, offset: int | None) -> None:
        super().__init__(message)
        self.offset = offset


class Planner:
    """osquery on one platform, as far as planning goes. Close it after use."""

    def __init__(self, schema: OsquerySchema, platform: str) -> None:
        self.platform = platform
        self.tables = {table.name: table for table in schema.on(platform)}
        self._plan = Plan()
        self._candidates: list[Scan] = []
        # Without a cache of statements: one that is known already would not be planned again.
        self._database = apsw.Connection(":memory:", statementcachesize=0)
        for name, numbers in schema.functions.own.items():
            for number in numbers:
                self._database.create_scalar_function(name, _nothing, number)
        for name in _COLLATIONS:
            self._database.create_collation(name, lambda left, right: (left > right) - (left < right))
        module = cast("apsw.VTModule", _Module(platform, self.tables, self._candidates))
        self._database.create_module("osquery", module, use_bestindex_object=True)
        for name in self.tables:
            self._database.execute(f'CREATE VIRTUAL TABLE "{name}" USING osquery("{name}")')
        self._database.authorizer = self._authorize

    def plan(self, sql: str) -> Plan:
        """Plan a statement; raises ``PlanError`` where osquery would."""
        self._plan = Plan()
        self._candidates.clear()
        explain = "EXPLAIN "
        try:
            program = self._database.execute(explain + sql).fetchall()
        except apsw.Error as error:
            at = getattr(error, "error_offset", -1) - len(explain)
            offset = len(sql.encode()[:at].decode(errors="ignore")) if at >= 0 else None
            raise PlanError(str(error).removeprefix("SQLError: "), offset) from error
        # Only our tables call their plans by a number; json_each and the like have none.
        chosen = [step[5] for step in program if step[1] == "VFilter" and str(step[5]).isdecimal()]
        self._plan.scans = [self._candidates[int(str(number))] for number in chosen]
        return self._plan

    def close(self) -> None:
        """Free the database."""
        self._database.close()

    def _authorize(self, code: int, first: str | None, second: str | None, *_: str | None) -> int:
        if code == apsw.SQLITE_READ:
            self._plan.reads.add(((first or "").lower(), (second or "").lower()))
        elif code == apsw.SQLITE_FUNCTION:
            self._plan.functions.add((second or "").lower())
        return apsw.SQLITE_OK if code in _ALLOWED else apsw.SQLITE_DENY


def _nothing(*_: object) -> None:
    return None


class _Module:
    """Makes the virtual tables; its one argument is the table's name."""

    def __init__(self, platform: str, tables: Mapping[str, SchemaTable], candidates: list[Scan]) -> None:
        self._platform = platform
        self._tables = tables
        self._candidates = candidates

    def Create(
        self, connection: apsw.Connection, modulename: str, databasename: str, tablename: str, *args: object
    ) -> tuple[str, apsw.VTTable]:
        table = self._tables[tablename]
        columns = ", ".join(
            f'"{column.name}" {_SQL_TYPES[column.kind]}{" HIDDEN" if self._hidden(column) else ""}'
            for column in table.columns
        )
        return f"CREATE TABLE x ({columns})", cast("apsw.VTTable", _Table(table, self._candidates))

    Connect = Create

    def _hidden(self, column: SchemaColumn) -> bool:
        """Whether a star leaves it out, as it does what other platforms have."""
        return "hidden" in column.flags or self._platform not in column.platforms


class _Table:
    def __init__(self, table: SchemaTable, candidates: list[Scan]) -> None:
        self._table = table
        self._candidates = candidates

    def BestIndexObject(self, index: apsw.IndexInfo) -> bool:
        """What osquery does: conditions on flagged columns reach the table, and make it cheap."""
        if len(self._candidates) >= MOST_CANDIDATES:
            raise apsw.SQLError("the query joins so many tables that planning it takes too long")
        cost, passed, conditions = _DEAR, 0, dict[str, set[int]]()
        for at in range(index.nConstraint):
            number, operator = index.get_aConstraint_iColumn(at), index.get_aConstraint_op(at)
            if not index.get_aConstraint_usable(at) or number < 0:
                continue
            column = self._table.columns[number]
            if column.kind == TEXT and operator in _ORDERING:
                cost += 10
            elif column.flags & {"required", "index", "additional"}:
                cost = _CHEAP
                conditions.setdefault(column.canonical, set()).add(operator)
                passed += 1
                index.set_aConstraintUsage_argvIndex(at, passed)
        used = frozenset(self._table.columns[number].canonical for number in _numbers(index, len(self._table.columns)))
        required = {column.canonical for column in self._table.columns if column.required}
        if required & used and not required & set(conditions):
            cost = _DEAR
        index.estimatedCost = cost
        index.idxStr = str(len(self._candidates))
        frozen = {name: frozenset(operators) for name, operators in conditions.items()}
        self._candidates.append(Scan(self._table, used, frozen))
        return True

    def Disconnect(self) -> None:
        pass

    Destroy = Disconnect
    Open: Callable[[], None] | None = None


def _numbers(index: apsw.IndexInfo, columns: int) -> list[int]:
    """The columns in use; SQLite counts everything from the 64th on as one."""
    used = index.colUsed
    return [number for number in range(columns) if min(number, 63) in used]
