"""``muster explain``: why a device has its verdict of a control on a day."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import click
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from server.app import opened_database, packs_for
from server.cli.options import FAILED, applied_packs_option, database_option, fail, json_option, print_json, run
from server.cli.tables import print_any
from server.evaluate import explain as explaining
from server.evaluate.evidence import DecidingRow, Evidence
from server.evaluate.explain_subject import Question
from server.evaluate.explained import ExplainError, Explanation
from server.report import explanation as words
from server.report.explanation_json import as_json as shaped
from server.report.words import LABELS, long_day, moment, platform_name, printable
from server.store.migrate import require_current
from server.store.store import Store

_STYLES = {
    "pass": "bold green", "fail": "bold red", "stale": "bold yellow", "no_data": "bold yellow",
    "error": "bold magenta", "not_applicable": "bold", "exempt": "bold blue",
}  # fmt: skip
_LONGEST_VALUE = 300


@click.command()
@click.argument("device", metavar="DEVICE")
@click.argument("control", metavar="CONTROL")
@click.option("--day", type=click.DateTime(["%Y-%m-%d"]), metavar="DAY", help="The day.  [default: the newest judged]")
@click.option(
    "--rows", default=explaining.ROWS, show_default=True, type=click.IntRange(1, explaining.MOST_ROWS),
    help="Deciding rows at most.",
)  # fmt: skip
@click.option("--offset", default=0, type=click.IntRange(0), help="Leave so many of them out first.")
@database_option
@applied_packs_option
@json_option
def explain(
    device: str, control: str, day: datetime | None, rows: int, offset: int, database: str, packs: Path | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Explain why DEVICE has its verdict of CONTROL on a day.

    DEVICE is its id, the beginning of that, its hostname or its serial number. Shown are the status and since when, the
    rows that decided with the time they were true, the answer that counts, what is missing where there is none, the
    query and the rule in their versions, the packs that judged, exemptions, and revisions. A day of the past is
    explained by the packs it was judged by. Nothing is written.
    """
    asked = Question(device, control, day.date().isoformat() if day else None)
    found = run(_explain(database, packs, asked, rows, offset))
    if isinstance(found, ExplainError):
        _refuse(found)
    elif as_json:
        print_json(shaped(found))
    else:
        print_any(Group(*_shown(found)))


async def _explain(
    url: str, packs: Path | None, asked: Question, limit: int, offset: int
) -> Explanation | ExplainError:
    async with opened_database(url) as database:
        await require_current(database.driver)
        store = Store(database.driver, await packs_for(database.driver, packs))
        try:
            return await explaining.explain(store, asked, limit=limit, offset=offset)
        except ExplainError as error:
            return error


def _refuse(error: ExplainError) -> None:
    lines = [str(error)]
    for one in error.candidates:
        state = "erased" if one["erased_at"] else "retired" if one["retired_at"] else "last heard of"
        when = one["erased_at"] or one["retired_at"] or one["last_seen_at"]
        name = printable(one["hostname"] or "no hostname")
        lines.append(f"  {one['device_id']}  {name}  {platform_name(one['platform'])}, {state} {moment(when)}")
    fail("\n".join(lines), FAILED)


def _shown(it: Explanation) -> Iterator[RenderableType]:
    device = it.device
    name = printable(device.hostname) if device.hostname else device.device_id
    yield Text.assemble((f"{name}", "bold"), f"  {platform_name(device.platform)}, {device.device_id}")
    yield Text.assemble((it.title, "bold"), f"  {it.control}, {it.severity} severity")
    yield Text("")
    verdict = it.verdict
    label = LABELS[verdict.status].upper() + (" · LAPSED" if verdict.lapsed else "")
    provisional = "  provisional" if it.day.provisional else ""
    yield Text.assemble((label, _STYLES[verdict.status]), f"  on {long_day(it.day.day)}{provisional}")
    for line in (words.summary(it), words.since(it), words.state(it)):
        yield Text(printable(line))
    if it.evidence and it.evidence.count:
        yield Text("")
        yield Text(words.rows_heading(it), style="bold")
        yield from _rows(it.evidence)
    for lapse in it.lapses:
        yield Text("")
        yield Text(words.lapse_words(lapse), style="bold")
        yield from _rows(lapse.evidence)
    for part in words.parts(it):
        yield Text("")
        yield Text(part.heading, style="bold")
        for line in part.lines:
            for piece in line.splitlines():
                yield Padding(Text(printable(piece.strip())), (0, 0, 0, 2), expand=False)


def _rows(evidence: Evidence) -> Iterator[RenderableType]:
    for row in evidence.rows:
        yield Padding(_row(row), (0, 0, 0, 2), expand=False)
    if not evidence.offset and evidence.more:
        yield Padding(
            Text(f"… and {evidence.count - len(evidence.rows):,} more (--rows, --offset)", style="dim"), (0, 0, 0, 2)
        )


def _row(row: DecidingRow) -> RenderableType:
    """A row's deciding values first, then the others, and since when it is there."""
    line = Text()
    for cell in row.cells:
        text = printable(cell.value)
        if len(text) > _LONGEST_VALUE:
            text = f"{text[:_LONGEST_VALUE]}… ({len(text):,} characters)"
        line.append(f"{cell.column}: ", style="" if cell.decides else "dim")
        line.append(text or "(empty)", style="bold" if cell.decides else "dim")
        line.append("  ")
    lines = [line]
    for call, value in row.looked_up.items():
        lines.append(Text(f"  {call} = {printable(value)}"))
    lines.append(Text(f"  {words.interval_words(row.valid_from, row.valid_to)}"))
    return Group(*lines)
