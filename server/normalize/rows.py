"""Rows as a bag: typed values, and a digest that is the same for equal rows however they were sent."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson

from server.normalize.values import MisfitError, Value, fit


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a query's table: the name osquery sends, the name in SQL, its type, and whether it is volatile."""

    name: str
    sql_name: str
    kind: str
    volatile: bool = False


@dataclass(frozen=True, slots=True)
class TypedRow:
    """A row ready to be stored: ``values`` in the order of its table's columns, ``misfit`` as JSON or None."""

    digest: str
    values: tuple[Value, ...]
    misfit: str | None


@dataclass(frozen=True, slots=True)
class BagRow:
    """A row with its place among the equal rows of one answer: (digest, ordinal) is its identity."""

    ordinal: int
    row: TypedRow

    @property
    def identity(self) -> tuple[str, int]:
        """What tells this row from every other of the same device and query."""
        return self.row.digest, self.ordinal


def digest_of(data: bytes) -> str:
    """Twenty characters that stand for ``data`` (120 bits of BLAKE2b)."""
    return b64encode(blake2b(data, digest_size=15).digest(), b"-_").decode("ascii")


def fingerprint(rows: Sequence[Mapping[str, Any]]) -> str:
    """A digest of an answer as it was sent; equal fingerprints mean an unchanged answer."""
    try:
        return digest_of(orjson.dumps(rows))
    except TypeError:  # an integer beyond 64 bits, or a lone surrogate
        return digest_of(json.dumps(rows, default=str).encode("ascii"))


def typed_row(row: Mapping[str, Any], columns: Sequence[Column]) -> TypedRow:
    """Fit a row to its table's columns; what does not fit is null, and kept as it came in ``misfit``.

    The digest covers the columns that are neither volatile nor null, so a column added later leaves the digests of
    rows without it as they were.
    """
    values: list[Value] = []
    misfits: dict[str, Any] = {}
    identity: list[Any] = []
    for column in columns:
        sent = row.get(column.name)
        try:
            value = fit(sent, column.kind)
        except MisfitError:
            value = None
            misfits[column.sql_name] = fit(sent, "text")
        values.append(value)
        if value is not None and not column.volatile:
            identity.append(column.sql_name)
            identity.append(value)
    misfit = orjson.dumps(misfits).decode() if misfits else None
    if misfit:
        identity.append(misfit)
    return TypedRow(digest_of(orjson.dumps(identity)), tuple(values), misfit)


def bag_of(rows: Iterable[TypedRow]) -> list[BagRow]:
    """Number the equal rows of an answer from zero."""
    seen: dict[str, int] = {}
    bag: list[BagRow] = []
    for row in rows:
        ordinal = seen.get(row.digest, 0)
        seen[row.digest] = ordinal + 1
        bag.append(BagRow(ordinal, row))
    return bag
