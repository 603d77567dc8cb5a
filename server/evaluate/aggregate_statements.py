"""The statements that judge by rules of several queries: what the rule says of each device, and of its day. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from server.evaluate.aggregates import Aggregate, Asked
from server.evaluate.language import text_literal
from server.evaluate.population import Devices
from server.evaluate.sources import Moment, Shape
from server.evaluate.statements import NEWS, with_tables
from server.normalize.calendar import Day
from server.store.tables import QueryTable

ONE_DEVICE = Moment("(SELECT m.device_no FROM m)", "(SELECT m.until_at FROM m)")
"""The moment of ``evidence_of``."""
_JUST_AFTER = "~"
"""Behind an instant's text: after that instant, and before the next second, as texts are compared by their bytes."""


def shapes_of(tables: Mapping[str, QueryTable]) -> dict[str, Shape]:
    """The tables of queries as rules see them, by the queries' names."""
    return {
        name: Shape({column.sql_name.lower(): column.kind for column in table.columns}, table.rows_name)
        for name, table in tables.items()
    }


def codes(aggregate: Aggregate, moments: str) -> str:
    """What a rule says of devices: device_no and a code (``verdicts.HOLDS`` and its like), a row per device.

    ``moments`` is a SELECT of device_no and until_at, a text: rows count that began before it and had not ended then.
    For the state at the end of a day it is the day's end.
    """
    return f"{with_tables(*aggregate.lists)}SELECT m.device_no, {aggregate.code} AS code FROM ({moments}) m"


def at_end(devices: Devices) -> str:
    """The moments of the devices of a platform. Parameters: the instant, the platform, the devices'."""
    return (
        "SELECT d.device_no, CAST(? AS TEXT) AS until_at FROM muster_devices d"
        f" WHERE d.platform = ? AND {devices.of('d')}"
    )


def changed(tables: Iterable[QueryTable], devices: Devices, day: Day) -> str:
    """The devices of a platform of which a row became true or ended within a day. Parameters: platform, devices'."""
    first, past = text_literal(day.starts_at), text_literal(day.ends_at)
    own = "c.device_no = d.device_no AND c.muster_superseded_seq IS NULL"
    either = " OR ".join(
        f"EXISTS (SELECT 1 FROM {table.rows_name} c WHERE {own} AND c.valid_to IS NULL AND c.valid_from >= {first}"
        f" AND c.valid_from < {past}) OR EXISTS (SELECT 1 FROM {table.rows_name} c WHERE {own}"
        f" AND c.valid_to IS NOT NULL AND c.valid_to >= {first} AND c.valid_from < {past}"
        f" AND (c.valid_to < {past} OR c.valid_from >= {first}))"
        for table in tables
    )
    return f"SELECT d.device_no FROM muster_devices d WHERE d.platform = ? AND {devices.of('d')} AND ({either})"


def within(aggregate: Aggregate, judged: Sequence[tuple[QueryTable, str]], devices: Devices, day: Day) -> str:
    """What a rule said of devices at the answers within a day that said something new, as ``codes`` does.

    ``judged`` are the tables of the rule's queries with the versions of them it is for. Rows of the other queries count
    as they were at that instant, so the device must have answered each of them that day by then. Parameters: the
    devices'.
    """
    span = f"i.at >= {text_literal(day.starts_at)} AND i.at < {text_literal(day.ends_at)}"
    names = ", ".join(text_literal(table.name) for table, _ in judged)
    said = (
        f"said AS (SELECT i.device_no, i.at, {NEWS} AS news FROM muster_instants i"
        f" WHERE {devices.of('i')} AND i.table_name IN ({names}) AND {span}"
        " WINDOW w AS (PARTITION BY i.device_no, i.table_name ORDER BY i.at))"
    )
    moments = (
        f"moments AS (SELECT DISTINCT s.device_no, s.at, s.at || '{_JUST_AFTER}' AS until_at FROM said s"
        " WHERE s.news = 1)"
    )
    answered = " AND ".join(
        "(SELECT i.status || ' ' || i.version FROM muster_instants i WHERE i.device_no = m.device_no"
        f" AND i.table_name = {text_literal(table.name)} AND {span} AND i.at <= m.at"
        f" ORDER BY i.at DESC LIMIT 1) = {text_literal(f'ok {version}')}"
        for table, version in judged
    )
    head = with_tables(*aggregate.lists, said, moments)
    return f"{head}SELECT m.device_no, {aggregate.code} AS code, m.at FROM moments m WHERE {answered}"


def evidence_of(evidence: Asked) -> str:
    """The rows to show of one device, compiled for ``ONE_DEVICE``, in the order of their values, null last.

    Parameters: device_no, the instant until which, how many, from which on. Gives ``evidence.columns``, and how many
    rows there are.
    """
    order = ", ".join(f'CASE WHEN e."{name}" IS NULL THEN 1 ELSE 0 END, e."{name}"' for name in evidence.columns)
    moment = "m AS (SELECT CAST(? AS BIGINT) AS device_no, CAST(? AS TEXT) AS until_at)"
    columns = ", ".join(f'e."{name}"' for name in evidence.columns)
    return (
        f"{with_tables(moment, *evidence.lists.values())}SELECT {columns}, COUNT(*) OVER () FROM ({evidence.sql}) e"
        f" ORDER BY {order} LIMIT ? OFFSET ?"
    )
