"""osquery's own spec files (``specs/**/*.table``) as the schema that queries are checked against.

A spec is Python in syntax only. It is parsed and never run: what is no literal or known name is a problem.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from server.catalog.problems import Problem
from server.catalog.schema import FLAGS, PLATFORMS
from server.catalog.spec_platforms import Built, built_specs
from server.normalize.values import OSQUERY_TYPES

LARGEST_SPEC = 256 * 1024
_PLATFORMS = {
    "DARWIN": frozenset({"darwin"}),
    "LINUX": frozenset({"linux"}),
    "POSIX": frozenset({"darwin", "linux"}),
    "WINDOWS": frozenset({"windows"}),
    "FREEBSD": frozenset[str](),
}
_TEXTS = ("date", "datetime")
"""SQLite has no such types, and osquery gives texts."""
_ATTRIBUTES = {"event_subscriber": "evented", "cacheable": "cacheable", "user_data": "user_data", "utility": "utility"}
_KNOWN = ("table_name", "description", "schema", "extended_schema", "attributes", "implementation")
_IGNORED = ("examples", "notes", "fuzz_paths")


class _SpecError(Exception):
    def __init__(self, node: ast.AST, message: str) -> None:
        super().__init__(message)
        self.line = getattr(node, "lineno", 1)


@dataclass(slots=True)
class _Spec:
    name: str = ""
    aliases: list[str] = field(default_factory=list)
    attributes: dict[str, bool] = field(default_factory=dict)
    columns: list[dict[str, Any]] = field(default_factory=list)


def read_specs(root: Path, version: str) -> tuple[dict[str, Any], list[Problem]]:
    """The schema of the spec files under ``root``, as ``osquery.json`` has it, and what could not be read."""
    problems: list[Problem] = []
    tables: dict[str, dict[str, Any]] = {}
    for built in built_specs(root):
        try:
            spec = _spec(_text(root / built.file))
        except _SpecError as error:
            problems.append(Problem(built.file, error.line, str(error)))
            continue
        if spec.name in tables:
            problems.append(Problem(built.file, 1, f"a second table {spec.name!r}"))
        tables[spec.name] = _entry(spec, built)
    if not tables:
        problems.append(Problem(str(root), 1, "no spec files here", "give the folder specs of osquery's source"))
    return {"osquery_version": version, "tables": [tables[name] for name in sorted(tables)]}, problems


def _text(path: Path) -> str:
    nowhere = ast.Pass()
    try:
        if not path.is_file() or path.stat().st_size > LARGEST_SPEC:
            raise _SpecError(nowhere, "not a file of reasonable size")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _SpecError(nowhere, f"cannot be read: {error}") from error


def _spec(text: str) -> _Spec:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        where = ast.Pass(lineno=getattr(error, "lineno", None) or 1)
        raise _SpecError(where, f"not a spec: {getattr(error, 'msg', error)}") from error
    spec = _Spec()
    for statement in tree.body:
        call = statement.value if isinstance(statement, ast.Expr) else None
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            raise _SpecError(statement, "a spec is a list of calls, such as table_name(…) and schema(…)")
        _statement(spec, call, call.func.id)
    if not spec.name or not spec.columns:
        raise _SpecError(ast.Pass(), "the spec names no table, or no column")
    return spec


def _statement(spec: _Spec, call: ast.Call, name: str) -> None:
    keywords = {keyword.arg or "": keyword.value for keyword in call.keywords}
    if name == "table_name":
        spec.name = _string(call, 0)
        spec.aliases = _strings(keywords.get("aliases"))
    elif name == "attributes":
        # osquery's generator asks for the value here, and for a column's flag only whether it is there.
        spec.attributes = {key: bool(_literal(value)) for key, value in keywords.items()}
    elif name == "schema":
        spec.columns += _columns(call, 0, None)
    elif name == "extended_schema":
        where = _platforms(call.args[0]) if call.args else frozenset()
        spec.columns += _columns(call, 1, [platform for platform in PLATFORMS if platform in where])
    elif name not in _KNOWN + _IGNORED:
        raise _SpecError(call, f"{name}(…) is not known in a spec")


def _columns(call: ast.Call, position: int, platforms: list[str] | None) -> Iterator[dict[str, Any]]:
    listed = call.args[position] if len(call.args) > position else None
    if not isinstance(listed, ast.List):
        raise _SpecError(call, "a list of columns is missing")
    for item in listed.elts:
        kind = item.func.id if isinstance(item, ast.Call) and isinstance(item.func, ast.Name) else ""
        if kind == "Column" and isinstance(item, ast.Call):
            yield _column(item, platforms)
        elif kind != "ForeignKey":
            raise _SpecError(item, "not a Column(…) or ForeignKey(…)")


def _column(call: ast.Call, platforms: list[str] | None) -> dict[str, Any]:
    kind = call.args[1].id.lower() if len(call.args) > 1 and isinstance(call.args[1], ast.Name) else ""
    if kind not in OSQUERY_TYPES:
        raise _SpecError(call, f"the column's type is none of {', '.join(sorted(OSQUERY_TYPES))}")
    keywords = {keyword.arg or "": keyword.value for keyword in call.keywords}
    column: dict[str, Any] = {"name": _string(call, 0), "type": "text" if kind in _TEXTS else kind}
    column |= {flag: True for flag in FLAGS if flag in keywords}
    if "collate" in keywords:
        column["collate"] = str(_literal(keywords["collate"]))
    if "aliases" in keywords:
        column["aliases"] = _strings(keywords["aliases"])
    return column | ({"platforms": platforms} if platforms is not None else {})


def _platforms(node: ast.expr) -> frozenset[str]:
    """``LINUX + DARWIN``, also written as calls."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _platforms(node.left) | _platforms(node.right)
    if isinstance(node, ast.Call) and not node.args:
        node = node.func
    if isinstance(node, ast.Name) and node.id in _PLATFORMS:
        return _PLATFORMS[node.id]
    raise _SpecError(node, "not a platform: LINUX, DARWIN, WINDOWS or POSIX")


def _string(call: ast.Call, position: int) -> str:
    value = _literal(call.args[position]) if len(call.args) > position else None
    if not isinstance(value, str) or not value:
        raise _SpecError(call, "a name is missing")
    return value


def _strings(node: ast.expr | None) -> list[str]:
    value = _literal(node) if node is not None else []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _SpecError(node or ast.Pass(), "not a list of names")
    return value


def _literal(node: ast.expr) -> object:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        raise _SpecError(node, "not a plain value") from error


def _entry(spec: _Spec, built: Built) -> dict[str, Any]:
    """A table as ``osquery.json`` has it: what is false or empty is left out."""
    entry: dict[str, Any] = {"name": spec.name, "platforms": list(built.platforms)}
    entry |= {"aliases": spec.aliases} if spec.aliases else {}
    entry |= {ours: True for theirs, ours in _ATTRIBUTES.items() if spec.attributes.get(theirs)}
    entry |= {"build_condition": built.condition} if built.condition else {}
    return entry | {"columns": spec.columns}


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """What is not the same in two schemas, a line each."""
    if old.get("osquery_version") != new.get("osquery_version"):
        yield f"version {old.get('osquery_version')} became {new.get('osquery_version')}"
    before = {table["name"]: table for table in old.get("tables", ())}
    after = {table["name"]: table for table in new.get("tables", ())}
    for name in sorted(before.keys() | after.keys()):
        if name not in before or name not in after:
            yield f"table {name} {'is new' if name in after else 'is gone'}"
            continue
        yield from _table_differences(name, before[name], after[name])


def _table_differences(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for key in sorted((before.keys() | after.keys()) - {"columns"}):
        if before.get(key) != after.get(key):
            yield f"table {name}: {key} {before.get(key)} became {after.get(key)}"
    old = {column["name"]: column for column in before["columns"]}
    new = {column["name"]: column for column in after["columns"]}
    for column in sorted(old.keys() | new.keys()):
        if column not in old or column not in new:
            yield f"column {name}.{column} {'is new' if column in new else 'is gone'}"
        elif old[column] != new[column]:
            keys = sorted(old[column].keys() | new[column].keys())
            changed = [key for key in keys if old[column].get(key) != new[column].get(key)]
            says = "; ".join(f"{key} {old[column].get(key)} became {new[column].get(key)}" for key in changed)
            yield f"column {name}.{column}: {says}"
