"""osquery's own SQL functions and collations, as scalar functions of apsw."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import math
import re
from collections.abc import Callable
from itertools import zip_longest
from typing import Any

import apsw

Scalar = Callable[..., Any]


def register(database: apsw.Connection) -> None:
    """Give ``database`` the functions and collations every osqueryd has."""
    for name, function in FUNCTIONS.items():
        database.create_scalar_function(name, function, deterministic=True)
    for name in ("version", "version_dpkg", "version_rhel", "version_arch"):
        database.create_collation(name, compare_versions)


def compare_versions(left: str, right: str) -> int:
    """-1, 0 or 1: numeric parts by value, the others as text; a missing part is older."""
    for mine, other in zip_longest(_parts(left), _parts(right), fillvalue=(-1, 0, "")):
        if mine != other:
            return -1 if mine < other else 1
    return 0


def _parts(version: str) -> list[tuple[int, int, str]]:
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in re.findall(r"\d+|[A-Za-z]+", version)]


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def split(text: Any, separators: Any, index: Any) -> str | None:
    """The ``index``-th part of ``text`` cut at any of the characters in ``separators``; empty parts do not count."""
    if None in (text, separators, index):
        return None
    parts = [part for part in re.split(f"[{re.escape(str(separators))}]", str(text)) if part]
    return parts[index] if 0 <= index < len(parts) else None


def regex_split(text: Any, pattern: Any, index: Any) -> str | None:
    """Like ``split``, cutting where a regular expression matches."""
    if None in (text, pattern, index):
        return None
    parts = [part for part in re.split(str(pattern), str(text)) if part]
    return parts[index] if 0 <= index < len(parts) else None


def regex_match(text: Any, pattern: Any, group: Any) -> str | None:
    """A group of the first match (0 is the whole of it), NULL where there is none."""
    if None in (text, pattern, group):
        return None
    try:
        found = re.search(str(pattern), str(text))
        return found[int(group)] if found else None
    except (re.error, IndexError) as error:
        raise apsw.SQLError(f"Invalid regex: {error}") from error


def concat(*values: Any) -> str:
    """The values joined; NULL counts as nothing."""
    return "".join(_text(value) for value in values)


def concat_ws(separator: Any, *values: Any) -> str:
    """The values that are not NULL, joined with ``separator``."""
    return _text(separator).join(_text(value) for value in values if value is not None)


def version_compare(left: Any, right: Any, *_flavour: Any) -> int | None:
    """-1, 0 or 1 as ``left`` is older than, equal to or newer than ``right``."""
    return None if None in (left, right) else compare_versions(str(left), str(right))


def inet_aton(address: Any) -> int | None:
    """An IPv4 address as a number, NULL for other text."""
    try:
        return int(ipaddress.IPv4Address(str(address)))
    except ValueError:
        return None


def in_cidr_block(block: Any, address: Any) -> int:
    """1 if the address lies in the block."""
    try:
        return int(ipaddress.ip_address(str(address)) in ipaddress.ip_network(str(block), strict=False))
    except ValueError:
        return 0


def to_base64(value: Any) -> str | None:
    """Base64 of a text."""
    return None if value is None else base64.b64encode(str(value).encode()).decode()


def from_base64(value: Any) -> str | None:
    """The text of Base64, NULL where it is none."""
    try:
        return None if value is None else base64.b64decode(str(value), validate=True).decode("utf-8", "replace")
    except ValueError:
        return None


def _digest(name: str) -> Scalar:
    return lambda value: None if value is None else hashlib.new(name, str(value).encode()).hexdigest()


def _number(function: Callable[..., float]) -> Scalar:
    def total(*values: Any) -> float | None:
        try:
            return None if None in values else function(*(float(value) for value in values))
        except (ValueError, OverflowError, ZeroDivisionError):
            return None

    return total


def _conditional_to_base64(value: Any) -> Any:
    return value if value is None or str(value).isascii() else to_base64(value)


FUNCTIONS: dict[str, Scalar] = {
    "split": split,
    "regex_split": regex_split,
    "regex_match": regex_match,
    "concat": concat,
    "concat_ws": concat_ws,
    "version_compare": version_compare,
    "inet_aton": inet_aton,
    "in_cidr_block": in_cidr_block,
    "to_base64": to_base64,
    "from_base64": from_base64,
    "conditional_to_base64": _conditional_to_base64,
    "community_id_v1": lambda *_: None,
    "community_id_v1_strict": lambda *_: None,
    **{name: _digest(name) for name in ("md5", "sha1", "sha256")},
    **{name: _number(getattr(math, name)) for name in ("sqrt", "sin", "cos", "tan", "asin", "acos", "atan")},
    **{name: _number(getattr(math, name)) for name in ("ceil", "floor", "log", "log10", "radians", "degrees")},
    "power": _number(math.pow),
    "cot": _number(lambda value: 1 / math.tan(value)),
    "pi": lambda: math.pi,
}
"""By name; what a function cannot do is NULL, as in osquery, but a bad regular expression fails the query."""
