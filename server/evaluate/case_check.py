"""Whether the cases of a control show each of its rules at work, and are answers that its queries could give."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence, Set

from server.catalog.catalog import Catalog, LoadedControl
from server.catalog.controls import Case, PlatformRule
from server.catalog.problems import Problem, did_you_mean
from server.catalog.queries import Query
from server.evaluate.language import RuleError
from server.evaluate.rules import columns_read
from server.normalize.rows import Column, typed_row
from server.normalize.values import TEXT


def check_cases(catalog: Catalog) -> list[Problem]:
    """The kinds of cases that are missing, and rows that are no answer to the control's query."""
    problems: list[Problem] = []
    for loaded in catalog.controls.values():
        problems += _twice(loaded)
        for platform, rule in loaded.control.platforms.items():
            query = catalog.queries.get((rule.query, platform))
            if query is not None:
                problems += _odd_rows(loaded, platform, query)
                problems += _missing(catalog, loaded, platform, rule, query)
    return problems


def _twice(loaded: LoadedControl) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for case, line in zip(loaded.cases, loaded.case_lines, strict=True):
        if case.name in first:
            yield Problem(loaded.cases_file, line, f"a case is named {case.name!r} on line {first[case.name]} too")
        first.setdefault(case.name, line)


def _odd_rows(loaded: LoadedControl, platform: str, query: Query) -> Iterator[Problem]:
    """osquery answers with every column of the query, and no other."""
    names = [column.name for column in query.columns]
    for case, line in zip(loaded.cases, loaded.case_lines, strict=True):
        for number, row in enumerate(case.rows if case.platform == platform else ()):
            for name in row:
                if name not in names:
                    hint = did_you_mean(name, names)
                    yield Problem(loaded.cases_file, line, f"row {number}: {query.file} gives no column {name!r}", hint)
            if absent := [name for name in names if name not in row]:
                hint = 'osquery sends every column, as "" where it is null'
                yield Problem(loaded.cases_file, line, f"row {number} has no {', '.join(absent)}", hint)


def _missing(
    catalog: Catalog, loaded: LoadedControl, platform: str, rule: PlatformRule, query: Query
) -> Iterator[Problem]:
    kinds = {column.name.lower(): column.kind for column in query.columns}
    try:
        read = columns_read(rule, kinds, catalog.lists)
    except RuleError:
        return  # the check of the rules says what is wrong
    own = [case for case in loaded.cases if case.platform == platform]
    # Rows are judged alike, and may be shown, on any platform that has the same query and the same rule.
    alike = [where for where, other in loaded.control.platforms.items() if _alike(catalog, other, where, rule, query)]
    shared = [case for case in loaded.cases if case.platform in alike]
    empty = {where for where in alike if loaded.control.platforms[where].empty == rule.empty}
    numbers = sorted(name for name in read if kinds[name] != TEXT)
    malformed = [bool(_misfits(case, query) & read) for case in shared]
    undecided = [case.reason == "undecided" for case in shared]
    wanted: list[tuple[str, bool, str]] = [
        ("a pass", any(case.status == "pass" for case in own), ""),
        ("a failure", any(case.status == "fail" for case in own), ""),
        ("an empty answer", any(not case.rows and case.platform in empty for case in shared), "rows: []"),
    ]
    if rule.applies_when:
        there = any(case.reason == "condition" for case in shared)
        wanted.append(("a device that it does not apply to", there, "one for which applies_when: is true of no row"))
    if rule.undecided:
        there = any(one and not other for one, other in zip(undecided, malformed, strict=True))
        wanted.append(("a row that cannot be judged", there, "one for which undecided: is true"))
    if numbers:
        hint = f"a value that does not fit its column, such as {numbers[0]}: x"
        wanted.append(("a malformed row", any(malformed), hint))
    for kind, there, hint in wanted:
        if not there:
            yield Problem(loaded.cases_file, 1, f"no case of {kind} for {platform}", hint)


def _alike(catalog: Catalog, other: PlatformRule, platform: str, rule: PlatformRule, query: Query) -> bool:
    """Whether the rows of a platform, by its ``other`` rule, are judged by the same rule over the same query."""
    unlike = {"confidence", "note", "empty"}
    if other.model_dump(exclude=unlike) != rule.model_dump(exclude=unlike):
        return False
    there = catalog.queries.get((other.query, platform))
    return there is not None and there.version == query.version


def _misfits(case: Case, query: Query) -> Set[str]:
    """The columns, in lower case, of which a value of the case does not fit the type."""
    columns: Sequence[Column] = [Column(column.name, column.name.lower(), column.kind) for column in query.columns]
    found = [typed_row(row, columns).misfit for row in case.rows]
    return {name for misfit in found if misfit for name in json.loads(misfit)}
