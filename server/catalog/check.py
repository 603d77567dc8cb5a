"""Checking queries as osquery would read them, on every platform they are written for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import sqlglot
from sqlglot import exp

from server.catalog.catalog import Catalog
from server.catalog.findings import Finding, findings_of_plan
from server.catalog.moving import moving_columns
from server.catalog.planner import Planner
from server.catalog.problems import Problem
from server.catalog.queries import LONGEST_SQL, TOO_DEEP, Query, too_tangled
from server.catalog.schema import PLATFORMS, OsquerySchema
from server.catalog.sql_text import SqlText
from server.catalog.yaml_files import place_of


def check_queries(catalog: Catalog) -> list[Problem]:
    """Plan every query and every discovery statement on the platforms it is for, and judge its columns."""
    planners = [Planner(catalog.schema, platform) for platform in PLATFORMS]
    problems: set[Problem] = set()
    try:
        for query in {query.file: query for query in catalog.queries.values()}.values():
            try:
                found = _on_platforms(query.text.sql, query.mode, query.platforms, planners, catalog.schema)
                problems.update(_problem(query, finding) for finding in found)
                problems.update(_of_columns(query, catalog.schema))
            except RecursionError:
                problems.add(query.text.problem(query.file, *TOO_DEEP))
        for pack_id in catalog.packs:
            problems.update(_of_discovery(catalog, pack_id, planners))
    finally:
        for planner in planners:
            planner.close()
    return sorted(problems)


def _on_platforms(
    sql: str, mode: str, platforms: Sequence[str], planners: Iterable[Planner], schema: OsquerySchema
) -> Iterator[Finding]:
    """What is wrong with some SQL; what is wrong on some of its platforms only says on which."""
    where: dict[Finding, list[str]] = {}
    for planner in planners:
        if planner.platform in platforms:
            for finding in set(findings_of_plan(planner, sql, mode, schema)):
                where.setdefault(finding, []).append(planner.platform)
    for finding, found in where.items():
        yield finding if len(found) == len(platforms) else finding.only_on(found)


def _problem(query: Query, finding: Finding) -> Problem:
    place = query.text.find(finding.at) if finding.offset is None else query.text.place(finding.offset)
    line, column = place
    return Problem(query.file, line, finding.what, finding.hint, column=column)


def _of_columns(query: Query, schema: OsquerySchema) -> Iterator[Problem]:
    """What the store and its readers could not use."""
    if query.name.endswith(("epoch", "counter")):
        hint = "osquery keeps its own epochs and counters under such names, and skips the query"
        yield Problem(query.file, 1, f"the name {query.name!r} ends in epoch or counter", hint)
    if query.mode != "state":
        return
    volatile = {column.name for column in query.columns if column.volatile}
    for name, origin in moving_columns(query.sql, schema).items():
        if name not in volatile:
            what = f"column {name!r} is {origin}, which moves all the time: every answer would be a new row"
            hint = f"declare it in the header (-- volatile: {name}), or leave it out"
            yield query.text.problem(query.file, what, hint, name)


def _of_discovery(catalog: Catalog, pack_id: str, planners: Sequence[Planner]) -> Iterator[Problem]:
    pack, file = catalog.packs[pack_id], f"{pack_id}.yaml"
    for number, sql in enumerate(pack.discovery):
        where = ("discovery", number)
        wrong = _no_select(sql)
        try:
            asked = _on_platforms(sql, "discovery", pack.platforms, planners, catalog.schema)
            found = [wrong] if wrong else list(asked)
        except RecursionError:
            found = [Finding(*TOO_DEEP)]
        for finding in found:
            line, column = place_of(catalog.root / file, where, finding.word(sql))
            yield Problem(file, line, f"discovery: {finding.what}", finding.hint, column=column)


def _no_select(sql: str) -> Finding | None:
    """Why a discovery statement is not one SELECT, or None."""
    if len(sql) > LONGEST_SQL:
        return Finding("the SQL is too long")
    if tangled := too_tangled(SqlText(sql, 1)):
        return Finding(*tangled)
    try:
        statements = [statement for statement in sqlglot.parse(sql, read="sqlite") if statement is not None]
    except (sqlglot.errors.SqlglotError, RecursionError) as error:
        return Finding(f"not SQL: {str(error).splitlines()[0]}")
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        return Finding("a discovery statement is exactly one SELECT")
    return None
