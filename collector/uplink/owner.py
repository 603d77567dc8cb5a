"""What the uplink does for the device's owner: the policy's tables kept at hand, and the control socket's deeds."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from collector.openness.control import Control
from collector.openness.sources import Sources
from collector.policy import DeviceTables, Policy
from collector.spool import LANES
from collector.uplink.context import Component, Context

if TYPE_CHECKING:  # thrift is loaded when it is first needed
    from collector.osqueryd import QueryResult

OSQUERY_SECONDS = 10.0
TABLES_SECONDS = 600.0
"""Between two looks at which tables osqueryd has, for the extension, which cannot ask while it is asked."""
NO_EVIDENCE = "nothing takes it here"

log = logging.getLogger("uplink.owner")


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


class Deeds:
    """What a sync does. ``evidence`` and ``verdicts`` are the parts that take and fetch them."""

    def __init__(
        self,
        context: Context,
        evidence: Callable[[], Awaitable[str]] | None = None,
        verdicts: Callable[[], Awaitable[bool]] | None = None,
    ) -> None:
        self._context = context
        self._evidence = evidence
        self._verdicts = verdicts

    async def evidence(self) -> str:
        """Take what is missing of the day's evidence."""
        return await self._evidence() if self._evidence else NO_EVIDENCE

    def send(self) -> None:
        """Send what waits."""
        self._context.sender.network_is_back()
        for lane in LANES:
            self._context.sender.wake(lane)

    async def verdicts(self) -> bool:
        """Ask the server how the device fares."""
        return await self._verdicts() if self._verdicts else False


def owner_components(context: Context, policy: Policy, deeds: Deeds) -> list[Component]:
    """The components for the owner."""
    sources = Sources(
        context.settings, context.spool, policy, context.osquery, context.standing, context.sender.sent.names
    )
    return [TablesKept(policy), Control(sources, deeds)]
