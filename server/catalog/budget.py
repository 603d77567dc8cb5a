"""What the queries of a day cost a device, by their own headers."""

from __future__ import annotations

from collections.abc import Iterator

from server.catalog.asked import asked
from server.catalog.catalog import Catalog
from server.catalog.problems import Problem
from server.catalog.schema import PLATFORMS
from server.normalize.times import DAY


def seconds_a_day(catalog: Catalog, platform: str) -> dict[str, float]:
    """The seconds each scheduled query of a platform takes in a day. Of several packs with discovery one counts."""
    return {name: query.cost_seconds * DAY / query.interval for name, query in asked(catalog, platform).items()}


def check_budget(catalog: Catalog) -> Iterator[Problem]:
    """A platform whose queries take more of a device's day than the fleet's budget; it names the dearest."""
    budget = catalog.fleet.budget_seconds_a_day
    for platform in PLATFORMS:
        costs = seconds_a_day(catalog, platform)
        if sum(costs.values()) <= budget:
            continue
        dearest = sorted(costs, key=lambda name: (-costs[name], name))[:3]
        named = ", ".join(f"{name} {costs[name]:.3g} s" for name in dearest)
        what = f"queries for {platform} take {sum(costs.values()):.4g} s a day, more than the budget of {budget} s"
        hint = f"the dearest: {named}; ask them less often, or raise budget_seconds_a_day in fleet.yaml"
        first = catalog.queries[dearest[0], platform]
        yield Problem(first.file, first.header.line("cost"), what, hint)
