"""Which columns of osquery's tables a query's own columns may carry values of, whatever they are called.

It errs on the side of more: a name that could mean two columns means both. Where only a yes or no about a value comes
out (a comparison, EXISTS, COUNT), the value itself does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sqlglot import exp

from server.catalog.schema import OsquerySchema
from server.normalize.never import is_secret_name
from server.normalize.treatment import Known

Origin = tuple[str, str]


def known_query(version: str, statement: exp.Query, schema: OsquerySchema) -> Known:
    """What minimisation has to know of a query."""
    lineage = _Lineage(statement, schema)
    literals = (literal.name for literal in statement.find_all(exp.Literal) if literal.is_string)
    return Known(version, lineage.columns(), any(is_secret_name(text.strip("%_*")) for text in literals))


class _Lineage:
    def __init__(self, statement: exp.Query, schema: OsquerySchema) -> None:
        self._statement = statement
        self._outer = {id(select) for select in selects(statement)}
        self._derived = {node.alias_or_name.lower() for node in statement.find_all(exp.CTE, exp.Subquery)}
        self._tables: dict[str, set[str]] = {}
        # Canonical table to its columns: name to canonical name.
        self._given: dict[str, dict[str, str]] = {}
        for node in statement.find_all(exp.Table):
            table = schema.table(node.name)
            if table is not None:
                self._tables.setdefault(node.alias_or_name.lower(), set()).add(table.canonical)
                self._given[table.canonical] = {name: column.canonical for name, column in table.by_name.items()}
        self._inner: dict[str, set[Origin]] = {}
        self._settle()

    def columns(self) -> Mapping[str, frozenset[Origin]]:
        """The query's columns, in lower case, with their origins."""
        found: dict[str, set[Origin]] = {}
        first = next(selects(self._statement))
        names = [projection.alias_or_name.lower() for projection in first.expressions]
        for select in selects(self._statement):
            for name, projection in zip(names, select.expressions, strict=False):
                found.setdefault(name, set()).update(self._of(projection))
        return {name: frozenset(origins) for name, origins in found.items()}

    def _settle(self) -> None:
        """Find what the names of inner queries stand for, until nothing is added."""
        aliases = list(self._aliases())
        grown = True
        while grown:
            grown = False
            aliases.reverse()  # so that a chain takes two turns, whichever way it is written
            for name, expression in aliases:
                known = self._inner.setdefault(name, set())
                more = self._of(expression) - known
                known |= more
                grown = grown or bool(more)

    def _aliases(self) -> Iterator[tuple[str, exp.Expr]]:
        for select in self._statement.find_all(exp.Select):
            for projection in select.expressions if id(select) not in self._outer else ():
                yield projection.alias_or_name.lower(), projection
        for common in self._statement.find_all(exp.CTE):  # WITH name (a, b) AS (…)
            for inner in selects(common.this):
                for name, projection in zip(common.alias_column_names, inner.expressions, strict=False):
                    yield name.lower(), projection

    def _of(self, node: exp.Expr) -> set[Origin]:
        match node:
            case exp.Column():
                return self._named(node)
            case exp.Select() | exp.SetOperation():
                parts = [part for select in selects(node) for part in select.expressions]
            case exp.Subquery():
                parts = [node.this]
            case exp.Exists() | exp.Count() | exp.Predicate() | exp.Not():
                return set()
            case exp.Case():
                branches = [*node.args["ifs"], node.args.get("default")]
                parts = [branch.args["true"] if isinstance(branch, exp.If) else branch for branch in branches if branch]
            case _:
                parts = list(node.iter_expressions())
        return set().union(*map(self._of, parts)) if parts else set()

    def _named(self, column: exp.Column) -> set[Origin]:
        name = column.name.lower()
        qualifier = column.table.lower()
        tables, inner = self._tables.get(qualifier, set()), set[Origin]()
        if qualifier not in self._tables or qualifier in self._derived:
            tables, inner = set(self._given), self._inner.get(name, set())
        return inner | {(table, self._given[table][name]) for table in tables if name in self._given[table]}


def selects(query: exp.Expr) -> Iterator[exp.Select]:
    """The SELECTs whose rows a query gives: itself, or the parts of a UNION."""
    if isinstance(query, exp.Select):
        yield query
    elif isinstance(query, exp.SetOperation):
        yield from selects(query.left)
        yield from selects(query.right)
    elif isinstance(query, exp.Subquery):
        yield from selects(query.this)
