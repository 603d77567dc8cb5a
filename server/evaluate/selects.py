"""The values of SELECTs over one device's rows: aggregates, sub-selects, EXISTS and CASE. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from sqlglot import exp

from server.evaluate.functions import AGGREGATES
from server.evaluate.language import (
    BOOLEAN,
    NULL,
    NUMBERS,
    Part,
    RuleError,
    Writing,
    as_double,
    compile_part,
    expect,
    shown,
    shown_kind,
)
from server.evaluate.scalar import EXACT
from server.evaluate.sources import Scope, Select, Statement, compile_from, only, writing
from server.normalize.values import BIGINT, DOUBLE, TEXT


def in_rows(s: Statement, scope: Scope) -> Select:
    """What a condition on rows may have: EXISTS, values of sub-selects, and CASE."""
    return lambda node, w: _sub_select(node, s, scope, w)


def without_selects(where: str) -> Select:
    """CASE alone, where no sub-select may stand."""

    def select(node: exp.Expr, w: Writing) -> Part | None:
        if isinstance(node, exp.Subquery | exp.Exists | exp.Select):
            raise RuleError(f"{shown(node)}: no SELECT within {where}; put it into WHERE")
        return _case(node, w) if isinstance(node, exp.Case) else None

    return select


def _sub_select(node: exp.Expr, s: Statement, scope: Scope, w: Writing) -> Part | None:
    """EXISTS, the value of a sub-select, or a CASE."""
    if isinstance(node, exp.Case):
        return _case(node, w)
    if isinstance(node, exp.Exists):
        return _exists(node, s, scope, w)
    if isinstance(node, exp.Subquery) and isinstance(node.this, exp.Select) and not node.args.get("alias"):
        before, s.depth = s.depth, w.depth
        part = compile_value(node.this, s, scope)
        s.depth = before
        return replace(part, sql=f"({part.sql})")
    return None


def compile_value(node: exp.Select, s: Statement, outer: Scope | None) -> Part:
    """A SELECT of one value: of aggregates over its rows or, without a FROM, of sub-selects."""
    only(node)
    if len(node.expressions) != 1:
        raise RuleError(f"{shown(node)}: select one value, not {len(node.expressions)}")
    scope = Scope(outer)
    rendered = compile_from(node, s, scope, without_selects("ON"), in_rows(s, scope))
    scope.rows = False
    made = _Aggregates(f"g{s.tables}")
    value = compile_part(node.expressions[0].unalias(), writing(s, scope, _beside_aggregates(s, scope, made)))
    if scope.sources and not made.names:
        raise RuleError(
            f"{shown(node)} would give a value for every row: make one of them by COUNT, SUM, MIN or MAX,"
            " or ask by EXISTS whether there is a row"
        )
    sql = f"SELECT {value.sql}"
    if made.names:
        # The aggregates are a row of their own: what stands beside them may be anything then, also a sub-select of it.
        columns = ", ".join(f"{aggregate} AS {name}" for aggregate, name in made.names.items())
        sql += f" FROM (SELECT {columns}{rendered()}) {made.alias}"
    return replace(value, sql=sql, varies=True, constant=None)


def _case(node: exp.Case, w: Writing) -> Part:
    """``CASE WHEN condition THEN value … ELSE value END``; the values are of one kind, null goes with each."""
    if node.this is not None:
        raise RuleError(f"{shown(node)}: write CASE WHEN condition THEN value …, with nothing before WHEN")
    conditions = [expect(BOOLEAN, branch.this, w) for branch in node.args["ifs"]]
    nodes = [branch.args["true"] for branch in node.args["ifs"]] + [node.args.get("default") or exp.Null()]
    parts = [compile_part(one, w) for one in nodes]
    kinds = {part.kind for part in parts} - {NULL}
    if not kinds:
        raise RuleError(f"{shown(node)} is always null")
    if len({shown_kind(kind) for kind in kinds}) > 1:
        raise RuleError(f"{shown(node)} gives {' or '.join(sorted(map(shown_kind, kinds)))}: one kind of value, please")
    if DOUBLE in kinds:
        parts = [as_double(part) for part in parts]
    branches = zip(conditions, parts, strict=False)
    whens = " ".join(f"WHEN {condition.sql} THEN {part.sql}" for condition, part in branches)
    return Part(f"(CASE {whens} ELSE {parts[-1].sql} END)", DOUBLE if DOUBLE in kinds else kinds.pop())


def _exists(node: exp.Exists, s: Statement, scope: Scope, w: Writing) -> Part:
    inner = node.this.unnest() if isinstance(node.this, exp.Subquery) else node.this
    if not isinstance(inner, exp.Select):
        raise RuleError(f"{shown(node)}: EXISTS takes a SELECT")
    only(inner)
    if inner.args.get("from_") is None:
        raise RuleError(f"{shown(node)}: say FROM which query")
    if len(inner.expressions) != 1 or not isinstance(inner.expressions[0], exp.Literal | exp.Star):
        raise RuleError(f"{shown(node)}: what is selected does not matter: write EXISTS (SELECT 1 FROM …)")
    before, s.depth = s.depth, w.depth
    within = Scope(scope)
    rendered = compile_from(inner, s, within, without_selects("ON"), in_rows(s, within))
    s.depth = before
    return Part(f"EXISTS (SELECT 1{rendered()})", BOOLEAN)


@dataclass(slots=True)
class _Aggregates:
    """The aggregates of a SELECT, by their SQL, each with the name of the column that it is."""

    alias: str
    names: dict[str, str] = field(default_factory=dict)

    def column(self, part: Part) -> Part:
        """An aggregate as what stands beside it reads it."""
        name = self.names.setdefault(part.sql, f"v{len(self.names) + 1}")
        return replace(part, sql=f"{self.alias}.{name}")


def _beside_aggregates(s: Statement, scope: Scope, made: _Aggregates) -> Select:
    """What may be selected: aggregates, which are noted, and what stands beside them."""

    def select(node: exp.Expr, w: Writing) -> Part | None:
        if isinstance(node, exp.Anonymous) and str(node.this).lower() in AGGREGATES:
            return made.column(_aggregate(node, s, scope, w))
        return _sub_select(node, s, scope, w)

    return select


def _aggregate(node: exp.Anonymous, s: Statement, scope: Scope, w: Writing) -> Part:
    name = str(node.this).upper()
    if not scope.sources:
        raise RuleError(f"{shown(node)}: say FROM which query")
    if len(node.expressions) != 1:
        raise RuleError(f"{shown(node)}: {name} takes one value")
    (argument,) = node.expressions
    if isinstance(argument, exp.Star):
        if name != "COUNT":
            raise RuleError(f"{shown(node)}: {name} takes a value; only COUNT counts whole rows")
        return Part("COUNT(*)", BIGINT)
    distinct = isinstance(argument, exp.Distinct)
    if distinct and (name != "COUNT" or len(argument.expressions) != 1 or argument.args.get("on")):
        raise RuleError(f"{shown(node)}: DISTINCT goes with COUNT and one value")
    value = argument.expressions[0] if distinct else argument
    if not list(value.find_all(exp.Column)):
        raise RuleError(f"{shown(node)} reads no column: write COUNT(*) for the number of rows")
    # Of its own tables only: an aggregate of another SELECT's columns would be that one's, to SQL.
    within = Scope(None, scope.sources)
    before, s.depth = s.depth, w.depth
    part = compile_part(value, writing(s, within, without_selects(name)))
    s.depth = before
    if part.kind not in (TEXT, *NUMBERS):
        raise RuleError(f"{shown(node)}: {name} takes values, not a condition: count rows WHERE it is true")
    return _of_values(node, name, part, distinct)


def _of_values(node: exp.Anonymous, name: str, part: Part, distinct: bool) -> Part:
    if name == "COUNT":
        return Part(f"COUNT({'DISTINCT ' if distinct else ''}{part.sql})", BIGINT)
    if name != "SUM":
        return Part(f"{name}({part.sql})", part.kind)
    if part.kind != BIGINT:
        raise RuleError(
            f"{shown(node)}: SUM takes whole numbers; a sum of fractions depends on the order they are added in,"
            " which databases choose: give whole units (bytes, seconds) in the query"
        )
    # Doubles below 2**53 are exact, in whatever order they are added; and no sum of them overflows, which SQLite calls
    # an error even where nobody asks for the sum.
    double = f"CAST({part.sql} AS DOUBLE PRECISION)"
    return Part(f"(CASE WHEN SUM(ABS({double})) < {EXACT} THEN CAST(SUM({double}) AS BIGINT) END)", BIGINT)
