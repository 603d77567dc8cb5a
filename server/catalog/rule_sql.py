"""The grammar of rules, and the queries that the SELECTs of a rule name."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, ClassVar

import sqlglot
from sqlglot import exp
from sqlglot.dialects.sqlite import SQLite
from sqlglot.parsers.sqlite import SQLiteParser

from server.catalog.sql_text import SqlText

MOST_JOINS = 8
"""Joins in a row without an ON between them: a parser's work doubles with each."""


class RuleDialect(SQLite):
    """The grammar of SQLite, in which a function is a name with arguments and nothing more."""

    class Parser(SQLiteParser):
        """Without functions of its own: those of the language are looked up where they are compiled."""

        FUNCTIONS: ClassVar[dict[str, Any]] = {}
        FUNCTION_PARSERS: ClassVar[dict[str, Any]] = {"CAST": SQLiteParser.FUNCTION_PARSERS["CAST"]}


@lru_cache(maxsize=4096)
def queries_named(*texts: str) -> tuple[str, ...]:
    """The queries that SELECTs name after FROM and JOIN, known or not, in order; none of a text that is no SQL."""
    found: dict[str, None] = {}
    for text in texts:
        if SqlText(text, 1).open_joins() > MOST_JOINS:
            continue
        try:
            tree = sqlglot.parse_one(text, read=RuleDialect)
        except (sqlglot.errors.SqlglotError, RecursionError):
            continue
        for table in tree.find_all(exp.Table, bfs=False):
            if isinstance(table.this, exp.Identifier):
                found.setdefault(table.name.lower(), None)
    return tuple(found)
