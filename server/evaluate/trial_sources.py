"""What a trial's rules have to go by: whether, since when and in which version their queries were answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from server.catalog.trial import Trial
from server.store.driver import Transaction
from server.store.tables import QueryTable


@dataclass(frozen=True, slots=True)
class Source:
    """A query that a rule of the trial judges on a platform, and what is stored of it.

    ``answered_from`` is the instant of its first answer, null where there was none; ``version_from`` that of the first
    one to the version the rule is for. ``missing_columns`` are the query's that its table does not have.
    """

    platform: str
    query: str
    version: str
    answered_from: str | None
    version_from: str | None
    missing_columns: Sequence[str]

    @property
    def remark(self) -> str | None:
        """What stands in the way of a verdict, for people; None where nothing does."""
        what = f"{self.query} on {self.platform}"
        if self.answered_from is None:
            return f"{what} was never collected: its devices have no data"
        if self.version_from is None:
            columns = ", ".join(self.missing_columns)
            lacks = f", and lacks the columns {columns}" if columns else ""
            return f"{what} was collected in another version than this rule is for{lacks}: its devices are stale"
        return None


async def sources_of(tx: Transaction, trial: Trial, tables: Mapping[str, QueryTable]) -> list[Source]:
    """The queries of a trial, by platform."""
    found = []
    control = trial.catalog.controls[trial.control_id].control
    for platform in sorted(control.platforms):
        rule = control.judging_rule(platform)
        for name in rule.queries if rule else ():
            query, table = trial.catalog.queries[name, platform], tables.get(name)
            since = await _since(tx, table.name, platform, query.version) if table else (None, None)
            stored = {column.name.lower() for column in table.columns} if table else set()
            missing = [column.name for column in query.columns if column.name.lower() not in stored] if table else []
            found.append(Source(platform, query.name, query.version, *since, missing))
    return found


async def _since(tx: Transaction, table: str, platform: str, version: str) -> tuple[str | None, str | None]:
    found = await tx.row(
        "SELECT MIN(c.first_at), MIN(CASE WHEN c.version = ? THEN c.first_at END) FROM muster_coverage c"
        " JOIN muster_devices d ON d.device_no = c.device_no"
        " WHERE c.table_name = ? AND d.platform = ? AND c.status IN ('ok', 'incomplete')",
        (version, table, platform),
    )
    return (found[0], found[1]) if found else (None, None)
