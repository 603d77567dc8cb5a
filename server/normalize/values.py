"""Column types, and fitting one value to its column."""

from __future__ import annotations

import math
import re
from typing import Any

from server.normalize.text import clean_text

TEXT, BIGINT, DOUBLE = "text", "bigint", "double"

Value = str | int | float | None

OSQUERY_TYPES = {
    "text": TEXT,
    "date": TEXT,
    "datetime": TEXT,
    "blob": TEXT,
    "integer": BIGINT,
    "bigint": BIGINT,
    "unsigned_bigint": BIGINT,
    "double": DOUBLE,
}
"""An osquery column type to ours; osquery itself clips unsigned 64-bit values to the signed range."""

_WHOLE = re.compile(r"[+-]?[0-9]{1,40}")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_LOWEST, _HIGHEST = -(2**63), 2**63 - 1


class MisfitError(ValueError):
    """The value does not fit the column's type."""


def fit(value: Any, kind: str) -> Value:
    """Return ``value`` as ``kind`` (``text``, ``bigint`` or ``double``).

    osquery sends NULL as an empty string, so an empty string in a numeric column is null. Raises ``MisfitError``
    for a value the type cannot hold: nothing is rounded, clipped or guessed.
    """
    if kind == TEXT:
        return _as_text(value)
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        value = int(value)
    return _as_whole(value) if kind == BIGINT else _as_double(value)


def kind_of(value: Any) -> str:
    """The type a column of a query Muster did not ship takes from a value sent for it."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return TEXT
    return BIGINT if isinstance(value, int) else DOUBLE


def _as_text(value: Any) -> str | None:
    if isinstance(value, str):
        return clean_text(value)
    if value is None:
        return None
    if isinstance(value, bool):
        return "1" if value else "0"
    return str(value)


def _as_whole(value: Any) -> int:
    if isinstance(value, str):
        stripped = value.strip()
        if not _WHOLE.fullmatch(stripped):
            raise MisfitError
        value = int(stripped)
    elif isinstance(value, float):
        if not value.is_integer():
            raise MisfitError
        value = int(value)
    if not _LOWEST <= value <= _HIGHEST:
        raise MisfitError
    whole: int = value
    return whole


def _as_double(value: Any) -> float:
    if isinstance(value, str):
        stripped = value.strip()
        if not _DECIMAL.fullmatch(stripped):
            raise MisfitError
        value = stripped
    try:
        number = float(value)
    except OverflowError as error:
        raise MisfitError from error
    if not math.isfinite(number):
        raise MisfitError
    return number + 0.0  # minus zero is zero: not every database keeps its sign
