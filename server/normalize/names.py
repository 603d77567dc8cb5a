"""The scheduled name of a query: what it is called, and which version of a shipped query it is."""

from __future__ import annotations

import re
from typing import NamedTuple

PACK_DELIMITER = "/"
"""The pack_delimiter our config sets; osquery's own default is ``_``."""

_VERSIONED = re.compile(r"(?:pack/[^/]*/)?(?P<query>[^/@]+)@(?P<version>[0-9a-f]{10})")
_PACK = re.compile(r"pack[^A-Za-z0-9]")


class ScheduledName(NamedTuple):
    """A query's name without pack and version; ``version`` is None where the name carries none."""

    query: str
    version: str | None


def scheduled_name(query: str, version: str) -> str:
    """The name under which a version of a shipped query is scheduled."""
    return f"{query}@{version}"


def parse_scheduled_name(name: str) -> ScheduledName:
    """Take a result's name apart.

    ``pack/inventory/users@0f3a55d1c2`` is version ``0f3a55d1c2`` of ``users``; any other name is a foreign query's,
    of which only the leading ``pack`` and its delimiter are dropped.
    """
    ours = _VERSIONED.fullmatch(name)
    if ours:
        return ScheduledName(ours["query"], ours["version"])
    return ScheduledName(_PACK.sub("", name, count=1) if _PACK.match(name) else name, None)
