"""The functions of the rule language on Postgres, as ``server.evaluate.scalar`` reads in Python."""

from __future__ import annotations

import asyncpg

from server.drivers.postgres_connect import explained
from server.evaluate.scalar import EXACT, NUMBER_CHARACTERS, SMALLEST, VERSION_CHARACTERS, VERSION_DIGITS
from server.store.driver import NotReadyError

_KEY = (
    "string_to_array(regexp_replace(btrim(regexp_replace({0}, '[^0-9]+', ' ', 'g')), '(?: 0+)+$', ''), ' ')::bigint[]"
)
_NO_VERSION = f"length({{0}}) > {VERSION_CHARACTERS} OR {{0}} !~ '[0-9]' OR {{0}} ~ '[0-9]{{{{{VERSION_DIGITS + 1}}}}}'"
_VERSION_COMPARE = f"""
DECLARE x bigint[]; y bigint[];
BEGIN
  IF {_NO_VERSION.format("a")} OR {_NO_VERSION.format("b")} THEN RETURN NULL; END IF;
  x := {_KEY.format("a")};
  y := {_KEY.format("b")};
  RETURN CASE WHEN x < y THEN -1 WHEN x = y THEN 0 ELSE 1 END;
END"""
_NUMBER = rf"""
DECLARE n numeric;
BEGIN
  IF length(a) > {NUMBER_CHARACTERS} OR a !~ '^ *[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+) *$' THEN RETURN NULL; END IF;
  n := btrim(a)::numeric;
  RETURN CASE WHEN n BETWEEN -{EXACT} AND {EXACT} THEN n::double precision END;
END"""
# Bounds are looked at before anything is computed, for Postgres raises an error where a result does not fit.
_WHOLE = f"a BETWEEN -{EXACT} AND {EXACT} AND b BETWEEN -{EXACT} AND {EXACT}"
_FRACTION = f"{_WHOLE} AND (a = 0 OR abs(a) >= {SMALLEST}) AND (b = 0 OR abs(b) >= {SMALLEST})"
_RESULT = """
DECLARE c {kind};
BEGIN
  IF NOT ({bounds}) THEN RETURN NULL; END IF;{product}
  c := a {operator} b;
  RETURN CASE WHEN c BETWEEN -{exact} AND {exact} THEN c END;
END"""
_PRODUCT = f"""
  IF NOT (a::double precision * b::double precision BETWEEN -{EXACT} AND {EXACT}) THEN RETURN NULL; END IF;"""


def _arithmetic(kind: str, operator: str) -> str:
    whole = kind == "bigint"
    return _RESULT.format(
        kind=kind,
        bounds=_WHOLE if whole else _FRACTION,
        product=_PRODUCT if whole and operator == "*" else "",
        operator=operator,
        exact=EXACT,
    )


_FUNCTIONS = [
    ("muster_version_compare", ("text", "text"), "bigint", "plpgsql", _VERSION_COMPARE),
    ("muster_number", ("text",), "double precision", "plpgsql", _NUMBER),
    ("muster_lower", ("text",), "text", "sql", 'SELECT lower(a COLLATE "C")'),
    ("muster_upper", ("text",), "text", "sql", 'SELECT upper(a COLLATE "C")'),
    *(
        (name, (kind, kind), kind, "plpgsql", _arithmetic(kind, operator))
        for name, operator in (("muster_add", "+"), ("muster_subtract", "-"), ("muster_multiply", "*"))
        for kind in ("bigint", "double precision")
    ),
]
_PRESENT = """
SELECT p.proname, oidvectortypes(p.proargtypes), p.prosrc FROM pg_catalog.pg_proc p
 WHERE p.pronamespace = CAST('public' AS regnamespace) AND p.proname = ANY($1)
"""
_LOCK = 0x6D757366
"""The advisory lock of whoever makes the functions: 'musf' in ASCII."""


async def make_functions(connection: asyncpg.Connection) -> None:
    """Make the functions that are not there as they are here; raises ``NotReadyError`` where that is not allowed."""
    names = [name for name, *_ in _FUNCTIONS]
    try:
        async with connection.transaction():
            if await _lacking(connection, names):
                # Two who replace one function at a time would fail.
                await connection.execute(f"SELECT pg_advisory_xact_lock({_LOCK})")
                for name, kinds, result, language, body in await _lacking(connection, names):
                    arguments = ", ".join(f"{argument} {kind}" for argument, kind in zip("ab", kinds, strict=False))
                    await connection.execute(
                        f"CREATE OR REPLACE FUNCTION public.{name}({arguments}) RETURNS {result} LANGUAGE {language}"
                        f" IMMUTABLE STRICT PARALLEL SAFE AS $muster${body}$muster$;"
                        f" REVOKE ALL ON FUNCTION public.{name}({', '.join(kinds)}) FROM PUBLIC"
                    )
    except asyncpg.PostgresError as error:
        raise NotReadyError(f"The functions of the rules cannot be made: {explained(error)}.") from error


async def _lacking(
    connection: asyncpg.Connection, names: list[str]
) -> list[tuple[str, tuple[str, ...], str, str, str]]:
    present = {tuple(row) for row in await connection.fetch(_PRESENT, names)}
    return [function for function in _FUNCTIONS if (function[0], ", ".join(function[1]), function[4]) not in present]
