"""How large a statement grows: SQLite puts the text of a common table expression, or view, in place of every mention.

Twenty expressions that each mention the one before twice are a million when compiled, before any limit of SQLite's
is looked at. Counted by words, and too much rather than too little.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

# No part can be matched in two ways, so that no text takes long.
_TOKEN = re.compile(
    r"""--[^\n]*+
    |/\*(?:[^*]|\*(?!/))*+(?:\*/|\Z)
    |(?P<quoted>'(?:[^']|'')*+(?:'|\Z)|"(?:[^"]|"")*+(?:"|\Z)|`(?:[^`]|``)*+(?:`|\Z)|\[[^\]]*+(?:\]|\Z))
    |(?P<word>[^\W\d][\w$]*+)
    |(?P<bracket>[()])""",
    re.VERBOSE,
)


def growth(sql: str, views: Mapping[str, str]) -> int:
    """How many expressions and views a statement is made of when each stands in place of its mentions."""
    whole = tokens(sql)
    defined: dict[str, list[str]] = {name.lower(): tokens(text)[3:] for name, text in views.items()}
    for name, body in _expressions(whole):
        defined.setdefault(name, []).extend(body)
    return _Growth(defined).of(whole)


def tokens(sql: str) -> list[str]:
    """Words, quoted texts without their quotes, and round brackets, in lower case."""
    found = []
    for match in _TOKEN.finditer(sql):
        if match["quoted"]:
            mark = match[0][0]
            found.append(match[0][1:-1].replace(mark * 2, mark).lower() or " ")
        elif match["word"] or match["bracket"]:
            found.append(match[0].lower())
    return found


def _expressions(whole: list[str]) -> Iterable[tuple[str, list[str]]]:
    """Name and body of everything written as NAME AS (BODY), or NAME (COLUMNS) AS (BODY)."""
    closing = _closing(whole)
    opening = {closed: opened for opened, closed in closing.items()}
    for at, token in enumerate(whole):
        if token != "as" or at == 0:
            continue
        body = at + 1
        while whole[body : body + 1] in (["not"], ["materialized"]):
            body += 1
        name = opening.get(at - 1, at) - 1
        if whole[body : body + 1] == ["("] and name >= 0:
            yield whole[name], whole[body + 1 : closing.get(body, len(whole))]


def _closing(whole: list[str]) -> dict[int, int]:
    """Where the bracket that opens at a place closes."""
    opened: list[int] = []
    pairs = {}
    for at, token in enumerate(whole):
        if token == "(":
            opened.append(at)
        elif token == ")" and opened:
            pairs[opened.pop()] = at
    return pairs


class _Growth:
    """Counts, each definition once."""

    def __init__(self, defined: Mapping[str, list[str]]) -> None:
        self._defined = defined
        self._known: dict[str, int] = {}

    def of(self, whole: list[str]) -> int:
        return 1 + sum(self._named(token) for token in whole if token in self._defined)

    def _named(self, name: str) -> int:
        if name not in self._known:
            self._known[name] = 0  # a mention of itself is no growth: it is a recursion, or an error
            self._known[name] = self.of(self._defined[name])
        return self._known[name]
