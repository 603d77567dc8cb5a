"""``minimise.yaml``: the packs' rules of what is dropped, hashed or shortened before it is stored."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from server.catalog.controls import Text
from server.catalog.problems import Problem, did_you_mean
from server.catalog.queries import Query
from server.catalog.schema import PLATFORMS, OsquerySchema
from server.catalog.yaml_files import Strict, read_located
from server.normalize.treatment import Minimisation, Rule
from server.normalize.values import TEXT

FILE = "minimise.yaml"
Texts = Annotated[list[Text], Field(min_length=1)]


class Where(Strict):
    """Which values a rule takes; one that is true is enough. Exactly as written, capitals included."""

    equals: Texts | None = None
    starts_with: Texts | None = None
    contains: Texts | None = None

    @model_validator(mode="after")
    def _something(self) -> Where:
        if not (self.equals or self.starts_with or self.contains):
            raise ValueError("give equals, starts_with or contains")
        return self


class MinimiseRule(Strict):
    """One rule: of which columns, which values, and what becomes of them."""

    query: Text | None = None
    """A query of these packs, or ``*`` for every query, foreign ones too."""
    foreign: Text | None = None
    """A query that another config runs, by the name it has there."""
    table: Text | None = None
    """A table of osquery: every column that carries its values, whatever the query calls it."""
    columns: Texts
    where: Where | None = None
    action: Literal["drop", "hash", "truncate"]
    keep: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Characters that ``truncate`` leaves."""
    why: Text

    @model_validator(mode="after")
    def _whole(self) -> MinimiseRule:
        if sum(of is not None for of in (self.query, self.foreign, self.table)) != 1:
            raise ValueError("give exactly one of query, foreign, table")
        if (self.keep is not None) != (self.action == "truncate"):
            raise ValueError("keep goes with truncate, and truncate with keep")
        return self


class MinimiseFile(Strict):
    """The file: its rules, of which the first that takes a value decides."""

    rules: list[MinimiseRule]


def read_minimisation(
    root: Path, queries: Mapping[tuple[str, str], Query], schema: OsquerySchema, problems: list[Problem]
) -> Minimisation:
    """Read the rules of a packs folder; without a file there are none, and the never-list is in force all the same."""
    known = {at: query.known for at, query in queries.items()}
    path = root / FILE
    file = read_located(path, FILE, MinimiseFile, problems) if path.exists() else None
    if file is None:
        return Minimisation((), known)
    rules: list[Rule] = []
    for number, rule in enumerate(file.model.rules):
        line = file.line("rules", number)
        problems += [Problem(FILE, line, message, hint) for message, hint in _odd(rule, queries, schema)]
        rules.append(_rule(rule, line))
    minimisation = Minimisation(rules, known)
    problems += _unhashable(minimisation, queries)
    return minimisation


def _rule(rule: MinimiseRule, line: int) -> Rule:
    where = rule.where or Where.model_construct()
    of = rule.query or rule.foreign
    return Rule(
        source=f"{FILE}:{line}",
        queries=frozenset({of} if of else ()),
        tables=frozenset({rule.table.lower()} if rule.table else ()),
        columns=frozenset(column.lower() for column in rule.columns),
        action=rule.action,
        keep=rule.keep or 0,
        equals=frozenset(where.equals or ()),
        starts_with=tuple(where.starts_with or ()),
        contains=tuple(where.contains or ()),
    )


def _odd(rule: MinimiseRule, queries: Mapping[tuple[str, str], Query], schema: OsquerySchema) -> list[tuple[str, str]]:
    """A name that is not there: such a rule would protect nothing, and nobody would notice."""
    names = {name for name, _ in queries}
    if rule.foreign in names:
        return [(f"{rule.foreign!r} is a query of these packs", "write query: instead of foreign:")]
    if rule.query not in (None, "*"):
        if rule.query not in names:
            hint = did_you_mean(str(rule.query), names) or "write foreign: for one that another config runs"
            return [(f"there is no query {rule.query!r}", hint)]
        given = {c.name.lower() for (name, _), query in queries.items() if name == rule.query for c in query.columns}
        return _unknown_columns(rule, f"query {rule.query!r} gives", given)
    if rule.table is not None:
        table = schema.table(rule.table)
        if table is None or table.canonical != rule.table.lower():
            known = {table.canonical for platform in PLATFORMS for table in schema.on(platform)}
            return [(f"osquery has no table {rule.table!r}", did_you_mean(rule.table, known))]
        return _unknown_columns(rule, f"table {rule.table!r} has", {c.canonical for c in table.columns})
    return []


def _unknown_columns(rule: MinimiseRule, whose: str, known: set[str]) -> list[tuple[str, str]]:
    missing = [column for column in rule.columns if column != "*" and column.lower() not in known]
    return [(f"{whose} no column {column!r}", did_you_mean(column.lower(), known)) for column in missing]


def _unhashable(minimisation: Minimisation, queries: Mapping[tuple[str, str], Query]) -> list[Problem]:
    """A hash is a text: in a column of numbers it could only be a misfit."""
    problems = set()
    for (name, platform), query in queries.items():
        for column in query.columns:
            for rule in minimisation.treatment(name, platform, column.name).rules:
                if column.kind != TEXT and rule.action != "drop":
                    line = int(rule.source.rpartition(":")[2])
                    message = f"{name}.{column.name} is a {column.kind}; {rule.action} leaves a text"
                    problems.add(Problem(FILE, line, message, "use drop, or CAST the column AS TEXT in the query"))
    return sorted(problems)


def minimised_columns(minimisation: Minimisation, query: Query, platform: str) -> dict[str, str]:
    """The columns of a query that are not stored as they come, each with what becomes of it and why."""
    notes: dict[str, str] = {}
    for column in query.columns:
        treatment = minimisation.treatment(query.name, platform, column.name)
        parts = ["never stored"] if treatment.never else []
        parts += ["stored only while it says yes or no"] if treatment.flags_only else []
        parts += [f"{rule.action} ({rule.source})" for rule in treatment.rules]
        if parts:
            notes[column.name] = ", ".join(parts)
    return notes
