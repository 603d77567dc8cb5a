"""Benches: the rules of a court for a platform, compiled for a day and put into dockets."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from server.catalog.catalog import LoadedControl
from server.catalog.controls import PlatformRule
from server.catalog.lists import BUILT_IN
from server.catalog.queries import Query
from server.evaluate.aggregate_statements import shapes_of
from server.evaluate.aggregates import compile_aggregate
from server.evaluate.courts import Court
from server.evaluate.dockets import BrokenDocket, Docket, Hearing, dockets_of
from server.evaluate.language import RuleError
from server.evaluate.reading import shapes_on
from server.evaluate.rules import Rule, compile_rule, lists_named
from server.evaluate.several import SeveralDocket
from server.normalize.calendar import Calendar, Day
from server.store.news import LIST, QUERY
from server.store.tables import QueryTable

log = logging.getLogger(__name__)


@dataclass
class Bench:
    """The judges of a court for a platform: dockets, the controls none of them is for, and the words they go by."""

    dockets: list[Docket] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    """Controls that have no rule for this platform."""
    unasked: list[str] = field(default_factory=list)
    """Controls that these packs do not have."""
    hearings: list[Hearing] = field(default_factory=list)


@dataclass(frozen=True)
class BenchMaker:
    """Makes the benches of a day; ``tables`` are those of the queries, by name."""

    day: Day
    calendar: Calendar
    tables: Mapping[str, QueryTable]

    def bench(self, court: Court, platform: str, controls: Iterable[str]) -> Bench:
        """The bench of a court for a platform; a rule that its query's table does not bear is a broken one."""
        bench = Bench()
        asked: dict[tuple[Hearing, QueryTable | None], list[tuple[str, Rule]]] = {}
        for control in sorted(controls):
            loaded = court.control(control)
            rule = loaded.control.judging_rule(platform) if loaded else None
            if loaded is None:
                bench.unasked.append(control)
            elif rule is None:
                bench.elsewhere.append(control)
            else:
                try:
                    if rule.sql is not None:
                        bench.dockets.append(self._several(court, loaded, platform, rule))
                        continue
                    hearing, table, compiled = self._compiled(court, loaded, platform, rule)
                    asked.setdefault((hearing, table), []).append((control, compiled))
                except RuleError as error:
                    log.error("control %s on %s: %s", control, platform, error)
                    bench.dockets.append(BrokenDocket(platform, (control,)))
        bench.dockets += dockets_of(platform, self.day, asked)
        bench.hearings = list(dict.fromkeys(one for docket in bench.dockets for one in docket.hearings))
        return bench

    def _compiled(
        self, court: Court, loaded: LoadedControl, platform: str, rule: PlatformRule
    ) -> tuple[Hearing, QueryTable | None, Rule]:
        query = court.catalog.queries[rule.query, platform]
        table = self._stored(query)
        kinds = {column.sql_name: column.kind for column in table.columns} if table else query.kinds
        return self._hearing(query, loaded), table, compile_rule(rule, kinds, court.catalog.lists, self.day)

    def _several(self, court: Court, loaded: LoadedControl, platform: str, rule: PlatformRule) -> Docket:
        """The docket of a rule of several queries. Raises ``RuleError``."""
        queries = {name: court.catalog.queries[name, platform] for name in rule.queries}
        tables = {name: table for name, query in queries.items() if (table := self._stored(query))}
        shapes = shapes_on(court.catalog, platform) | shapes_of(tables)
        hearings = [self._hearing(query, loaded) for query in queries.values()]
        aggregate = compile_aggregate(rule, shapes, court.catalog.lists, self.day)
        all_there = len(tables) == len(hearings)
        stored = tuple(tables.values()) if all_there else ()
        return SeveralDocket(platform, (loaded.control_id,), tuple(hearings), stored, aggregate, self.day)

    def _stored(self, query: Query) -> QueryTable | None:
        """The table of a query's rows; None where it lacks a column, and so has no row of this version."""
        table = self.tables.get(query.name)
        stored = {column.name.lower() for column in table.columns} if table else set()
        return table if query.kinds.keys() <= stored else None

    def _hearing(self, query: Query, loaded: LoadedControl) -> Hearing:
        table = self.tables.get(query.name)
        return Hearing(table.name if table else query.name, query.version, self._fresh_from(loaded))

    def _fresh_from(self, loaded: LoadedControl) -> str:
        days = loaded.control.fresh_within_days - 1
        return self.day.starts_at if not days else self.calendar.starts_before(self.day.day, days)


def reads(
    courts: Iterable[Court], benches: Iterable[Bench], controls: Collection[str]
) -> dict[str, frozenset[tuple[str, str]]]:
    """By control, what news its verdicts rest on: tables of queries, and what fills the lists its rules name."""
    found: dict[str, set[tuple[str, str]]] = {control: set() for control in controls}
    for bench in benches:
        for docket in bench.dockets:
            for control in docket.controls:
                found[control] |= {(QUERY, hearing.table) for hearing in docket.hearings}
    for court in courts:
        for control in controls:
            loaded = court.control(control)
            for rule in loaded.control.platforms.values() if loaded else ():
                own = [BUILT_IN[name] for name in lists_named(rule) if name in BUILT_IN]
                found[control] |= {(LIST, kind) for built_in in own for kind in built_in.filled_from}
    return {control: frozenset(subjects) for control, subjects in found.items()}
