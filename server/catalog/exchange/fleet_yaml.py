"""Fleet's YAML: documents of one kind each (``kind: query``), and its newer lists of policies, queries and reports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError

from server.catalog.exchange.foreign import ForeignPack, ForeignPolicy, ForeignQuery
from server.catalog.files import read_text
from server.catalog.problems import Problem, did_you_mean

_LISTS = {"policies": "policy", "queries": "query", "reports": "query"}
_KINDS = {"policy": "policy", "query": "query", "report": "query"}
_IGNORED = {"labels", "agent_options", "controls", "software", "team_settings", "org_settings", "name", "settings"}


def read_fleet(path: Path, problems: list[Problem]) -> list[ForeignPack]:
    """The queries and policies of a Fleet file, as one pack of its name, after the packs it spells out itself."""
    shown = str(path)
    text = read_text(path, shown, problems)
    if text is None:
        return []
    try:
        documents = list(YAML(typ="rt", pure=True).load_all(text.removeprefix("\ufeff")))
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problems.append(Problem(shown, line, f"not YAML: {error.problem}"))
        return []
    except Exception as error:  # the parser raises anything: KeyError, TypeError, RecursionError …
        problems.append(Problem(shown, 1, f"not YAML: {str(error) or type(error).__name__}"))
        return []
    found = [entry for document in documents for entry in _entries(document, shown, problems)]
    queries = {
        query.name: query for kind, entry in found if kind == "query" for query in _query(entry, shown, problems)
    }
    policies = [policy for kind, entry in found if kind == "policy" for policy in _policy(entry, shown, problems)]
    packs = [_pack(entry, queries, shown, problems) for kind, entry in found if kind == "pack"]
    asked = {query.name for pack in packs for query in pack.queries}
    rest = [query for query in queries.values() if query.name not in asked]
    if rest or policies:
        packs.append(ForeignPack(name=path.name.partition(".")[0], file=shown, queries=rest, policies=policies))
    return packs


def _entries(document: Any, shown: str, problems: list[Problem]) -> Iterator[tuple[str, CommentedMap]]:
    """What a document says, each with what it is: query, policy or pack."""
    if document is None:
        return
    if isinstance(document, CommentedSeq):  # a file that a list of policies or queries names by its path
        for entry in document:
            if isinstance(entry, CommentedMap):
                yield ("policy" if {"resolution", "critical"} & entry.keys() else "query"), entry
            else:
                problems.append(Problem(shown, document.lc.line + 1, "an item of the list is no mapping"))
        return
    if not isinstance(document, CommentedMap):
        problems.append(Problem(shown, 1, "file is neither a mapping nor a list"))
        return
    if "kind" in document:
        yield from _one_kind(document, shown, problems)
        return
    for key, value in document.items():
        if key in _LISTS:
            yield from _listed(key, value, shown, problems)
        elif key not in _IGNORED:
            hint = did_you_mean(str(key), _LISTS)
            problems.append(Problem(shown, _line(document, key), f"{key!r} was not taken over", hint))


def _one_kind(document: CommentedMap, shown: str, problems: list[Problem]) -> Iterator[tuple[str, CommentedMap]]:
    kind, spec = str(document["kind"]).lower(), document.get("spec")
    if kind not in {*_KINDS, "pack"}:
        what = f"a {kind!r} was not taken over"
        problems.append(Problem(shown, _line(document, "kind"), what, "queries, reports, policies and packs are"))
    elif not isinstance(spec, CommentedMap):
        problems.append(Problem(shown, _line(document, "kind"), f"the {kind} has no spec"))
    else:
        yield _KINDS.get(kind, kind), spec


def _listed(key: str, value: Any, shown: str, problems: list[Problem]) -> Iterator[tuple[str, CommentedMap]]:
    for entry in value if isinstance(value, Sequence) and not isinstance(value, str) else ():
        if isinstance(entry, CommentedMap) and "path" in entry and "query" not in entry:
            what = f"{key} of {entry['path']} are in a file of their own"
            problems.append(Problem(shown, entry.lc.line + 1, what, "import that file too"))
        elif isinstance(entry, CommentedMap):
            yield _LISTS[key], entry


def _query(entry: CommentedMap, shown: str, problems: list[Problem]) -> Iterator[ForeignQuery]:
    name, sql = _named(entry, shown, problems)
    if sql:
        yield ForeignQuery(
            name=name,
            sql=sql,
            line=entry.lc.line + 1,
            platform=_text(entry.get("platform")),
            interval=entry.get("interval") or None,
            version=_text(entry.get("min_osquery_version")),
            snapshot=True,
            description=_text(entry.get("description")),
        )


def _policy(entry: CommentedMap, shown: str, problems: list[Problem]) -> Iterator[ForeignPolicy]:
    name, sql = _named(entry, shown, problems)
    if sql:
        yield ForeignPolicy(
            name=name,
            sql=sql,
            line=entry.lc.line + 1,
            platform=_text(entry.get("platform")),
            description=_text(entry.get("description")),
            resolution=_text(entry.get("resolution")),
            critical=entry.get("critical") is True,
        )


def _named(entry: CommentedMap, shown: str, problems: list[Problem]) -> tuple[str, str]:
    """Name and SQL; an entry that lacks one of them is a problem, and its SQL is empty."""
    name, sql = _text(entry.get("name")), _text(entry.get("query"))
    if not name or not sql:
        lacking = "name" if not name else "query"
        problems.append(Problem(shown, entry.lc.line + 1, f"an entry has no {lacking}", "it was left out"))
        return name, ""
    return name, sql


def _pack(spec: CommentedMap, queries: Mapping[str, ForeignQuery], shown: str, problems: list[Problem]) -> ForeignPack:
    """A pack of Fleet's: its entries name queries of the file and say how often."""
    asked: list[ForeignQuery] = []
    for entry in spec.get("queries") or ():
        wanted = _text(entry.get("query")) if isinstance(entry, CommentedMap) else ""
        query = queries.get(wanted)
        if query is None:
            what = f"pack {spec.get('name')!r} asks for a query {wanted!r} that the file does not have"
            problems.append(Problem(shown, spec.lc.line + 1, what, did_you_mean(wanted, queries)))
            continue
        asked.append(
            ForeignQuery(
                name=query.name,
                sql=query.sql,
                line=query.line,
                platform=_text(entry.get("platform")) or query.platform,
                interval=entry.get("interval"),
                version=_text(entry.get("version")) or query.version,
                shard=entry.get("shard"),
                snapshot=True,
                description=_text(entry.get("description")) or query.description,
            )
        )
    if spec.get("targets"):
        what = f"pack {spec.get('name')!r}: its targets were not taken over"
        problems.append(Problem(shown, _line(spec, "targets"), what, "say whom the pack is for with targets: tags:"))
    return ForeignPack(name=_text(spec.get("name")) or "pack", file=shown, line=spec.lc.line + 1, queries=asked)


def _line(tree: CommentedMap, key: Any) -> int:
    return int(tree.lc.key(key)[0]) + 1


def _text(value: object) -> str:
    return str(value).strip() if isinstance(value, str) else ""
