"""Compiling queries as osquery would: on in-memory SQLite with the tables each platform has."""

from __future__ import annotations

import re
from collections.abc import Iterable

import apsw

from server.catalog.catalog import Catalog
from server.catalog.problems import Problem, did_you_mean
from server.catalog.queries import Query
from server.catalog.schema import PLATFORMS, OsquerySchema

_FUNCTIONS = (
    "concat concat_ws split regex_split regex_match inet_aton in_cidr_block community_id_v1 community_id_v1_strict"
    " to_base64 from_base64 conditional_to_base64 md5 sha1 sha256 version_compare sqrt log log10 ceil floor power pi"
    " sin cos tan asin acos atan radians degrees cot"
).split()
_COLLATIONS = ("version", "version_dpkg", "version_rhel", "version_arch")
_NO_TABLE = re.compile(r"no such table: (?:\w+\.)?(\w+)")
_NO_COLUMN = re.compile(r"no such column: (?:\w+\.)?(\w+)")


def check_queries(catalog: Catalog) -> list[Problem]:
    """Compile every query on every platform it is written for."""
    problems: list[Problem] = []
    for platform in PLATFORMS:
        database = _database(catalog.schema, platform)
        for (_, where), query in sorted(catalog.queries.items()):
            if where == platform:
                problems += _check(database, query, platform, catalog.schema)
        database.close()
    return sorted(set(problems))


def _database(schema: OsquerySchema, platform: str) -> apsw.Connection:
    database = apsw.Connection(":memory:")
    for name in _FUNCTIONS:
        database.create_scalar_function(name, lambda *_: None)
    for name in _COLLATIONS:
        database.create_collation(name, lambda left, right: (left > right) - (left < right))
    for table in schema.on(platform):
        columns = ", ".join(f'"{column.name}"' for column in table.columns)
        database.execute(f'CREATE TABLE "{table.name}" ({columns})')
    return database


def _check(database: apsw.Connection, query: Query, platform: str, schema: OsquerySchema) -> Iterable[Problem]:
    try:
        database.execute(f"EXPLAIN {query.sql}").fetchall()
    except apsw.SQLError as error:
        message = str(error).removeprefix("SQLError: ")
        yield Problem(
            query.file, query.text.first_line, f"on {platform}: {message}", _hint(message, query, platform, schema)
        )


def _hint(message: str, query: Query, platform: str, schema: OsquerySchema) -> str:
    missing = _NO_TABLE.search(message)
    if missing:
        table = schema.table(missing[1])
        if table:
            return f"{table.name} exists on {', '.join(table.platforms)} only"
        return did_you_mean(missing[1], [known.name for known in schema.on(platform)])
    column = _NO_COLUMN.search(message)
    if column:
        used = [table for table in schema.on(platform) if re.search(rf"\b{table.name}\b", query.sql)]
        return did_you_mean(column[1], {known.name for table in used for known in table.columns})
    return ""
