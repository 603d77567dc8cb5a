"""The columns of a query that have another value at every look, since osquery's columns that they pass on do."""

from __future__ import annotations

from typing import cast

import sqlglot
from sqlglot import exp

from server.catalog.lineage import known_query
from server.catalog.schema import OsquerySchema

# What leaves a value as it is, or moves where it does; a division may well make it stand still.
_PASSING: tuple[type[exp.Expr], ...] = (
    *(exp.Alias, exp.Column, exp.Identifier, exp.Paren, exp.Cast, exp.DataType, exp.Literal, exp.Null),
    *(exp.Coalesce, exp.Max, exp.Min, exp.Sum, exp.Add, exp.Sub, exp.Mul),
)


def moving_columns(sql: str, schema: OsquerySchema) -> dict[str, str]:
    """The moving columns of a query, which was parsed before, each with the ``table.column`` it comes from."""
    statement = cast("exp.Query", sqlglot.parse_one(sql, read="sqlite"))
    origins = known_query("", statement, schema).origins
    found: dict[str, str] = {}
    for projection in statement.selects:
        if not all(isinstance(node, _PASSING) for node in projection.walk()):
            continue
        of = origins.get(projection.alias_or_name.lower(), frozenset())
        moving = sorted(origin for origin in of if _moves(schema, *origin))
        # A bare name that several tables have may be that of the one that stands still.
        if moving and (len(moving) == len(of) or len({column for _, column in of}) > 1):
            found[projection.alias_or_name] = ".".join(moving[0])
    return found


def _moves(schema: OsquerySchema, table: str, column: str) -> bool:
    known = schema.table(table)
    return known is not None and known.by_name[column].moving
