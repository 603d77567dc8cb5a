"""``muster packs list``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from itertools import groupby
from pathlib import Path

import click
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from server.catalog.catalog import Catalog
from server.catalog.overview import ControlOverview, CriterionOverview, controls_of, criteria_of
from server.catalog.problems import did_you_mean
from server.cli.options import json_option, loaded, packs_option, print_json

_SHORT = {"darwin": "mac", "linux": "linux", "windows": "win"}
_COLOURS = {"observed": "green", "documented": "", "draft": "yellow"}
_PIPE_WIDTH = 10_000


@click.command(name="list")
@packs_option
@click.option("--framework", metavar="ID", help="This framework's criteria, with the controls that answer to them.")
@json_option
def list_packs(packs: Path, framework: str | None, as_json: bool) -> None:
    """List the controls by area: how sure each rule is, its cases, the packs that ask it, the criteria it is for.

    With --framework the criteria of a framework, each with what supports it, in part or whole, or why nothing does.
    """
    catalog = loaded(packs)
    if framework is not None and framework not in catalog.frameworks:
        hint = did_you_mean(framework, catalog.frameworks) if catalog.frameworks else "these packs have none"
        raise click.UsageError(f"there is no framework {framework!r}; {hint}".rstrip("; "))
    if framework is not None:
        criteria = criteria_of(catalog, framework)
        if as_json:
            print_json([asdict(criterion) for criterion in criteria])
        else:
            _print_criteria(catalog, framework, criteria)
        return
    controls = controls_of(catalog)
    if as_json:
        print_json([_as_json(control) for control in controls])
    else:
        _print_controls(catalog, controls)


def _console() -> Console:
    """The terminal; lines of a pipe are not broken, so that they can be searched."""
    console = Console()
    return console if console.is_terminal else Console(width=_PIPE_WIDTH)


def _print_controls(catalog: Catalog, controls: list[ControlOverview]) -> None:
    """A line a control, its columns the same in all areas; on a terminal its criteria go below it."""
    console = _console()
    confidences = [_confidence(control) for control in controls]
    widths = (
        max((len(control.control) for control in controls), default=0),
        max((len(confidence.plain) for confidence in confidences), default=0),
    )
    for area, members in groupby(zip(controls, confidences, strict=True), key=lambda pair: pair[0].area):
        console.print(Text(area, "bold"))
        for control, confidence in members:
            line = Text(f"  {control.control.ljust(widths[0])}  ")
            line.append_text(confidence).append(" " * (widths[1] - len(confidence.plain)))
            line.append(f"  {sum(control.cases.values()):>3} cases  ").append(", ".join(control.packs) or "in no pack")
            criteria = _criteria(control)
            if console.is_terminal:
                console.print(line)
                if criteria:
                    console.print(Padding(Text(criteria, "dim"), (0, 0, 0, 6), expand=False))
            else:
                console.print(line.append(f"  {criteria}" if criteria else ""))
        console.print()
    console.print(_summary(catalog, controls), soft_wrap=True, highlight=False)


def _confidence(control: ControlOverview) -> Text:
    """As ``mac observed, linux draft``, the platforms of one confidence together."""
    text = Text()
    ranks = list(_COLOURS)
    ordered = sorted(control.confidence.items(), key=lambda pair: ranks.index(pair[1]))
    for confidence, platforms in groupby(ordered, key=lambda pair: pair[1]):
        text.append(", " if text else "")
        text.append(f"{confidence} {'+'.join(_SHORT[platform] for platform, _ in platforms)}", _COLOURS[confidence])
    return text


def _criteria(control: ControlOverview) -> str:
    """As ``soc2 CC6.1, in part CC6.7``."""
    said = []
    for framework, criteria in control.criteria.items():
        whole = ", ".join(name for name, open_ in criteria if not open_)
        part = ", ".join(name for name, open_ in criteria if open_)
        said.append(f"{framework} " + ", ".join(filter(None, (whole, part and f"in part {part}"))))
    return "; ".join(said)


def _summary(catalog: Catalog, controls: list[ControlOverview]) -> str:
    rules = [confidence for control in controls for confidence in control.confidence.values()]
    counts = ", ".join(f"{rules.count(confidence)} {confidence}" for confidence in _COLOURS)
    cases = sum(sum(control.cases.values()) for control in controls)
    frameworks = ", ".join(catalog.frameworks) or "none"
    return f"{len(controls)} controls, rules: {counts}; {cases} cases; frameworks: {frameworks}."


def _print_criteria(catalog: Catalog, framework: str, criteria: list[CriterionOverview]) -> None:
    """A line a criterion in a pipe; on a terminal its answers go below it, a line each or more."""
    console = _console()
    console.print(catalog.frameworks[framework].title, style="bold", highlight=False)
    console.print(catalog.frameworks[framework].edition, highlight=False)
    for criterion in criteria:
        answers = list(_answers(criterion))
        if console.is_terminal:
            console.print(_hanging(len(criterion.criterion), Text(criterion.criterion, "bold"), criterion.says))
            for kind, answer in answers:
                console.print(Padding(_hanging(8, Text(kind), answer), (0, 0, 0, 5), expand=False))
        else:
            line = Text(f"{criterion.criterion}  {criterion.says}")
            for kind, answer in answers:
                line.append(f"  {kind}: ").append_text(answer)
            console.print(line)
    console.print()
    whole = sum(bool(criterion.supports) for criterion in criteria)
    none = sum(bool(criterion.none) for criterion in criteria)
    part = len(criteria) - whole - none
    said = f"{len(criteria)} criteria: {whole} supported, {part} in part, {none} by no control."
    console.print(said, soft_wrap=True, highlight=False)


def _hanging(width: int, head: Text, said: Text | str) -> Table:
    """Words beside a head, so that their second line begins below the first."""
    table = Table.grid(padding=(0, 2))
    table.add_column(width=width)
    table.add_row(head, said)
    return table


def _answers(criterion: CriterionOverview) -> Iterator[tuple[str, Text]]:
    """What answers to it, by the keys of the file: all that supports it together, the rest one by one."""
    if criterion.supports:
        yield "supports", Text(", ").join(_control(criterion, control) for control in criterion.supports)
    for control, open_ in criterion.partly.items():
        yield "partly", _control(criterion, control).append(f": {open_}", "dim")
    if criterion.none:
        yield "none", Text(criterion.none, "dim")


def _control(criterion: CriterionOverview, control: str) -> Text:
    """Its id, and whether it is judged at all."""
    idle = control in criterion.idle
    text = Text().append(control, "yellow" if idle else "green")
    return text.append(" (not judged: a draft, or in no pack)" if idle else "", "yellow")


def _as_json(control: ControlOverview) -> dict[str, object]:
    criteria = {
        framework: [{"criterion": name, "leaves_open": open_ or None} for name, open_ in found]
        for framework, found in control.criteria.items()
    }
    return {**asdict(control), "criteria": criteria}
