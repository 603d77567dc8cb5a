"""The statements that judge: each asks for many devices how they stand to all the rules over one query. Pure.

A row is classed by each rule: ``OTHER``, ``UNDECIDED`` or ``DECISIVE``, in this order, and of a device's rows the
highest class counts. The classes of all the rules are the digits of one number, which is the device's key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from server.evaluate.population import Devices
from server.evaluate.rules import ALWAYS, Rule
from server.evaluate.verdicts import FAIL, NOT_APPLICABLE
from server.store.tables import QueryTable

NO_ROW, OTHER, UNDECIDED, DECISIVE = range(4)
DIGITS = 30
"""Classes that fit into one whole number of a database, each taking two bits."""
MOST_TABLES = 48
"""Joins of one statement; SQLite takes 64 tables in a SELECT."""
_SAME = " AND ".join(f"i.{name} = LAG(i.{name}) OVER w" for name in ("status", "version", "fingerprint"))
NEWS = f"CASE WHEN {_SAME} THEN 0 ELSE 1 END"
"""Whether an instant ``i`` says anything but what the one before it in the window ``w`` said, in SQL."""


def classes(rule: Rule) -> list[str]:
    """The class of a row ``r`` by a rule and, where the rule has a condition of applicability, by that."""
    holds = {"every": (OTHER, DECISIVE), "none": (DECISIVE, OTHER), "any": (DECISIVE, OTHER)}[rule.quantifier]
    made = [_class(rule.undecided, rule.holds, *holds)]
    if rule.applies != ALWAYS:
        made.append(_class(rule.undecided, rule.applies, DECISIVE, OTHER))
    return made


def _class(undecided: str, condition: str, true: int, false: int) -> str:
    return f"CASE WHEN {undecided} THEN {UNDECIDED} WHEN {condition} THEN {true} ELSE {false} END"


@dataclass(frozen=True)
class Classing:
    """How the rows of a table are classed by several rules."""

    table: QueryTable
    rules: Sequence[Rule]

    @property
    def _lists(self) -> list[str]:
        return list(dict.fromkeys(one for rule in self.rules for one in rule.lists))

    @property
    def _joins(self) -> str:
        return "".join(dict.fromkeys(one for rule in self.rules for one in rule.joined))

    def _key(self, only: str = "") -> str:
        """The key of a device's rows; of those, where a condition is given, for which it is true."""
        parts: list[str] = []
        for rule in self.rules:
            for digit in classes(rule):
                one = f"CASE WHEN {only} THEN {digit} ELSE {NO_ROW} END" if only else digit
                parts.append(f"CAST(MAX({one}) AS BIGINT) * {4 ** len(parts)}")
        return " + ".join(parts)

    def open_rows(self, devices: Devices) -> str:
        """The key of the rows held to be true still, of devices that have any.

        The second column is 1 where some row became true within the day. Parameters: the day's start, platform, the
        devices', the day's end.
        """
        return (
            f"{with_tables(*self._lists)}SELECT r.device_no, {self._key()},"
            " MAX(CASE WHEN r.valid_from >= ? THEN 1 ELSE 0 END)"
            f" FROM muster_devices d CROSS JOIN {self.table.rows_name} r{self._joins}"
            f" WHERE d.platform = ? AND {devices.of('d')} AND r.device_no = d.device_no AND r.valid_to IS NULL"
            " AND r.muster_superseded_seq IS NULL AND r.valid_from < ? GROUP BY r.device_no"
        )

    def ended_rows(self, devices: Devices) -> str:
        """The same of rows that ended since the day began; their key counts those true at its end.

        Parameters: the day's end as often as there are digits, end, start, platform, the devices', start, end.
        """
        return (
            f"{with_tables(*self._lists)}SELECT r.device_no, {self._key('r.valid_to >= ?')},"
            " MAX(CASE WHEN r.valid_to < ? OR r.valid_from >= ? THEN 1 ELSE 0 END)"
            f" FROM muster_devices d CROSS JOIN {self.table.rows_name} r{self._joins}"
            f" WHERE d.platform = ? AND {devices.of('d')} AND r.device_no = d.device_no AND r.valid_to IS NOT NULL"
            " AND r.valid_to >= ? AND r.muster_superseded_seq IS NULL AND r.valid_from < ? GROUP BY r.device_no"
        )

    @property
    def digits(self) -> int:
        """How many digits a key has."""
        return sum(len(classes(rule)) for rule in self.rules)

    def within(self, devices: Devices) -> str:
        """The key of the rows at the answers within a day, of the devices that did not say the same all day.

        Of answers that say the same as the word before them only the first is looked at; those to another version of
        the query are left out. Parameters: table name, start, end, the devices', and the version.
        """
        said = (
            f"said AS (SELECT i.device_no, i.at, i.status, i.version, {NEWS} AS news"
            f" FROM muster_instants i WHERE i.table_name = ? AND i.at >= ? AND i.at < ? AND {devices.of('i')}"
            " WINDOW w AS (PARTITION BY i.device_no ORDER BY i.at))"
        )
        several = "several AS (SELECT device_no FROM said WHERE news = 1 GROUP BY device_no HAVING COUNT(*) > 1)"
        return (
            f"{with_tables(*self._lists, said, several)}SELECT s.device_no, {self._key('r.device_no IS NOT NULL')}"
            " FROM several m JOIN said s ON s.device_no = m.device_no AND s.news = 1 AND s.status = 'ok'"
            f" AND s.version = ? LEFT JOIN {self.table.rows_name} r ON r.device_no = s.device_no"
            " AND r.muster_superseded_seq IS NULL AND r.valid_from <= s.at"
            f" AND (r.valid_to IS NULL OR r.valid_to > s.at){self._joins} GROUP BY s.device_no, s.at"
        )


def with_tables(*tables: str) -> str:
    """The beginning of a statement with common table expressions, if there are any."""
    return f"WITH {', '.join(tables)} " if tables else ""


HEARD = """
COALESCE((SELECT CASE
      WHEN c.last_at < ? THEN CASE WHEN EXISTS (
           SELECT 1 FROM muster_coverage o WHERE o.device_no = c.device_no AND o.table_name = c.table_name
              AND o.first_at < ? AND o.status IN ('ok', 'incomplete')) THEN 2 ELSE 1 END
      WHEN c.status = 'error' THEN 3 WHEN c.status = 'denylisted' THEN 4 WHEN c.status = 'incomplete' THEN 5
      WHEN COALESCE(CASE WHEN c.version = '?' THEN (
           SELECT v.version FROM muster_coverage v
            WHERE v.device_no = c.device_no AND v.table_name = c.table_name AND v.first_at < c.first_at
              AND v.version <> '?' AND v.status IN ('ok', 'incomplete')
            ORDER BY v.first_at DESC LIMIT 1) ELSE c.version END, '') <> ? THEN 6 ELSE 0 END
   FROM muster_coverage c
  WHERE c.device_no = d.device_no AND c.table_name = ? AND c.first_at < ? ORDER BY c.first_at DESC LIMIT 1), 1)
"""
"""How the last word of a device ``d`` on a query stands to a day: 0 where its rows may be judged, else a position in
``verdicts.SILENCES``.

Its last word is that of the last stretch begun before the day's end. The stretch has it at its end or, where it goes
on over the day's end, at some instant within the day. Parameters: the instant from which on an answer counts, the day's
end, the version of the query, table, end.
"""


def population(devices: Devices, heard: int, *, targets: bool) -> str:
    """The devices of a platform that had not left before a day, and how their last words on queries stand to it.

    Gives device_no, 1 for one not yet in scope and 2 for one that is new, 1 for one that never enrolled, whose platform
    may be unknown, then what ``HEARD`` gives for each query; with ``targets`` also what they go by. The verdicts of
    erased devices stay as they are, so these are left out. So are those that had left for the whole day and have come
    back since. Parameters: the day's end, the instant from which on a device is new, those of each ``HEARD``, platform,
    the day's start, start, end, the devices'.
    """
    words = "".join(f", {HEARD}" for _ in range(heard))
    known = ", d.device_id, d.osquery_version, d.tags" if targets else ""
    return (
        "SELECT d.device_no, CASE WHEN d.in_scope_from >= ? THEN 1 WHEN d.in_scope_from >= ? THEN 2 ELSE 0 END,"
        f" CASE WHEN d.enrolled_at = '' THEN 1 ELSE 0 END{words}{known} FROM muster_devices d WHERE d.platform = ?"
        " AND (d.retired_at IS NULL OR d.retired_at >= ?) AND d.erased_at IS NULL"
        " AND NOT EXISTS (SELECT 1 FROM muster_absences a"
        " WHERE a.device_no = d.device_no AND a.left_at < ? AND a.back_at >= ?)"
        f" AND {devices.of('d')}"
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
        f"{with_tables(*rule.lists)}SELECT {columns} FROM {table.rows_name} r{rule.joins} WHERE r.device_no = ?"
        " AND r.muster_superseded_seq IS NULL"
        f" AND r.valid_from < ? AND (r.valid_to IS NULL OR r.valid_to >= ?) AND {deciding}"
        " ORDER BY r.muster_digest, r.muster_ordinal"
    )
