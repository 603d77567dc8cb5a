"""The statements that judge by rules of several queries: what the rule says of each device, and of its day. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from server.evaluate.aggregates import Aggregate, Asked
from server.evaluate.language import text_literal
from server.evaluate.sources import Moment, Shape
from server.evaluate.verdicts import BREAKS, FAIL, NO_ROWS
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
    return f"{_with(aggregate.lists)}SELECT m.device_no, {aggregate.code} AS code FROM ({moments}) m"


def lapses(aggregate: Aggregate, judged: Sequence[tuple[QueryTable, str]], devices: str, first: str, past: str) -> str:
    """The devices of which a rule was broken at an answer between two instants, though perhaps not at the end.

    ``judged`` are the tables of the rule's queries with the versions of them it is for, ``devices`` is a SELECT of the
    device_no of those to look at, whose parameters are the statement's. Looked at are the answers that said something
    new, of devices of which a row of the queries began or ended meanwhile. The other queries' rows count as they were
    at that instant, so the device must have answered each of them since ``first``.
    """
    span = text_literal(first), text_literal(past)
    changed = " UNION ".join(
        f"SELECT c.device_no FROM {table.rows_name} c WHERE c.muster_superseded_seq IS NULL AND"
        " ((c.valid_from >= {0} AND c.valid_from < {1}) OR (c.valid_to >= {0} AND c.valid_to < {1}))".format(*span)
        for table, _ in judged
    )
    same = " AND ".join(f"i.{name} = LAG(i.{name}) OVER w" for name in ("status", "version", "fingerprint"))
    names = ", ".join(text_literal(table.name) for table, _ in judged)
    said = (
        f"SELECT i.device_no, i.at, CASE WHEN {same} THEN 0 ELSE 1 END AS news FROM muster_instants i"
        f" WHERE i.device_no IN (SELECT x.device_no FROM changed x) AND i.device_no IN ({devices})"
        f" AND i.table_name IN ({names}) AND i.at >= {span[0]} AND i.at < {span[1]}"
        " WINDOW w AS (PARTITION BY i.device_no, i.table_name ORDER BY i.at)"
    )
    moments = f"SELECT DISTINCT s.device_no, s.at, s.at || '{_JUST_AFTER}' AS until_at FROM said s WHERE s.news = 1"
    answered = " AND ".join(
        "(SELECT i.status || ' ' || i.version FROM muster_instants i WHERE i.device_no = m.device_no"
        f" AND i.table_name = {text_literal(table.name)} AND i.at >= {span[0]} AND i.at <= m.at"
        f" ORDER BY i.at DESC LIMIT 1) = {text_literal(f'ok {version}')}"
        for table, version in judged
    )
    broken = [BREAKS, NO_ROWS] if aggregate.empty == FAIL else [BREAKS]
    return (
        f"{_with([*aggregate.lists, f'changed AS ({changed})', f'said AS ({said})', f'moments AS ({moments})'])}"
        f"SELECT DISTINCT f.device_no FROM (SELECT m.device_no, {aggregate.code} AS code FROM moments m"
        f" WHERE {answered}) f WHERE f.code IN ({', '.join(map(str, broken))})"
    )


def evidence_of(evidence: Asked, limit: int | None = None) -> str:
    """The rows to show of one device, compiled for ``ONE_DEVICE``. Parameters: device_no, and the instant until which.

    They come in the order of their values, null last. Gives ``evidence.columns``.
    """
    order = ", ".join(f'CASE WHEN e."{name}" IS NULL THEN 1 ELSE 0 END, e."{name}"' for name in evidence.columns)
    moment = "m AS (SELECT CAST(? AS BIGINT) AS device_no, CAST(? AS TEXT) AS until_at)"
    columns = ", ".join(f'e."{name}"' for name in evidence.columns)
    return (
        f"{_with([moment, *evidence.lists.values()])}SELECT {columns} FROM ({evidence.sql}) e ORDER BY {order}"
        f"{'' if limit is None else f' LIMIT {limit}'}"
    )


def _with(tables: Iterable[str]) -> str:
    found = ", ".join(tables)
    return f"WITH {found} " if found else ""
