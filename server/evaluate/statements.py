"""The statements that judge: one asks for every device of a platform how its rows stand to a rule. Pure."""

from __future__ import annotations

from server.evaluate.rules import ALWAYS, Rule
from server.evaluate.verdicts import FAIL, NOT_APPLICABLE
from server.store.tables import QueryTable


def _sums(rule: Rule) -> str:
    # Nothing more than is needed: each part is computed for every row wherever it stands.
    outside = "0"
    if rule.applies != ALWAYS:
        outside = f"SUM(CASE WHEN NOT {rule.undecided} AND NOT ({rule.applies}) THEN 1 ELSE 0 END)"
    return (
        f"SUM(CASE WHEN NOT {rule.undecided} AND {rule.holds} THEN 1 ELSE 0 END),"
        f" SUM(CASE WHEN {rule.undecided} THEN 1 ELSE 0 END), {outside}"
    )


def _with(*tables: str) -> str:
    """The beginning of a statement with common table expressions."""
    return f"WITH {', '.join(tables)} " if tables else ""


def counts_at_end(table: QueryTable, rule: Rule) -> str:
    """How the rows true at the end of a day stand to a rule, a row per device that has any.

    Parameters: the day's end, twice. Gives device_no, total, holding, undecided, outside.
    """
    return (
        f"{_with(*rule.lists)}SELECT r.device_no, COUNT(*), {_sums(rule)} FROM {table.rows_name} r{rule.joins}"
        " WHERE r.muster_superseded_seq IS NULL AND r.valid_from < ? AND (r.valid_to IS NULL OR r.valid_to >= ?)"
        " GROUP BY r.device_no"
    )


HEARD = """
SELECT d.device_no, d.in_scope_from,
       CASE WHEN c.first_at IS NULL THEN '' WHEN c.last_at < ? THEN c.last_at WHEN c.first_at > ? THEN c.first_at
            ELSE CAST(? AS TEXT) END,
       COALESCE(c.status, ''),
       COALESCE(CASE WHEN c.version = '?' THEN (
           SELECT v.version FROM muster_coverage v
            WHERE v.device_no = c.device_no AND v.table_name = c.table_name AND v.first_at < c.first_at
              AND v.version <> '?' AND v.status IN ('ok', 'incomplete')
            ORDER BY v.first_at DESC LIMIT 1) ELSE c.version END, ''),
       COALESCE((SELECT MAX(o.first_at) FROM muster_coverage o
                  WHERE o.device_no = d.device_no AND o.table_name = ? AND o.first_at < ?
                    AND o.status IN ('ok', 'incomplete')), '')
  FROM muster_devices d
  LEFT JOIN muster_coverage c
    ON c.device_no = d.device_no AND c.table_name = ?
   AND c.first_at = (SELECT MAX(l.first_at) FROM muster_coverage l
                      WHERE l.device_no = d.device_no AND l.table_name = ? AND l.first_at < ?)
 WHERE d.platform = ? AND (d.retired_at IS NULL OR d.retired_at >= ?) AND d.erased_at IS NULL
"""
"""The last word of every device of a platform on a query before a day's end: that of the last stretch begun before it.

The stretch has it at its end, or, where it goes on over the day's end, at some instant within the day, for which the
day's start or the stretch's own stands. Parameters: end, start, start, table, end, table, table, end, platform, start.
Gives device_no, in_scope_from, at, status, version and an instant at which it had answered, if ever.
"""

PLATFORM_DEVICES = """
SELECT device_no, in_scope_from, CASE WHEN platform = '' AND enrolled_at = '' THEN 1 ELSE 0 END FROM muster_devices
 WHERE platform = ? AND (retired_at IS NULL OR retired_at >= ?) AND erased_at IS NULL
"""
"""Every device of a platform that had not left before a day; the verdicts of erased ones stay as they are.

The third column is 1 for one that never enrolled and is of no known platform. Parameters: platform, the day's start."""


def counts_within(table: QueryTable, rule: Rule) -> str:
    """How the rows stood to a rule at the answers within a day, for the devices that did not say the same all day.

    Of answers that say the same as the word before them only the first is looked at; those to another version of the
    query are left out. Parameters: table name, start, end, platform, then start, end, start, end, and the version.
    Gives device_no, total, holding, undecided, outside, a row per device and answer.
    """
    same = " AND ".join(f"i.{name} = LAG(i.{name}) OVER w" for name in ("status", "version", "fingerprint"))
    said = (
        f"said AS (SELECT i.device_no, i.at, i.status, i.version, CASE WHEN {same} THEN 0 ELSE 1 END AS news"
        " FROM muster_devices d JOIN muster_instants i"
        " ON i.device_no = d.device_no AND i.table_name = ? AND i.at >= ? AND i.at < ? WHERE d.platform = ?"
        f" AND d.device_no IN (SELECT c.device_no FROM {table.rows_name} c WHERE c.muster_superseded_seq IS NULL"
        " AND ((c.valid_from >= ? AND c.valid_from < ?) OR (c.valid_to >= ? AND c.valid_to < ?)))"
        " WINDOW w AS (PARTITION BY i.device_no ORDER BY i.at))"
    )
    several = "several AS (SELECT device_no FROM said WHERE news = 1 GROUP BY device_no HAVING COUNT(*) > 1)"
    return (
        f"{_with(*rule.lists, said, several)}SELECT s.device_no, COUNT(r.device_no), {_sums(rule)} FROM several m"
        " JOIN said s ON s.device_no = m.device_no AND s.news = 1 AND s.status = 'ok' AND s.version = ?"
        f" LEFT JOIN {table.rows_name} r ON r.device_no = s.device_no AND r.muster_superseded_seq IS NULL"
        f" AND r.valid_from <= s.at AND (r.valid_to IS NULL OR r.valid_to > s.at){rule.joins}"
        " GROUP BY s.device_no, s.at"
    )


def evidence(table: QueryTable, rule: Rule, status: str, *also: str) -> str:
    """The rows of one device that decide its status, as of the end of a day.

    A pass has no deciding rows where it rests on the absence of bad ones; where the control does not apply, all the
    rows say so. Parameters: device_no, the day's end, twice. Gives the query's columns, and what is ``also`` asked of
    each row ``r``.
    """
    if status == FAIL:
        decided = f"NOT {rule.undecided} AND "
        deciding = {"every": f"{decided}NOT ({rule.holds})", "none": f"{decided}{rule.holds}", "any": "1 = 1"}[
            rule.quantifier
        ]
    elif status == "error":
        deciding = rule.undecided
    elif status == NOT_APPLICABLE:
        deciding = f"NOT ({rule.applies})"
    else:
        deciding = f"NOT {rule.undecided} AND {rule.holds}" if rule.quantifier != "none" else "1 = 0"
    columns = ", ".join([*(f'r."{column.sql_name}"' for column in table.columns), *also])
    return (
        f"{_with(*rule.lists)}SELECT {columns} FROM {table.rows_name} r{rule.joins} WHERE r.device_no = ?"
        " AND r.muster_superseded_seq IS NULL"
        f" AND r.valid_from < ? AND (r.valid_to IS NULL OR r.valid_to >= ?) AND {deciding}"
        " ORDER BY r.muster_digest, r.muster_ordinal"
    )
