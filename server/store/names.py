"""Names in SQL for queries and columns that may be called anything."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Container

LONGEST_NAME = 63
"""Postgres cuts a longer name, and two that differ beyond the cut would be one."""
LONGEST_TABLE = 55
"""Leaves room for ``_history``."""
LONGEST_COLUMN = 60

# A new name of ours begins with posture: a query of another name may have a table of it already.
_RESERVED_TABLES = frozenset(
    """devices devices_history days coverage exemptions rejects status_logs clocks clock_stretches deletions erasures
    people people_access assets imports import_changes""".split()
)
# The second half is every Postgres table's: no column of ours can bear these names.
OWN_COLUMNS = frozenset(
    """device_id device_no valid_from valid_to opened_seq closed_seq _misfit
    ctid xmin xmax cmin cmax tableoid""".split()
)

# Words that SQLite or Postgres does not take as a bare table name.
_RESERVED_WORDS = frozenset(
    """add all alter analyse analyze and any array as asc asymmetric authorization autoincrement between binary
    both case cast check collate collation column commit concurrently constraint create cross current_catalog
    current_date current_role current_schema current_time current_timestamp current_user default deferrable
    delete desc distinct do drop else end escape except exists false fetch for foreign freeze from full grant
    group having if ilike in index initially inner insert intersect into is isnull join lateral leading left
    like limit localtime localtimestamp natural not nothing notnull null offset on only or order outer overlaps
    placing primary raise references returning right select session_user set similar some symmetric system_user
    table tablesample then to trailing transaction true union unique update user using values variadic verbose
    when where window with""".split()
)
_OTHER = re.compile(r"[^a-z0-9_]")


def table_name(query: str, taken: Container[str]) -> str:
    """The table of a query: lower case, other characters ``_``; a hash of the query's own name where that is not free.

    ``taken`` are the tables of other queries.
    """
    plain = _OTHER.sub("_", query.lower())
    reserved = (
        plain in _RESERVED_TABLES
        or plain in _RESERVED_WORDS
        or plain.startswith(("muster_", "sqlite_", "pg_", "posture", "live_"))
        or plain.endswith("_history")
        or not plain.strip("_")
        or plain[:1].isdigit()
    )
    if not reserved and len(plain) <= LONGEST_TABLE and plain not in taken:
        return plain
    prefix = "q_" if plain.startswith(("muster_", "sqlite_", "pg_")) or not plain[:1].isalpha() else ""
    return _free(f"{prefix}{plain[: LONGEST_TABLE - 9]}", query, taken)


def column_name(column: str, taken: Container[str]) -> str:
    """The SQL name of a column: lower case, other characters ``_``; a hash of its own name where that is not free."""
    plain = _OTHER.sub("_", column.lower()) or "_"
    own = plain in OWN_COLUMNS or plain.startswith("muster_")
    if not own and len(plain) <= LONGEST_COLUMN and plain not in taken:
        return plain
    if plain in OWN_COLUMNS and f"{plain}_" not in taken:
        return f"{plain}_"
    return _free(plain[: LONGEST_COLUMN - 7], column, taken)


def internal_name(kind: str, name: str, taken: Container[str] = ()) -> str:
    """A name of ours for what belongs to a table or column: ``muster_<kind>_<name>``.

    Where that is too long a hash stands for the end of ``name``; no plain internal name begins as such a one does.
    """
    plain = f"muster_{kind}_{name}"
    if len(plain) > LONGEST_NAME:
        digest = hashlib.blake2b(name.encode(), digest_size=5).hexdigest()
        start = f"muster_long_{kind}_"
        plain = f"{start}{name[: LONGEST_NAME - len(start) - len(digest) - 1]}_{digest}"
    return plain if plain not in taken else _free(plain[: LONGEST_NAME - 7], plain, taken)


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _free(stem: str, name: str, taken: Container[str]) -> str:
    """The stem with a hash of the name that nobody has yet; the first may have been taken by chance or malice."""
    tries = 0
    while True:
        digest = hashlib.blake2b(f"{name}{tries or ''}".encode(), digest_size=3).hexdigest()
        if f"{stem}_{digest}" not in taken:
            return f"{stem}_{digest}"
        tries += 1
