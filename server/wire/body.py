"""From the bytes of a request to a JSON value, whatever osquery or a stranger put in them."""

from __future__ import annotations

import json
import re
import zlib
from itertools import islice
from typing import Any

import orjson

from server.wire.limits import JSON_DEPTH, RATIO_FREE, Limit

USUAL_RATIO = 10
"""What gzip makes of osquery's lines."""
KEYS_LOOKED_AT = 8


class BadBodyError(ValueError):
    """The body cannot be read; the message says why and is safe to show to the sender."""


def inflated_size(raw: bytes, limit: Limit) -> int:
    """How much a gzip body holds: what its end says, but no less than is usual, and no more than is taken.

    Who says less than is there is found out by ``inflate``.
    """
    told = int.from_bytes(raw[-4:], "little")
    return min(max(told, len(raw) * USUAL_RATIO), limit.inflated)


def inflate(raw: bytes, limit: Limit, most: int | None = None) -> bytes:
    """Return ``raw`` gunzipped, never holding more than ``limit`` allows, nor than ``most`` bytes.

    Raises ``BadBodyError`` for bytes that are not gzip, end early, or inflate past the size or the ratio.
    """
    machine = zlib.decompressobj(wbits=31)
    out = bytearray()
    ceiling = min(limit.inflated, max(RATIO_FREE, len(raw) * limit.ratio))
    ceiling = ceiling if most is None else min(ceiling, most)
    pending = raw
    try:
        while pending and not machine.eof:
            out += machine.decompress(pending, ceiling + 1 - len(out))
            if len(out) > ceiling:
                raise BadBodyError(f"body inflates past {ceiling} bytes")
            pending = machine.unconsumed_tail
    except zlib.error as error:
        raise BadBodyError(f"body is not gzip: {error}") from error
    if not machine.eof:
        raise BadBodyError("gzip body ends early")
    return bytes(out)


def decode(raw: bytes, *, exact: bool = False) -> Any:
    """Return the JSON value of ``raw``.

    Bytes that are not UTF-8 are replaced by U+FFFD (a snapshot carries file names as they are), control
    characters and lone surrogates are let through for ``normalize`` to mend. The fast parser turns an integer beyond
    64 bits into a float; ``exact`` keeps its digits. Raises ``BadBodyError`` when there is no JSON value in it or it
    nests too deep.
    """
    if not exact:
        try:
            return orjson.loads(raw)
        except orjson.JSONDecodeError:
            pass
    try:
        return json.loads(raw.decode("utf-8", "replace"), strict=False)
    except RecursionError as error:
        raise BadBodyError(f"JSON nests deeper than {JSON_DEPTH} levels") from error
    except ValueError as error:
        raise BadBodyError(f"body is not JSON: {error}") from error


def node_keys_in(raw: bytes) -> frozenset[str]:
    """Every ``node_key`` that a body may mean, without reading it: the first and the last few in it."""
    found = {match[1] for match in islice(_NODE_KEY.finditer(raw), KEYS_LOOKED_AT)}
    end = len(raw)
    for _ in range(KEYS_LOOKED_AT):
        end = raw.rfind(b'"node_key"', 0, end)
        match = _NODE_KEY.match(raw, end) if end >= 0 else None
        found |= {match[1]} if match else set()
        if end <= 0:
            break
    return frozenset(key.decode("ascii") for key in found)


def node_key_in(raw: bytes) -> str:
    """Return the last ``node_key`` found in a body that cannot be decoded, or an empty string."""
    found = _NODE_KEY.findall(raw)
    return found[-1].decode("ascii", "replace") if found else ""


_NODE_KEY = re.compile(rb'"node_key"\s*:\s*"([\x20-\x21\x23-\x5b\x5d-\x7e]{1,256})"')
