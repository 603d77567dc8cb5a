"""The rows of large snapshots, cut out of a body: who has read the same bytes before need not read them again.

osquery writes a snapshot's rows first in its line and the action after them. In valid JSON no text can hold these
marks, for it would have to hold a bare quote; a body that only looks like JSON fails to be read and is read whole.
"""

from __future__ import annotations

import secrets
from collections.abc import Container
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from server.wire.body import BadBodyError, decode
from server.wire.limits import LINE_BYTES
from server.wire.messages import RawRows

SMALLEST = 2048
"""Bytes of rows; fewer are read faster than looked up."""

_OPEN, _CLOSE = b'{"snapshot":[', b'],"action":"snapshot",'
_SIGN = secrets.token_hex(8)
"""Stands for rows that were cut out. It is chance, so no device can write it."""


@dataclass(frozen=True, slots=True)
class CutRows:
    """The rows that were cut out of a body; ``familiar`` are the digests of those that need not be read."""

    rows: list[RawRows]
    familiar: Container[bytes]

    def of(self, snapshot: Any) -> RawRows | None:
        """The rows that a line's ``snapshot`` stands for, if they were cut out."""
        if not (isinstance(snapshot, str) and snapshot.startswith(_SIGN)):
            return None
        return self.rows[int(snapshot[len(_SIGN) :])]


def cut(raw: bytes) -> tuple[bytes, list[RawRows]]:
    """Return a body with signs in place of the rows of large snapshots, and these rows; none for an overlong body."""
    if len(raw) < SMALLEST or len(raw) > LINE_BYTES:
        return raw, []
    parts: list[bytes] = []
    rows: list[RawRows] = []
    taken = position = 0
    while (start := raw.find(_OPEN, position)) >= 0:
        first = start + len(_OPEN) - 1
        last = raw.find(_CLOSE, first) + 1
        if not last:
            break
        position = last
        if last - first >= SMALLEST:
            text = raw[first:last]
            parts += (raw[taken:first], f'"{_SIGN}{len(rows)}"'.encode())
            rows.append(RawRows(text, blake2b(text, digest_size=16).digest()))
            taken = last
    if not rows:
        return raw, []
    return b"".join((*parts, raw[taken:])), rows


def read_rows(rows: RawRows) -> Any:
    """The JSON value of rows. Raises ``BadBodyError``."""
    value = decode(rows.text)
    if not isinstance(value, list):
        raise BadBodyError("the rows are no array")
    return value
