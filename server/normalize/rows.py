"""Rows as a bag: typed values, and a digest that is the same for equal rows however they were sent."""

from __future__ import annotations

import json
from binascii import b2a_base64
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from itertools import repeat
from typing import Any, NamedTuple

import orjson

from server.normalize.values import BIGINT, TEXT, MisfitError, Value, fit

Identity = tuple[str, int]
"""What tells a row from every other of the same device and query: its digest, and its place among equal rows."""


class Column(NamedTuple):
    """A column of a query's table: the name osquery sends, the name in SQL, its type, and whether it is volatile."""

    name: str
    sql_name: str
    kind: str
    volatile: bool = False


class TypedRow(NamedTuple):
    """A row ready to be stored: ``values`` in the order of its table's columns, ``misfit`` as JSON or None."""

    digest: str
    values: tuple[Value, ...]
    misfit: str | None


_URL_SAFE = bytes.maketrans(b"+/", b"-_")


def digest_of(data: bytes) -> str:
    """Twenty characters that stand for ``data`` (120 bits of BLAKE2b)."""
    text = b2a_base64(blake2b(data, digest_size=15).digest(), newline=False)
    return text.translate(_URL_SAFE).decode("ascii")


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
    for name, sql_name, kind, volatile in columns:
        sent = row.get(name)
        value: Value
        # The first two are nearly every value there is.
        if kind == TEXT and type(sent) is str and sent.isascii() and "\x00" not in sent:
            value = sent
        elif kind == BIGINT and type(sent) is str and len(sent) < 19 and sent.isdecimal() and sent.isascii():
            value = int(sent)
        else:
            try:
                value = fit(sent, kind)
            except MisfitError:
                value = None
                misfits[sql_name] = fit(sent, TEXT)
        values.append(value)
        if value is not None and not volatile:
            identity.append(sql_name)
            identity.append(value)
    misfit = orjson.dumps(misfits, option=orjson.OPT_SORT_KEYS).decode() if misfits else None
    if misfit:
        identity.append(misfit)
    return TypedRow(digest_of(orjson.dumps(identity)), tuple(values), misfit)


def typed_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> list[TypedRow]:
    """As ``typed_row`` of each row, and faster where no value is unusual: then it goes by columns, not by values."""
    fitted: list[Sequence[Value]] = []
    identity: list[Iterable[Value]] = []
    for name, sql_name, kind, volatile in columns:
        values = _plain_column([row.get(name) for row in rows], kind)
        if values is None:
            return [typed_row(row, columns) for row in rows]
        fitted.append(values)
        if not volatile and values[0] is not None:
            identity += (repeat(sql_name), values)
    if not identity:
        return [typed_row(row, columns) for row in rows]
    digests = map(digest_of, map(orjson.dumps, zip(*identity, strict=False)))
    return list(map(TypedRow, digests, zip(*fitted, strict=True), repeat(None)))


def _plain_column(sent: Sequence[Any], kind: str) -> Sequence[Value] | None:
    """The values of a column as its kind, all or none of them null; None where it takes a look at each."""
    first = sent[0] if sent else ""
    if first is None or (first == "" and kind != TEXT):
        return [None] * len(sent) if sent.count(first) == len(sent) > 0 else None
    if set(map(type, sent)) != {str}:
        return None
    text = "".join(sent)
    if not text.isascii():
        return None
    if kind == TEXT:
        return None if "\x00" in text else sent
    if kind == BIGINT and text.isdecimal() and min(map(len, sent)) > 0 and max(map(len, sent)) < 19:
        return list(map(int, sent))
    return None


def bag_of(rows: Sequence[TypedRow]) -> dict[Identity, TypedRow]:
    """The rows of an answer by their identity: equal ones are numbered from zero."""
    different = {row.digest: row for row in rows}
    if len(different) == len(rows):
        return {(digest, 0): row for digest, row in different.items()}
    seen: dict[str, int] = {}
    bag: dict[Identity, TypedRow] = {}
    for row in rows:
        ordinal = seen.get(row.digest, 0)
        seen[row.digest] = ordinal + 1
        bag[row.digest, ordinal] = row
    return bag
