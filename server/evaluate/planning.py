"""What applying packs would change: in the packs, on which devices, in tables, for verdicts. Nothing is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from server.catalog.asked import asked
from server.catalog.budget import seconds_a_day
from server.catalog.canary import Selector
from server.catalog.catalog import Catalog
from server.catalog.compare import Change, compare
from server.catalog.config import Configs, config_body
from server.catalog.content import Content
from server.catalog.problems import CatalogError
from server.catalog.schema import PLATFORMS
from server.store import applications
from server.store.applications import Application
from server.store.driver import Driver, Transaction
from server.store.in_force import InForce, Part
from server.store.observed import Watched, devices_in_use
from server.store.registry import read_tables
from server.store.shipped import table_shapes
from server.store.shipping import impossible


@dataclass(frozen=True, slots=True)
class OnPlatform:
    """What becomes of a platform's devices: numbers are (before, after), of the config with all its packs.

    ``reached`` are those of the devices that get these packs, ``changed`` of these the ones whose config is another.
    """

    platform: str
    devices: int
    reached: int
    changed: int
    queries: tuple[int, int]
    config_bytes: tuple[int, int]
    seconds_a_day: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Starts:
    """A control whose verdicts begin anew on a platform, for its query has another version."""

    control: str
    platform: str
    query: str
    devices: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What applying packs of this ``hash`` would change against ``base``; None if nothing was ever applied.

    ``canary`` are the devices it would begin with, by name, and None without a canary. ``packs`` and ``queries`` count
    the devices that each pack with targets reaches and that each changed query is asked on, before and after.
    """

    hash: str
    base: Application | None
    budget: int
    changes: list[Change]
    platforms: list[OnPlatform]
    packs: dict[str, tuple[int, int]]
    queries: dict[str, tuple[int, int]]
    tables: list[str]
    starts: list[Starts]
    canary: list[str] | None
    under_way: int | None
    """The number of the canary that has to end before these packs could be applied."""

    @property
    def devices_changed(self) -> int:
        """How many devices would get another config."""
        return sum(one.changed for one in self.platforms)


async def make_plan(
    driver: Driver, content: Content, after: Catalog, before: InForce, selector: Selector | None
) -> Plan:
    """Compare packs, of which ``after`` is the checked catalog, with those in force.

    Raises ``CatalogError`` for what could not be applied.
    """
    catalogs = [before.base.catalog, after] if selector else [after]
    problems = await driver.read(partial(impossible, catalogs=catalogs))
    if problems:
        raise CatalogError(problems)
    base, canary = await driver.read(applications.in_force)
    fleet = await driver.read(devices_in_use)
    number = await driver.read(applications.next_number)
    known = [(one.device_no, one.device_id, one.tags) for one in fleet]
    chosen = set(applications.choose(selector, number, known)) if selector else {device[0] for device in known}
    reached = [one for one in fleet if one.device_no in chosen]
    was, now = before.base.configs, Configs(after)
    return Plan(
        hash=content.hash,
        base=base,
        budget=after.fleet.budget_seconds_a_day,
        changes=[] if base and base.hash == content.hash else compare(before.base.catalog, after),
        platforms=[_on(platform, before.base, after, now, fleet, reached) for platform in PLATFORMS],
        packs=_by_pack(before.base.catalog, after, was, now, reached),
        queries=_by_query(was, now, reached),
        tables=await driver.read(partial(_tables, catalogs=catalogs)),
        starts=_starts(before.base.catalog, after, now, reached),
        canary=[one.shown for one in reached] if selector else None,
        under_way=canary.number if canary else None,
    )


def _on(
    platform: str, base: Part, after: Catalog, now: Configs, fleet: Sequence[Watched], reached: Sequence[Watched]
) -> OnPlatform:
    here = [one for one in reached if one.platform == platform]
    catalogs = (base.catalog, after)
    queries = [len(asked(catalog, platform)) for catalog in catalogs]
    sizes = [len(config_body(catalog, platform)) for catalog in catalogs]
    costs = [sum(seconds_a_day(catalog, platform).values()) for catalog in catalogs]
    return OnPlatform(
        platform,
        sum(one.platform == platform for one in fleet),
        len(here),
        sum(base.configs.of(one).hash != now.of(one).hash for one in here),
        (queries[0], queries[1]),
        (sizes[0], sizes[1]),
        (costs[0], costs[1]),
    )


def _by_pack(
    before: Catalog, after: Catalog, was: Configs, now: Configs, reached: Sequence[Watched]
) -> dict[str, tuple[int, int]]:
    """The devices that each pack reaches, where they are counted by targets before or after."""
    names = [name for name in sorted({*before.packs, *after.packs})
             if any(name in packs and packs[name].targets for packs in (before.packs, after.packs))]  # fmt: skip
    return {name: (_reached(name, before, was, reached), _reached(name, after, now, reached)) for name in names}


def _reached(name: str, catalog: Catalog, configs: Configs, devices: Sequence[Watched]) -> int:
    pack = catalog.packs.get(name)
    if pack is None:
        return 0
    if pack.targets is None:
        return sum(one.platform in pack.platforms for one in devices)
    return sum(name in configs.reaching(one) for one in devices)


def _by_query(was: Configs, now: Configs, devices: Sequence[Watched]) -> dict[str, tuple[int, int]]:
    counts: dict[str, list[int]] = {}
    for one in devices:
        for position, configs in enumerate((was, now)):
            for name in configs.of(one).asked:
                counts.setdefault(name, [0, 0])[position] += 1
    return {name: (before, after) for name, (before, after) in counts.items()}


def _starts(before: Catalog, after: Catalog, now: Configs, devices: Sequence[Watched]) -> list[Starts]:
    judged = {loaded.control_id for loaded in before.judged()}
    found = []
    for loaded in after.judged():
        if loaded.control_id not in judged:
            continue
        for platform in loaded.control.platforms:
            old = before.controls[loaded.control_id].control.judging_rule(platform)
            rule = loaded.control.judging_rule(platform)
            if old is None or rule is None:
                continue
            known = {(name, before.queries[name, platform].version) for name in old.queries}
            for name in rule.queries:
                if (name, after.queries[name, platform].version) in known:
                    continue
                asks = sum(one.platform == platform and name in now.of(one).asked for one in devices)
                found.append(Starts(loaded.control_id, platform, name, asks))
    return found


async def _tables(tx: Transaction, catalogs: Sequence[Catalog]) -> list[str]:
    """What becomes of the tables."""
    tables = await read_tables(tx)
    lines = []
    for query, (mode, columns) in sorted(table_shapes(*catalogs).items()):
        table = tables.get(query)
        if table is None:
            lines.append(f"{query} is new, of mode {mode}")
            continue
        known: Mapping[str, str] = {column.name: column.kind for column in table.columns}
        for column in columns:
            if column.name not in known:
                lines.append(f"{query} gets the column {column.name} {column.kind}")
            elif known[column.name] != column.kind:
                lines.append(
                    f"{query}.{column.name} becomes {column.kind}, with all that is stored ({known[column.name]})"
                )
    return lines
