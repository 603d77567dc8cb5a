"""``muster packs test``."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from server.app import on_postgres, scratch_database
from server.catalog.catalog import Catalog
from server.catalog.controls import Case
from server.catalog.problems import did_you_mean
from server.cli.options import PROBLEMS, fail, json_option, loaded, packs_option, print_json, run
from server.evaluate.cases import CaseResult, run_cases


@click.command()
@packs_option
@click.option("--control", "controls", multiple=True, metavar="ID", help="Only this control's; may be repeated.")
@click.option(
    "--database", metavar="URL", help="Also on this Postgres server, in a new database that is dropped in the end; the"
    " one in postgresql://ROLE:PASSWORD@HOST/NAME is not touched. Not taken from muster.toml.",
)  # fmt: skip
@json_option
def test(packs: Path, controls: tuple[str, ...], database: str | None, as_json: bool) -> None:
    """Run the cases of controls through the real store and judge, drafts included.

    Exit code 3 where a case does not come to what it says.
    """
    if click.get_current_context().get_parameter_source("database") is ParameterSource.DEFAULT_MAP:
        database = None  # the key of muster.toml says where the fleet's data are
    if database is not None and not on_postgres(database):
        raise click.UsageError("--database is for postgresql://…: SQLite's part runs in a temporary file in any case")
    catalog = loaded(packs)
    for control in controls:
        if control not in catalog.controls:
            hint = did_you_mean(control, catalog.controls)
            raise click.UsageError(f"there is no control {control!r}; {hint}".rstrip("; "))
    runs = [_timed("SQLite", None, catalog, controls)]
    if database is not None:
        runs.append(_timed("Postgres", database, catalog, controls))
    if as_json:
        print_json([_as_json(*one) for one in runs])
    else:
        for one in runs:
            _print(*one)
    wrong = sum(not result.passed for _, results, _ in runs for result in results)
    if wrong:
        fail(f"{wrong} case(s) failed", PROBLEMS)


def _timed(
    name: str, server: str | None, catalog: Catalog, controls: Sequence[str]
) -> tuple[str, list[CaseResult], float]:
    started = time.monotonic()
    results = run(_run(server, catalog, controls))
    return name, results, time.monotonic() - started


async def _run(server: str | None, catalog: Catalog, controls: Sequence[str]) -> list[CaseResult]:
    async with scratch_database(server) as driver:
        return await run_cases(driver, catalog, controls or None)


def _print(database: str, results: Sequence[CaseResult], seconds: float) -> None:
    wrong = [result for result in results if not result.passed]
    for result in wrong:
        for line in _described(database, result):
            click.echo(line)
    total = f"{len(results)} case(s) of {len({result.control for result in results})} control(s)"
    said = f"{len(wrong)} failed" if wrong else "none failed"
    click.secho(f"{database}: {total}, {said} ({seconds:.1f} s)", fg="red" if wrong else "green")


def _described(database: str, result: CaseResult) -> list[str]:
    """A case that failed: where it is, what it says, what it came to, and the rows that decide."""
    case, expected = result.case, result.case.evidence
    lines = [
        f"{result.file}:{result.line}: {result.control}: {case.name} ({database})",
        f"    says  {_verdict(case.status, case.reason, expected)}",
        f"    is    {_verdict(result.status, result.reason, None if case.rows_of else result.evidence)}",
    ]
    if result.problem:
        lines.append(f"    {result.problem}")
    for position in sorted({*(expected or ()), *result.evidence}):
        mark = " " if expected is None else _MARKS[position in expected, position in result.evidence]
        row = case.rows[position] if position < len(case.rows) else None
        lines.append(f"    {mark} {position}: {_row(row)}")
    if case.rows_of:
        lines += [f"    - {_row(row)}" for row in case.evidence_rows or () if row not in result.evidence_rows]
        mark = " " if case.evidence_rows is None else "+"
        lines += [f"    {mark} {_row(row)}" for row in result.evidence_rows if row not in (case.evidence_rows or ())]
    return [*lines, ""]


_MARKS = {(True, True): " ", (True, False): "-", (False, True): "+", (False, False): " "}
"""As in a diff: whether the case names a row, and whether it decided."""


def _verdict(status: str, reason: str | None, evidence: Sequence[int] | None) -> str:
    said = f"{status} ({reason})" if reason else status
    if evidence is None:
        return said
    return f"{said}, by {'no row' if not evidence else 'row ' + ', '.join(map(str, evidence))}"


def _row(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "there is no such row"
    return "  ".join(f"{name}={value or repr(value)}" for name, value in row.items())


def _as_json(database: str, results: Sequence[CaseResult], seconds: float) -> dict[str, Any]:
    return {
        "database": database.lower(),
        "cases": len(results),
        "failed": sum(not result.passed for result in results),
        "seconds": round(seconds, 3),
        "results": [
            {
                "control": result.control,
                "case": result.case.name,
                "platform": result.case.platform,
                "file": result.file,
                "line": result.line,
                "passed": result.passed,
                "expected": _told(result.case.status, result.case.reason, _expected(result.case)),
                "got": _told(
                    result.status, result.reason, result.evidence_rows if result.case.rows_of else result.evidence
                ),
                "problem": result.problem or None,
            }
            for result in results
        ],
    }


def _expected(case: Case) -> Sequence[Any] | None:
    return case.evidence_rows if case.rows_of else case.evidence


def _told(status: str, reason: str | None, evidence: Sequence[Any] | None) -> dict[str, Any]:
    return {"status": status, "reason": reason, "evidence": None if evidence is None else list(evidence)}
