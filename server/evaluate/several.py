"""The docket of a rule of several queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from server.evaluate import aggregate_statements as statements
from server.evaluate.aggregates import Aggregate
from server.evaluate.dockets import BROKEN, RULE_BROKEN, Docket, Found, Hearing
from server.evaluate.population import Devices
from server.evaluate.verdicts import judge_code
from server.normalize.calendar import Day
from server.store.driver import Transaction
from server.store.tables import QueryTable


@dataclass(frozen=True)
class SeveralDocket:
    """A control that judges what the rows of several queries come to together: a key is what the rule says of them.

    ``tables`` are those of its hearings, in their order; empty where some query was never stored.
    """

    platform: str
    controls: tuple[str]
    hearings: tuple[Hearing, ...]
    tables: tuple[QueryTable, ...]
    aggregate: Aggregate
    day: Day

    async def find(self, tx: Transaction, devices: Devices) -> Found:
        """See ``Docket.find``."""
        if not self.tables:
            return Found({}, set())
        where = (self.platform, *devices.parameters)
        asked = statements.codes(self.aggregate, statements.at_end(devices))
        keys = {number: int(code) for number, code in await tx.rows(asked, (self.day.ends_at, *where))}
        moved = await tx.rows(statements.changed(self.tables, devices, self.day), where)
        return Found(keys, {number for (number,) in moved})

    async def within(self, tx: Transaction, devices: Devices) -> list[tuple[int, int]]:
        """See ``Docket.within``."""
        if not self.tables:
            return []
        judged = [(table, hearing.version) for table, hearing in zip(self.tables, self.hearings, strict=True)]
        asked = statements.within(self.aggregate, judged, devices, self.day)
        return [(number, int(code)) for number, code, _ in await tx.rows(asked, devices.parameters)]

    def outcomes(self, key: int) -> Sequence[tuple[str, str | None]]:
        """See ``Docket.outcomes``."""
        return [RULE_BROKEN if key == BROKEN else judge_code(key, self.aggregate.empty)]

    def parts(self) -> Sequence[Docket]:
        """See ``Docket.parts``."""
        return [self]
