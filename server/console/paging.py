"""Which page of a list is asked for, and which are beside it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SIZE = 50
LARGEST_PAGE = 100_000


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list."""

    number: int
    size: int = SIZE
    more: bool = False

    @property
    def offset(self) -> int:
        """How many entries come before it."""
        return (self.number - 1) * self.size

    @property
    def previous(self) -> int | None:
        """The page before it."""
        return self.number - 1 if self.number > 1 else None

    @property
    def following(self) -> int | None:
        """The page after it."""
        return self.number + 1 if self.more else None

    def cut(self, rows: Sequence[tuple[Any, ...]]) -> tuple[Page, Sequence[tuple[Any, ...]]]:
        """This page of what was read with one row to spare, and whether there is another."""
        return Page(self.number, self.size, len(rows) > self.size), rows[: self.size]


def page_of(query: Mapping[str, str], size: int = SIZE) -> Page:
    """The page a request asks for; the first where it asks for none or for nonsense."""
    text = query.get("page", "")
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 7 else 1
    return Page(min(max(number, 1), LARGEST_PAGE), size)
