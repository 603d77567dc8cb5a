"""What a plan says against a query: what osquery would refuse, leave empty, or answer from a time gone by."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

import sqlglot
from sqlglot import exp

from server.catalog.planner import EQUALS, LIKE, Plan, PlanError, Planner, Scan
from server.catalog.problems import did_you_mean
from server.catalog.queries import missing_column, missing_table
from server.catalog.schema import OsquerySchema, SchemaTable

_MISSING = re.compile(r"no such (?P<kind>table|column|function): (?P<name>.+)")
_OF_SQLITE = ("sqlite_", "pragma_", "dbstat", "bytecode", "tables_used")
_ROW_NUMBERS = frozenset({"rowid", "_rowid_", "oid"})
MOST_NAMES = 20
"""Unknown names of one query that are said."""
_WITH_EFFECT = frozenset({"carve", "sleep", "load_extension"})


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with some SQL, at an offset in characters or else at the name ``at``."""

    what: str
    hint: str = ""
    at: str = ""
    offset: int | None = None

    def only_on(self, platforms: Iterable[str]) -> Finding:
        """The finding, said of some platforms."""
        return replace(self, what=f"on {', '.join(platforms)}: {self.what}")

    def word(self, sql: str) -> str:
        """The word it is about."""
        found = re.match(r"\w+", sql[self.offset :]) if self.offset is not None else None
        return found[0] if found else self.at


def findings_of_plan(planner: Planner, sql: str, mode: str, schema: OsquerySchema) -> Iterator[Finding]:
    """Plan some SQL on one platform and say what is wrong. ``mode`` is the query's, or ``discovery``."""
    try:
        plan = planner.plan(sql)
    except PlanError as error:
        yield _refused(error, sql, planner, schema)
        yield from islice(_unknown_names(sql, planner, schema), MOST_NAMES)
        return
    statement = sqlglot.parse_one(sql, read="sqlite")
    yield from _too_new(statement)
    yield from _endless(statement)
    yield from _of_reads(plan, planner)
    for name in sorted(plan.functions - schema.functions.names()):
        if name in _WITH_EFFECT:
            yield Finding(f"{name}() is not for packs: it does something on the device", "", name)
        else:
            yield Finding(f"osquery has no function {name}()", did_you_mean(name, schema.functions.names()), name)
    for scan in plan.scans:
        yield from _of_scan(scan, mode)
    evented = any(scan.table.evented for scan in plan.scans)
    if mode == "events" and not evented:
        hint = "use mode state, or latest where no history is needed"
        yield Finding("mode is events, but no table of the query holds events", hint)


def _refused(error: PlanError, sql: str, planner: Planner, schema: OsquerySchema) -> Finding:
    what = str(error)
    missing = _MISSING.search(what)
    if "bindings" in what:
        return Finding("the query has parameters (? or :name), and nobody fills them", "write the values", "", None)
    if not missing:
        return Finding(what, "", "", error.offset)
    name = missing["name"].rpartition(".")[2].strip('"')
    if missing["kind"] == "table":
        hint = missing_table(name, [planner.platform], schema)
    elif missing["kind"] == "column":
        used = [table for table in planner.tables.values() if re.search(rf"(?i)\b{table.name}\b", sql)]
        hint = missing_column(name, {known.name for table in used for known in table.columns})
    else:
        hint = did_you_mean(name, schema.functions.names())
    return Finding(f"no such {missing['kind']}: {name}", hint, name)


def _unknown_names(sql: str, planner: Planner, schema: OsquerySchema) -> Iterator[Finding]:
    """All the names that nothing bears, of which SQLite says only the first. The SQL was parsed before."""
    statement = sqlglot.parse_one(sql, read="sqlite")
    derived = {node.alias_or_name.lower() for node in statement.find_all(exp.CTE, exp.Subquery)}
    tables: dict[str, list[SchemaTable]] = {}
    for node in statement.find_all(exp.Table):
        name, table = node.name.lower(), planner.tables.get(node.name.lower())
        if table:
            tables.setdefault(node.alias_or_name.lower(), []).append(table)
        elif name and name not in derived and isinstance(node.this, exp.Identifier):
            yield Finding(f"no such table: {node.name}", missing_table(name, [planner.platform], schema), node.name)
    for column in statement.find_all(exp.Column):
        of = tables.get(column.table.lower(), []) if column.table.lower() not in derived else []
        known = {name for table in of for name in table.by_name}
        if of and column.name.lower() not in known | _ROW_NUMBERS and not column.is_star:
            hint = missing_column(column.name, known)
            yield Finding(f"no such column: {column.name}", hint, column.name)
    for call in statement.find_all(exp.Anonymous):
        name = call.name.lower()
        if name not in schema.functions.names():
            yield Finding(f"no such function: {call.name}", did_you_mean(name, schema.functions.names()), call.name)


def _too_new(statement: exp.Expr) -> Iterator[Finding]:
    """What the SQLite in osquery (3.42) does not read yet."""
    older = "the SQLite in osquery is older than this: order the rows in a sub-select"
    for order in statement.find_all(exp.Order):
        if not isinstance(order.parent, exp.Query | exp.Window):
            yield Finding("ORDER BY within a function", older, "order")


def _endless(statement: exp.Expr) -> Iterator[Finding]:
    """WITH RECURSIVE whose own step has nothing that could end it: only osquery's watchdog would."""
    for common in statement.find_all(exp.CTE):
        union, name = common.this, common.alias_or_name.lower()
        if not isinstance(union, exp.Union) or union.args.get("distinct") or union.args.get("limit"):
            continue
        step = union.expression
        sources = [table.name.lower() for table in step.find_all(exp.Table)]
        ends = any(step.find(part) for part in (exp.Where, exp.Limit, exp.Join))
        if name in sources and not ends:
            hint = "give the SELECT after UNION ALL a WHERE, or the whole a LIMIT"
            yield Finding(f"the recursion of {common.alias_or_name} never ends", hint, common.alias_or_name)


def _of_reads(plan: Plan, planner: Planner) -> Iterator[Finding]:
    for table_name, column_name in sorted(plan.reads):
        table = planner.tables.get(table_name)
        if table is None:
            if table_name.startswith(_OF_SQLITE):  # any other name is one that WITH gives
                yield Finding(f"{table_name} is SQLite's own, not a table of osquery", "", table_name)
            continue
        column = table.by_name.get(column_name)
        if column is None:
            if column_name in _ROW_NUMBERS:
                yield Finding(f"{table_name} has no {column_name}", "tables of osquery number no rows", column_name)
        elif planner.platform not in column.platforms:
            there = ", ".join(column.platforms)
            what = f"{table_name}.{column_name} has a value on {there} only, and is always empty here"
            yield Finding(what, f"leave it out, or give {there} a file of its own", column_name)


def _of_scan(scan: Scan, mode: str) -> Iterator[Finding]:
    table = scan.table
    required = [column.name for column in table.columns if column.required]
    if required:
        yield from _unmet(scan, required)
    given = set(scan.conditions)
    if table.per_user and not given & {"uid", "username"}:
        what = f"{table.name} is read without uid: osquery, as root, then looks at its own account only"
        yield Finding(what, f"FROM users CROSS JOIN {table.name} USING (uid)", table.name)
    if table.evented and mode != "events":
        what = f"{table.name} holds events: an answer has those since the last look, not what is true now"
        yield Finding(what, "write into the header: -- mode: events", table.name)
    whole = {column.canonical for column in table.columns} <= scan.used
    if table.cacheable and whole and not given and mode != "discovery":
        what = f"every column of {table.name} is read: osquery may answer with rows of an earlier query"
        yield Finding(what, "leave out a column that you do not need", table.name)


def _unmet(scan: Scan, required: list[str]) -> Iterator[Finding]:
    """A required column that no usable condition reaches: osquery fails, or silently finds nothing."""
    table: SchemaTable = scan.table
    operators = frozenset().union(*(scan.conditions.get(name, frozenset()) for name in required))
    ways = "=, IN, LIKE or a join" if table.heeds_like else "=, IN or a join"
    columns = " or ".join(required)
    hint = f"give {columns} by {ways}; a LEFT JOIN only where {table.name} is the table on its right"
    if not operators:
        yield Finding(f"{table.name} cannot be read without a value of {columns}", hint, table.name)
    elif not operators & ({EQUALS, LIKE} if table.heeds_like else {EQUALS}):
        yield Finding(f"{table.name} finds nothing by this condition on {columns}", hint, table.name)
