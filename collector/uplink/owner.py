"""What the uplink does for the device's owner: the policy's tables kept at hand, and the control socket's deeds."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from collector.evidence.evidence import Evidence
from collector.openness.control import Control
from collector.openness.sources import Sources
from collector.policy import DeviceTables, Policy
from collector.spool import LANES, LOG
from collector.uplink.context import Component, Context

if TYPE_CHECKING:  # thrift is loaded when it is first needed
    from collector.osqueryd import QueryResult

OSQUERY_SECONDS = 10.0
TABLES_SECONDS = 600.0
"""Between two looks at which tables osqueryd has, for the extension, which cannot ask while it is asked."""


def policy_of(context: Context) -> Policy:
    """The device's own policy."""

    def ask(sql: str) -> QueryResult:
        connection = context.osquery(OSQUERY_SECONDS)
        try:
            return connection.query(sql)
        finally:
            connection.close()

    return Policy.load(context.settings.policy_file, DeviceTables(context.spool, ask))


class TablesKept:
    """The component that has osqueryd say its tables now and then, while the policy denies any: they are noted."""

    name = "tables"

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    async def run(self) -> None:
        """Look, until cancelled."""
        while True:
            await asyncio.to_thread(lambda: self._policy.rules.reads and self._policy.tables())
            await asyncio.sleep(TABLES_SECONDS)


def evidence_of(context: Context, policy: Policy) -> Evidence:
    """The component that takes the day's evidence."""
    return Evidence(
        context.spool,
        context.osquery,
        lambda sql: policy.check(sql, live=False),
        context.turns,
        lambda: context.sender.wake(LOG),
    )


class TakesEvidence(Protocol):
    """Who takes the day's evidence."""

    async def evidence_now(self) -> object:
        """Take all of it; what comes back says in words what was done."""


class Fetches(Protocol):
    """Who hears from the server."""

    async def fetch(self) -> bool:
        """Have it say what is new; whether it did."""


class Deeds:
    """What a sync does."""

    def __init__(self, context: Context, evidence: TakesEvidence, server: Fetches) -> None:
        self._context = context
        self._evidence = evidence
        self._server = server

    async def evidence(self) -> str:
        """Take the day's evidence."""
        return str(await self._evidence.evidence_now())

    def send(self) -> None:
        """Send what waits."""
        self._context.sender.network_is_back()
        for lane in LANES:
            self._context.sender.wake(lane)

    async def verdicts(self) -> bool:
        """Ask the server how the device fares."""
        return await self._server.fetch()


def owner_components(context: Context, policy: Policy, deeds: Deeds) -> list[Component]:
    """The components for the owner."""
    sources = Sources(
        context.settings, context.spool, policy, context.osquery, context.standing, context.sender.sent.names
    )
    return [TablesKept(policy), Control(sources, deeds)]
