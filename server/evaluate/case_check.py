"""Whether the cases of a control show each of its rules at work, and are answers that its queries could give."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set

from server.catalog.catalog import Catalog, LoadedControl
from server.catalog.controls import Case, PlatformRule
from server.catalog.problems import Problem, did_you_mean
from server.catalog.queries import Query
from server.evaluate.language import RuleError
from server.evaluate.reading import columns_of
from server.normalize.rows import Column, typed_row
from server.normalize.values import TEXT


def check_cases(catalog: Catalog) -> list[Problem]:
    """The kinds of cases that are missing, and rows that are no answer to the control's query."""
    problems: list[Problem] = []
    for loaded in catalog.controls.values():
        problems += _twice(loaded)
        for platform, rule in loaded.control.platforms.items():
            if all((name, platform) in catalog.queries for name in rule.queries):
                problems += _odd_rows(catalog, loaded, platform, rule)
                problems += _missing(catalog, loaded, platform, rule)
    return problems


def _twice(loaded: LoadedControl) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for case, line in zip(loaded.cases, loaded.case_lines, strict=True):
        if case.name in first:
            yield Problem(loaded.cases_file, line, f"a case is named {case.name!r} on line {first[case.name]} too")
        first.setdefault(case.name, line)


def _odd_rows(catalog: Catalog, loaded: LoadedControl, platform: str, rule: PlatformRule) -> Iterator[Problem]:
    """osquery answers with every column of the query, and no other."""
    for case, line in zip(loaded.cases, loaded.case_lines, strict=True):
        if case.platform != platform:
            continue
        yield from _odd_queries(loaded, case, line, rule)
        for name, rows in case.answers(rule).items():
            if name in rule.queries:
                yield from _odd_columns(loaded, line, rows, catalog.queries[name, platform], several=bool(case.rows_of))


def _odd_queries(loaded: LoadedControl, case: Case, line: int, rule: PlatformRule) -> Iterator[Problem]:
    """A case gives rows of exactly the queries that its rule judges."""
    if rule.sql is None:
        if case.rows_of:
            yield Problem(loaded.cases_file, line, "rows_of is for rules of the kind sql", "write rows: […]")
        return
    if case.rows:
        yield Problem(loaded.cases_file, line, "rows is for rules of one query", "write rows_of: {query: […], …}")
        return
    for name in case.rows_of:
        if name not in rule.queries:
            hint = did_you_mean(name, rule.queries)
            yield Problem(loaded.cases_file, line, f"the rule judges no query {name!r}", hint)
    if absent := [name for name in rule.queries if name not in case.rows_of]:
        hint = "a query that answers without rows has []"
        yield Problem(loaded.cases_file, line, f"rows_of has no {', '.join(absent)}", hint)


def _odd_columns(
    loaded: LoadedControl, line: int, rows: Sequence[Mapping[str, str]], query: Query, *, several: bool
) -> Iterator[Problem]:
    names, of = [column.name for column in query.columns], f"{query.name}, " if several else ""
    for number, row in enumerate(rows):
        for name in row:
            if name not in names:
                hint = did_you_mean(name, names)
                what = f"{of}row {number}: {query.file} gives no column {name!r}"
                yield Problem(loaded.cases_file, line, what, hint)
        if absent := [name for name in names if name not in row]:
            hint = 'osquery sends every column, as "" where it is null'
            yield Problem(loaded.cases_file, line, f"{of}row {number} has no {', '.join(absent)}", hint)


def _missing(catalog: Catalog, loaded: LoadedControl, platform: str, rule: PlatformRule) -> Iterator[Problem]:
    queries = {name: catalog.queries[name, platform] for name in rule.queries}
    try:
        read = columns_of(catalog, platform, rule)
    except RuleError:
        return  # the check of the rules says what is wrong
    own = [case for case in loaded.cases if case.platform == platform]
    # Rows are judged alike, and may be shown, on any platform that has the same query and the same rule.
    alike = [where for where, other in loaded.control.platforms.items() if _alike(catalog, other, where, rule, queries)]
    shared = [case for case in loaded.cases if case.platform in alike]
    empty = {where for where in alike if loaded.control.platforms[where].empty == rule.empty}
    numbers = [name for query in read for name in sorted(read[query]) if queries[query].kinds[name] != TEXT]
    malformed = [_malformed(case, rule, queries, read) for case in shared]
    undecided = [case.reason == "undecided" for case in shared]
    nothing = "rows: []" if rule.sql is None else f"rows_of: {{{', '.join(f'{name}: []' for name in queries)}}}"
    wanted: list[tuple[str, bool, str]] = [
        ("a pass", any(case.status == "pass" for case in own), ""),
        ("a failure", any(case.status == "fail" for case in own), ""),
        ("an empty answer", any(case.empty and case.platform in empty for case in shared), nothing),
    ]
    if rule.applies_when:
        there = any(case.reason == "condition" for case in shared)
        hint = "one for which applies_when: is true of no row" if rule.sql is None else "applies_when: is false"
        wanted.append(("a device that it does not apply to", there, hint))
    if rule.undecided:
        there = any(one and not other for one, other in zip(undecided, malformed, strict=True))
        wanted.append(("a row that cannot be judged", there, "one for which undecided: is true"))
    if numbers:
        hint = f"a value that does not fit its column, such as {numbers[0]}: x"
        wanted.append(("a malformed row", any(malformed), hint))
    for kind, there, hint in wanted:
        if not there:
            yield Problem(loaded.cases_file, 1, f"no case of {kind} for {platform}", hint)


def _alike(
    catalog: Catalog, other: PlatformRule, platform: str, rule: PlatformRule, queries: Mapping[str, Query]
) -> bool:
    """Whether the rows of a platform, by its ``other`` rule, are judged by the same rule over the same queries."""
    unlike = {"confidence", "note", "empty"}
    if other.model_dump(exclude=unlike) != rule.model_dump(exclude=unlike):
        return False
    there = [catalog.queries.get((name, platform)) for name in queries]
    return [query and query.version for query in there] == [query.version for query in queries.values()]


def _malformed(
    case: Case, rule: PlatformRule, queries: Mapping[str, Query], read: Mapping[str, frozenset[str]]
) -> bool:
    """Whether a value of the case does not fit the type of its column, which the rule reads."""
    return any(
        _misfits(rows, queries[name]) & read.get(name, frozenset())
        for name, rows in case.answers(rule).items()
        if name in queries
    )


def _misfits(rows: Iterable[Mapping[str, str]], query: Query) -> Set[str]:
    """The columns, in lower case, of which a value does not fit the type."""
    columns: Sequence[Column] = [Column(column.name, column.name.lower(), column.kind) for column in query.columns]
    found = [typed_row(row, columns).misfit for row in rows]
    return {name for misfit in found if misfit for name in json.loads(misfit)}
