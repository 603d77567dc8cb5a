"""Where in a file a piece of its SQL stands, so that a problem can be pointed at."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property

from server.catalog.problems import Problem

# No part can be matched in two ways, so that no text takes long.
_TOKEN = re.compile(
    r"""(?P<comment>--[^\n]*|/\*(?:[^*]|\*(?!/))*+(?:\*/|\Z))
    |(?P<string>'(?:[^']|'')*+(?:'|\Z))
    |(?P<quoted>"(?:[^"]|"")*+(?:"|\Z)|`[^`]*+(?:`|\Z)|\[[^\]]*+(?:\]|\Z))
    |(?P<word>[^\W\d]\w*+)
    |(?P<space>\s++)
    |(?P<other>\d[\w.]*+|.)""",
    re.VERBOSE | re.DOTALL,
)


_BEFORE_BRACKETS = frozenset(
    "all and as between by case else exists from in is not on or select then union when where".split()
)
"""Words that a bracket may follow without being the arguments of a call."""


@dataclass(frozen=True)
class SqlText:
    """Some SQL, and the line of its file on which it begins."""

    sql: str
    first_line: int

    def line(self, line: int) -> int:
        """The line of the file, given one of the SQL; both count from 1."""
        return self.first_line + line - 1

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column of an offset in characters, both counted from 1."""
        before = self.sql[:offset]
        return self.line(before.count("\n") + 1), offset - (before.rfind("\n") + 1) + 1

    def find(self, name: str, which: int = 0) -> tuple[int, int]:
        """Line and column of a name (of all its places, the one at position ``which``), or of the SQL's first word."""
        found = self._offsets.get(name.lower())
        if not found:
            return self.first_line, 0
        return self.place(found[which] if -len(found) <= which < len(found) else found[0])

    def problem(self, file: str, message: str, hint: str = "", at: str = "", which: int = 0) -> Problem:
        """A problem at the place of a name."""
        line, column = self.find(at, which) if at else (self.first_line, 0)
        return Problem(file, line, message, hint, column=column)

    def depth(self) -> int:
        """How deep brackets and CASE are nested."""
        deepest = depth = 0
        for _, text in self._names():
            if text in ("(", "case"):
                depth += 1
                deepest = max(deepest, depth)
            elif text in (")", "end"):
                depth -= 1
        return deepest

    def parser_depth(self) -> int:
        """How many symbols SQLite's parser would hold at a time, at most; many versions have room for 100.

        Told by rule of thumb, and too much rather than too little: what is open of an expression, a call, a SELECT.
        """
        frames, most, before = [2], 0, ""
        for _, text in self._names():
            if text == "(":
                frames.append(5 if before.isidentifier() and before not in _BEFORE_BRACKETS else 3)
            elif text == "case":
                frames.append(6)
            elif text in (")", "end") and len(frames) > 1:
                frames.pop()
            else:
                frames[-1] += {"select": 5, "union": -2, "on": 5}.get(text, 0)
            most = max(most, sum(frames))
            before = text
        return most

    def first_word(self) -> str:
        """The first word that is no comment."""
        return next((text for _, text in self._names()), "")

    def open_joins(self) -> int:
        """How many joins stand in a row of which no ON or USING has come; a parser's work doubles with each."""
        most = waiting = 0
        before = ""
        for _, text in self._names():
            if text == "join" and before != "cross":
                waiting += 1
                most = max(most, waiting)
            elif text in ("on", "using") and waiting:
                waiting -= 1
            before = text
        return most

    def odd_character(self) -> int | None:
        """Where a character stands that looks like white space or like nothing and is neither to SQLite."""
        for match in _TOKEN.finditer(self.sql):
            if match.lastgroup in ("space", "word", "other"):
                for offset, char in enumerate(match[0], match.start()):
                    if char not in " \t\n\r\f" and unicodedata.category(char) in ("Cc", "Cf", "Zs", "Zl", "Zp"):
                        return offset
        return None

    def late_key(self, keys: Collection[str]) -> tuple[int, str] | None:
        """Where a comment below the first word has a key of the header, and which."""
        for match in _TOKEN.finditer(self.sql):
            key = re.match(r"--\s*([a-z_]+):\s", match[0]) if match.lastgroup == "comment" else None
            if key and key[1] in keys:
                return match.start(), key[1]
        return None

    @cached_property
    def _offsets(self) -> dict[str, list[int]]:
        """Where each name stands."""
        offsets: dict[str, list[int]] = {}
        for offset, text in self._names():
            offsets.setdefault(text, []).append(offset)
        return offsets

    def _names(self) -> Iterator[tuple[int, str]]:
        """Everything but white space, comments and strings: its offset and its text in lower case, without quotes."""
        for match in _TOKEN.finditer(self.sql):
            if match.lastgroup in ("word", "other"):
                yield match.start(), match[0].lower()
            elif match.lastgroup == "quoted":
                yield match.start(), match[0][1:-1].lower()
