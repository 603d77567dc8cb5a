"""Running the cases of controls: a device for each, its rows stored and judged as those of any device are."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time
from itertools import groupby
from typing import Any

from server.catalog.catalog import Catalog, LoadedControl
from server.catalog.controls import Case
from server.catalog.lists import BUILT_IN, ReferenceList
from server.catalog.packs import Pack
from server.evaluate.evidence import Reader
from server.evaluate.judge import evaluate
from server.evaluate.language import RuleError
from server.evaluate.readers import SeveralReader, compile_reader
from server.evaluate.statements import evidence
from server.normalize.answers import answers_of
from server.normalize.calendar import Day, day_of
from server.normalize.devices import DeviceFacts
from server.normalize.minimise import Minimiser
from server.normalize.names import scheduled_name
from server.normalize.rows import typed_row
from server.store.devices import Device, find_or_add
from server.store.driver import Driver, Transaction
from server.store.store import Store
from server.store.tables import QueryTable
from server.wire.log import parse_log
from server.wire.messages import LogBody

TOGETHER = 50
"""Bodies on their way to the store at a time."""
_SINCE_1970 = 36_500
_MOST_SHOWN = 10_000
_ANSWERS, _JUDGES = time(12), time(13)
"""When on its day a case's device answers, and when it is judged; UTC."""


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What a case came to. ``problem`` is why it could not be judged.

    ``evidence`` are positions of its rows; of a rule of several queries ``evidence_rows`` are what its evidence gives.
    """

    control: str
    case: Case
    file: str
    line: int
    status: str
    reason: str | None
    evidence: list[int] = field(default_factory=list)
    evidence_rows: list[dict[str, Any]] = field(default_factory=list)
    problem: str = ""

    @property
    def passed(self) -> bool:
        """Whether it came to what the case says."""
        right = (self.status, self.reason) == (self.case.status, self.case.reason) and not self.problem
        if self.case.evidence_rows is not None:
            right = right and _unordered(self.case.evidence_rows) == _unordered(self.evidence_rows)
        return right and self.case.evidence in (None, self.evidence)


def _unordered(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    return sorted(repr(sorted(row.items())) for row in rows)


@dataclass(frozen=True, slots=True)
class _Planned:
    """A case, the control it is of, and the line it begins on."""

    loaded: LoadedControl
    case: Case
    line: int

    @property
    def world(self) -> tuple[date, str]:
        """What cases that are judged together have in common: the day, and what Muster knows of people and devices."""
        return self.case.day, json.dumps(self.case.lists, sort_keys=True)


async def run_cases(driver: Driver, catalog: Catalog, controls: Iterable[str] | None = None) -> list[CaseResult]:
    """Run the cases of these controls, or of all, on an empty, migrated database. Draft rules are judged too."""
    chosen = [catalog.controls[control] for control in sorted(controls if controls is not None else catalog.controls)]
    planned = [_Planned(loaded, case, line) for loaded in chosen for case, line in _cases(loaded)]
    results: dict[int, CaseResult] = {}
    ordered = sorted(enumerate(planned), key=lambda pair: pair[1].world)
    for _, group in groupby(ordered, key=lambda pair: pair[1].world):
        numbers, cases = zip(*group, strict=True)
        found = [result async for result in _run_world(driver, catalog, str(numbers[0]), cases)]
        results |= dict(zip(numbers, found, strict=True))
    return [results[number] for number in range(len(planned))]


def _cases(loaded: LoadedControl) -> Iterable[tuple[Case, int]]:
    return zip(loaded.cases, loaded.case_lines, strict=True)


def as_judged(catalog: Catalog, controls: Iterable[str], lists: Mapping[str, Sequence[Sequence[str]]]) -> Catalog:
    """The catalog in which exactly these controls are asked of every device, drafts too, and no rule minimises.

    The built-in lists have the entries in ``lists``. What is never stored is not stored here either.
    """
    judged = {control: _no_draft(catalog.controls[control]) for control in sorted(set(controls))}
    pack = Pack.model_validate({"title": "Cases", "controls": list(judged)})
    return replace(
        catalog,
        controls=judged,
        packs={"cases": pack},
        lists={**catalog.lists, **{name: _filled(name, lists.get(name, ())) for name in BUILT_IN}},
        minimisation=catalog.minimisation.never_only(),
    )


def _filled(name: str, entries: Sequence[Sequence[str]]) -> ReferenceList:
    """A built-in list with these entries in place of Muster's own; values that are not given are null."""
    columns = BUILT_IN[name].columns
    padded = tuple((*entry, *(None,) * (len(columns) - len(entry))) for entry in entries)
    return ReferenceList(name, name, "", columns, BUILT_IN[name].key, padded, "", "")


def _no_draft(loaded: LoadedControl) -> LoadedControl:
    rules = {
        platform: rule.model_copy(update={"confidence": "documented"}) if rule.confidence == "draft" else rule
        for platform, rule in loaded.control.platforms.items()
    }
    return replace(loaded, control=loaded.control.model_copy(update={"platforms": rules}))


async def _run_world(
    driver: Driver, catalog: Catalog, name: str, planned: Sequence[_Planned]
) -> AsyncIterator[CaseResult]:
    """Run cases of one day with the same lists, on devices of that name."""
    day = planned[0].case.day
    view = as_judged(catalog, (one.loaded.control_id for one in planned), planned[0].case.lists)
    judged_at = datetime.combine(day, _JUDGES, UTC).timestamp()
    store = Store(driver, view, max_age_days=_SINCE_1970, clock=lambda: judged_at)
    await store.ship()
    devices = await _devices(store, name, planned)
    bodies = [_body(view, one) for one in planned]
    problems: list[str] = []
    for start in range(0, len(planned), TOGETHER):
        part = slice(start, start + TOGETHER)
        done = await asyncio.gather(*map(store.ingest, devices[part], bodies[part]))
        problems += ["; ".join(f"a row was not stored: {line.reason}" for line in one.rejected) for one in done]
    await evaluate(store, day, day)
    verdicts = await _verdicts(store, day)
    tables, bounds = await store.read(store.tables), day_of(day, "UTC")
    for one, device, body, why in zip(planned, devices, bodies, problems, strict=True):
        control = one.loaded.control_id
        status, reason = verdicts.get((device.device_no, control), ("no verdict", None))
        rule = one.loaded.control.platforms[one.case.platform]
        positions: list[int] = []
        shown: list[dict[str, Any]] = []
        try:
            asked = compile_reader(rule, bounds, tables, view.lists)
        except RuleError as error:
            why = f"the rule is broken: {error}"
        else:
            if isinstance(asked, Reader):
                rows = await _evidence(store, device, asked, status, bounds)
                positions = _positions(rows, _sent(view, body, device, asked.table))
            else:
                shown = await _shown(store, device, asked, status, bounds)
        yield CaseResult(control, one.case, one.loaded.cases_file, one.line, status, reason, positions, shown, why)


async def _devices(store: Store, world: str, planned: Sequence[_Planned]) -> list[Device]:
    async def work(tx: Transaction) -> list[Device]:
        devices = []
        for number, one in enumerate(planned):
            name = f"case-{world}-{number}"
            facts = DeviceFacts(
                hostname=name,
                hardware_uuid=name,
                serial="",
                platform=one.case.platform,
                os_name="",
                os_version="",
                osquery_version=store.catalog.schema.version,
            )
            device_no = await find_or_add(tx, facts, store.clock())
            devices.append(Device(device_no, facts.hostname, one.case.platform))
        return devices

    return await store.write(work)


def _body(view: Catalog, one: _Planned) -> LogBody:
    """The case's rows as osquery sends them: as snapshots of the control's queries."""
    rule, platform = one.loaded.control.platforms[one.case.platform], one.case.platform
    at = int(datetime.combine(one.case.day, _ANSWERS, UTC).timestamp())
    lines = [
        {
            "snapshot": rows,
            "action": "snapshot",
            "name": scheduled_name(name, view.queries[name, platform].version),
            "hostIdentifier": "case",
            "calendarTime": "",
            "unixTime": at,
            "epoch": 0,
            "counter": 0,
            "numerics": False,
        }
        for name, rows in one.case.answers(rule).items()
    ]
    return parse_log(json.dumps({"node_key": "case", "log_type": "result", "data": lines}).encode())


async def _verdicts(store: Store, day: date) -> dict[tuple[int, str], tuple[str, str | None]]:
    async def work(tx: Transaction) -> dict[tuple[int, str], tuple[str, str | None]]:
        found = await tx.rows(
            "SELECT d.device_no, p.control, p.status, p.reason FROM posture p"
            " JOIN muster_devices d ON d.device_id = p.device_id WHERE p.day = ?",
            (day.isoformat(),),
        )
        return {(device_no, control): (status, reason) for device_no, control, status, reason in found}

    return await store.read(work)


async def _evidence(store: Store, device: Device, asked: Reader, status: str, day: Day) -> list[tuple[Any, ...]]:
    """The rows that decide, with every value as it is stored."""
    parameters = (device.device_no, day.ends_at, day.ends_at)
    return await store.read(lambda tx: tx.rows(evidence(asked.table, asked.rule, status), parameters))


async def _shown(store: Store, device: Device, asked: SeveralReader, status: str, day: Day) -> list[dict[str, Any]]:
    """The rows that the evidence of a rule of several queries gives."""
    found = await store.read(lambda tx: asked.rows(tx, status, device.device_no, day.ends_at, _MOST_SHOWN))
    return [{cell.column: cell.value for cell in row.cells} for row in found.rows]


def _sent(view: Catalog, body: LogBody, device: Device, table: QueryTable) -> list[tuple[Any, ...]]:
    """The case's rows as they are stored, in the order of the case."""
    answers = Minimiser(view.minimisation).answers(answers_of(body.results, device.platform), device.platform)
    return [typed_row(row, table.columns).values for answer in answers for row in answer.added]


def _positions(rows: Iterable[tuple[Any, ...]], sent: Sequence[tuple[Any, ...]]) -> list[int]:
    places: dict[tuple[Any, ...], list[int]] = {}
    for position, values in enumerate(sent):
        places.setdefault(values, []).append(position)
    return sorted(places[values].pop(0) for values in rows)
