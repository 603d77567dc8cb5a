"""What a pack of another tool says, before it is made one of Muster's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from server.catalog.schema import PLATFORMS

_POSIX = ("darwin", "linux")
_MEANT = {
    "any": PLATFORMS,
    "all": PLATFORMS,
    "posix": _POSIX,
    "linux": ("linux",),
    "ubuntu": ("linux",),
    "centos": ("linux",),
    "darwin": ("darwin",),
    "macos": ("darwin",),
    "windows": ("windows",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignQuery:
    """A query of another tool: ``line`` is where its file says it, ``interval`` is in seconds."""

    name: str
    sql: str
    line: int
    platform: str = ""
    interval: object = None
    version: str = ""
    shard: object = None
    snapshot: bool = False
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignPolicy:
    """A yes-or-no question: a device passes where the query gives a row."""

    name: str
    sql: str
    line: int
    platform: str = ""
    description: str = ""
    resolution: str = ""
    critical: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignPack:
    """Queries and policies that belong together in another tool, with what narrows all of them."""

    name: str
    file: str
    line: int = 1
    platform: str = ""
    version: str = ""
    shard: object = None
    discovery: Sequence[str] = ()
    queries: Sequence[ForeignQuery] = field(default=())
    policies: Sequence[ForeignPolicy] = field(default=())


def platforms_meant(text: str) -> tuple[str, ...]:
    """The platforms on which osquery would run something restricted to ``text``, none for a word it never runs on.

    osquery looks for its words anywhere in the text, so ``linux,darwin`` and ``linux darwin`` are the same to it.
    """
    lowered = text.strip().lower()
    if lowered in ("", "null"):
        return PLATFORMS
    found = {platform for word, meant in _MEANT.items() if word in lowered for platform in meant}
    return tuple(platform for platform in PLATFORMS if platform in found)
