"""The SQL of per-query tables, all of it: their rows, their views, and the statements that change them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from server.normalize.rows import Column
from server.store.names import internal_name, quoted

SQL_TYPES = {"text": "TEXT", "bigint": "BIGINT", "double": "DOUBLE PRECISION"}


@dataclass(frozen=True)
class QueryTable:
    """The table of a query: where its rows are, and what they are made of."""

    query: str
    name: str
    managed: bool
    mode: str
    columns: tuple[Column, ...]

    @property
    def rows_name(self) -> str:
        """The table below the views, quoted."""
        return quoted(self.plain_rows_name)

    @property
    def plain_rows_name(self) -> str:
        """The table below the views."""
        return internal_name("rows", self.name)

    @cached_property
    def stored_columns(self) -> tuple[str, ...]:
        """The columns of a whole row, in the order of ``insert``'s parameters."""
        own = "device_no muster_digest muster_ordinal valid_from valid_to opened_seq closed_seq _misfit".split()
        return (*own, *(column.sql_name for column in self.columns))

    def with_columns(self, columns: tuple[Column, ...]) -> QueryTable:
        """The same table with more columns."""
        return replace(self, columns=(*self.columns, *columns))

    def create(self) -> Iterator[str]:
        """Statements that make the table, its indexes and its views.

        Tables and indexes share their names' space, so what they are stands before the name of the query.
        """
        columns = "".join(f", {quoted(c.sql_name)} {SQL_TYPES[c.kind]}" for c in self.columns)
        yield (
            f"CREATE TABLE {self.rows_name} (device_no BIGINT NOT NULL, muster_digest TEXT NOT NULL,"
            " muster_ordinal BIGINT NOT NULL, valid_from TEXT NOT NULL, valid_to TEXT, opened_seq BIGINT NOT NULL,"
            f" closed_seq BIGINT, muster_superseded_seq BIGINT, _misfit TEXT{columns})"
        )
        if self.mode == "events":
            yield (
                f"CREATE UNIQUE INDEX {quoted(internal_name('event', self.name))} ON {self.rows_name}"
                " (device_no, valid_from, muster_digest, muster_ordinal)"
            )
        else:
            # Twice the same open row would be the same row counted twice: the database itself refuses it.
            yield (
                f"CREATE UNIQUE INDEX {quoted(internal_name('open', self.name))} ON {self.rows_name}"
                " (device_no, muster_digest, muster_ordinal)"
                " WHERE valid_to IS NULL AND muster_superseded_seq IS NULL"
            )
        if self.mode == "state":
            yield (
                f"CREATE INDEX {quoted(internal_name('closed', self.name))} ON {self.rows_name}"
                " (device_no, valid_to) WHERE valid_to IS NOT NULL"
            )
            yield self.create_taken_index()
        yield from self.create_views()

    def create_taken_index(self) -> str:
        """The index of the few rows that were held to be true still when they were taken back."""
        return (
            f"CREATE INDEX IF NOT EXISTS {quoted(internal_name('taken', self.name))} ON {self.rows_name}"
            " (device_no, muster_superseded_seq) WHERE valid_to IS NULL AND muster_superseded_seq IS NOT NULL"
        )

    def add(self, columns: tuple[Column, ...]) -> Iterator[str]:
        """Statements that add columns to an existing table and make its views anew."""
        yield from self.drop_views()
        for column in columns:
            yield f"ALTER TABLE {self.rows_name} ADD COLUMN {quoted(column.sql_name)} {SQL_TYPES[column.kind]}"
        yield from self.with_columns(columns).create_views()

    def drop_views(self) -> Iterator[str]:
        """Statements that take away the public names for a change of what lies below."""
        yield f"DROP VIEW {quoted(self.name)}"
        yield f"DROP VIEW {quoted(f'{self.name}_history')}"

    def create_views(self) -> Iterator[str]:
        """The two public names of the query."""
        now = "" if self.mode == "events" else " AND r.valid_to IS NULL"
        own = "".join(f", r.{quoted(c.sql_name)}" for c in self.columns)
        yield f"CREATE VIEW {quoted(self.name)} AS {self._select(own)}{now}"
        yield f"CREATE VIEW {quoted(f'{self.name}_history')} AS {self._select(self._history())}"

    def _history(self) -> str:
        """The columns of a row with its interval."""
        if self.mode == "latest":
            own = "".join(f", r.{quoted(c.sql_name)}" for c in self.columns)
            # An answer that repeats the last one writes no row, so its instant is not with the rows.
            newest = (
                f"(SELECT MAX(c.last_at) FROM muster_coverage c WHERE c.device_no = r.device_no AND c.table_name ="
                f" '{self.name}' AND c.status IN ('ok', 'incomplete'))"
            )
            return f"{own}, {newest} AS valid_from, r.valid_to"
        # What a volatile column held is known of the newest answer only.
        own = "".join(
            f", CASE WHEN r.valid_to IS NULL THEN r.{quoted(c.sql_name)} END AS {quoted(c.sql_name)}"
            if c.volatile and self.mode == "state"
            else f", r.{quoted(c.sql_name)}"
            for c in self.columns
        )
        return f"{own}, r.valid_from, r.valid_to"

    def _select(self, own: str) -> str:
        # A query's own hostname column keeps its name; it is the device's as the device saw it.
        hostname = "" if any(c.sql_name == "hostname" for c in self.columns) else ", d.hostname"
        return (
            f"SELECT d.device_id{hostname}{own}, r._misfit FROM {self.rows_name} r"
            " JOIN muster_devices d ON d.device_no = r.device_no WHERE r.muster_superseded_seq IS NULL"
        )

    @cached_property
    def insert(self) -> str:
        """Parameters: device_no, digest, ordinal, valid_from, valid_to, opened_seq, closed_seq, misfit, values."""
        names, marks = ", ".join(map(quoted, self.stored_columns)), ", ".join("?" * len(self.stored_columns))
        return f"INSERT INTO {self.rows_name} ({names}) VALUES ({marks})"

    @cached_property
    def insert_event(self) -> str:
        """As ``insert``, and nothing for an event that is there already."""
        return f"{self.insert} ON CONFLICT DO NOTHING"

    @cached_property
    def copy(self) -> str:
        """A row whose values are in the table already, under another interval.

        Parameters: ordinal, valid_from, valid_to, opened_seq, closed_seq, device_no, digest.
        """
        names = "".join(f", {quoted(c.sql_name)}" for c in self.columns)
        return (
            f"INSERT INTO {self.rows_name} (device_no, muster_digest, muster_ordinal, valid_from, valid_to, opened_seq,"
            f" closed_seq, _misfit{names}) SELECT device_no, muster_digest, ?, ?, ?, ?, ?, _misfit{names}"
            f" FROM {self.rows_name} WHERE device_no = ? AND muster_digest = ?"
            " ORDER BY opened_seq DESC, valid_from DESC LIMIT 1"
        )

    @cached_property
    def open_rows(self) -> str:
        """The rows true now. Parameter: device_no."""
        return (
            f"SELECT muster_digest, muster_ordinal, valid_from, valid_to FROM {self.rows_name}"
            " WHERE device_no = ? AND valid_to IS NULL AND muster_superseded_seq IS NULL"
        )

    @cached_property
    def true_now(self) -> str:
        """The identities of the rows true now. Parameter: device_no."""
        return (
            f"SELECT muster_digest, muster_ordinal FROM {self.rows_name}"
            " WHERE device_no = ? AND valid_to IS NULL AND muster_superseded_seq IS NULL"
        )

    @cached_property
    def closed_rows(self) -> str:
        """The rows that ended at an instant or after it. Parameters: device_no, instant."""
        return (
            f"SELECT muster_digest, muster_ordinal, valid_from, valid_to FROM {self.rows_name}"
            " WHERE device_no = ? AND valid_to >= ? AND valid_to IS NOT NULL AND muster_superseded_seq IS NULL"
        )

    @cached_property
    def close(self) -> str:
        """End an open row. Parameters: valid_to, closed_seq, device_no, digest, ordinal."""
        return (
            f"UPDATE {self.rows_name} SET valid_to = ?, closed_seq = ? WHERE device_no = ? AND muster_digest = ?"
            " AND muster_ordinal = ? AND valid_to IS NULL AND muster_superseded_seq IS NULL"
        )

    @cached_property
    def drop(self) -> str:
        """Delete an open row, of a table that keeps the newest answer only. Parameters: device_no, digest, ordinal."""
        return (
            f"DELETE FROM {self.rows_name} WHERE device_no = ? AND muster_digest = ? AND muster_ordinal = ?"
            " AND valid_to IS NULL AND muster_superseded_seq IS NULL"
        )

    @cached_property
    def supersede_open(self) -> str:
        """Take back an open row. Parameters: seq, device_no, digest, ordinal, valid_from."""
        return (
            f"UPDATE {self.rows_name} SET muster_superseded_seq = ? WHERE device_no = ? AND muster_digest = ?"
            " AND muster_ordinal = ? AND valid_from = ? AND valid_to IS NULL AND muster_superseded_seq IS NULL"
        )

    @cached_property
    def supersede_closed(self) -> str:
        """Take back a closed row. Parameters: seq, device_no, digest, ordinal, valid_from, valid_to."""
        return (
            f"UPDATE {self.rows_name} SET muster_superseded_seq = ? WHERE device_no = ? AND muster_digest = ?"
            " AND muster_ordinal = ? AND valid_from = ? AND valid_to = ? AND valid_to IS NOT NULL"
            " AND muster_superseded_seq IS NULL"
        )

    @cached_property
    def moving(self) -> str | None:
        """The volatile columns of an open row. Parameters: device_no, digest, ordinal."""
        volatile = ", ".join(quoted(c.sql_name) for c in self.columns if c.volatile)
        if not volatile:
            return None
        return (
            f"SELECT {volatile} FROM {self.rows_name} WHERE device_no = ? AND muster_digest = ?"
            " AND muster_ordinal = ? AND valid_to IS NULL AND muster_superseded_seq IS NULL"
        )

    @cached_property
    def refresh(self) -> str | None:
        """Set the volatile columns of an open row. Parameters: the values, device_no, digest, ordinal."""
        volatile = ", ".join(f"{quoted(c.sql_name)} = ?" for c in self.columns if c.volatile)
        if not volatile:
            return None
        return (
            f"UPDATE {self.rows_name} SET {volatile} WHERE device_no = ? AND muster_digest = ?"
            " AND muster_ordinal = ? AND valid_to IS NULL AND muster_superseded_seq IS NULL"
        )
