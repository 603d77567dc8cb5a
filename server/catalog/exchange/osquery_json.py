"""osquery's own files: packs and configs, JSON with comment lines and continued lines."""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from server.catalog.exchange.foreign import ForeignPack, ForeignQuery
from server.catalog.files import read_text
from server.catalog.problems import Problem

_NOT_TAKEN = {
    "options": "Muster's own config sets the options",
    "decorators": "Muster's own config has the decorators it needs",
    "file_paths": "Muster has no file events of its own to give these paths to",
    "yara": "Muster runs no YARA scans",
    "views": "osquery's views are not part of a pack",
    "events": "Muster's own config sets what events are recorded",
    "auto_table_construction": "declare the tables in fleet.yaml, extension_tables, and keep this with osquery",
}
_PACK_KEYS = {"queries", "platform", "version", "shard", "discovery", "oncall", "description", "name"}


class _Twice(list[str]):
    """The keys that an object of the file gives twice; osquery takes the first."""


def read_osquery(path: Path, problems: list[Problem]) -> list[ForeignPack]:
    """The packs of a pack file or an osquery.conf, those it names by path included. Problems are appended."""
    loaded = _load(path, problems)
    if loaded is None:
        return []
    text, data = loaded
    shown = str(path)
    if not ({"schedule", "packs"} & data.keys()):
        return list(_pack(path.name.partition(".")[0], data, text, shown, problems))
    packs: list[ForeignPack] = []
    if isinstance(schedule := data.get("schedule"), dict):
        packs += _pack(path.name.partition(".")[0], {"queries": schedule}, text, shown, problems)
    elif "schedule" in data:
        problems.append(Problem(shown, _line(text, "schedule"), "schedule is no mapping of names to queries"))
    for key, why in _NOT_TAKEN.items():
        if data.get(key):
            problems.append(Problem(shown, _line(text, key), f"{key!r} was not taken over", why))
    named = data.get("packs", {})
    if not isinstance(named, dict):
        problems.append(Problem(shown, _line(text, "packs"), "packs is no mapping of names to packs"))
        return packs
    for name, value in named.items():
        packs += _named_pack(name, value, text, path, problems)
    return packs


def _named_pack(name: str, value: object, text: str, path: Path, problems: list[Problem]) -> Iterator[ForeignPack]:
    """A pack written out in a config, or the path of its file; under the name ``*`` a pattern of paths."""
    if isinstance(value, dict):
        yield from _pack(name, value, text, str(path), problems)
        return
    if not isinstance(value, str):
        problems.append(Problem(str(path), _line(text, name), f"pack {name!r} is neither a pack nor a path"))
        return
    found = sorted(glob.glob(str(path.parent / value)))
    if not found:
        what = f"pack {name!r}: there is no file {value}"
        problems.append(Problem(str(path), _line(text, name), what, "import that file by itself"))
    for other in found:
        loaded = _load(Path(other), problems)
        if loaded:
            own = Path(other).name.partition(".")[0] if name == "*" else name
            yield from _pack(own, loaded[1], loaded[0], other, problems)


def _load(path: Path, problems: list[Problem]) -> tuple[str, dict[str, Any]] | None:
    """The text of a file and the JSON object in it."""
    shown = str(path)
    text = read_text(path, shown, problems)
    if text is None:
        return None
    text = text.removeprefix("\ufeff")
    twice = _Twice()

    def first_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                twice.append(key)
            found.setdefault(key, value)
        return found

    try:
        data = json.loads(_plain(text), strict=False, object_pairs_hook=first_wins)
    except json.JSONDecodeError as error:
        problems.append(Problem(shown, _line_near(text, error), f"not JSON as osquery reads it: {error.msg}"))
        return None
    except RecursionError:
        problems.append(Problem(shown, 1, "nested too deeply"))
        return None
    if not isinstance(data, dict):
        problems.append(Problem(shown, 1, "file is not an object of keys and values"))
        return None
    problems += [
        Problem(shown, _line(text, key), f"{key!r} is given twice; osquery takes the first")
        for key in sorted(set(twice) - {"query", "interval", "description", "value", "platform", "version", "name"})
    ]
    return text, data


def _plain(text: str) -> str:
    """The JSON as osquery reads it: lines that end in a backslash go on, lines that begin with # or // are comments."""
    lines = (line.strip() for line in text.replace("\r\n", "\n").replace("\\\n", "").split("\n"))
    return "\n".join(line for line in lines if not line.startswith(("#", "//")))


def _line_near(text: str, error: json.JSONDecodeError) -> int:
    """The line of the original that stands at the error: comments and continuations are no longer counted there."""
    at = error.doc[: error.pos].rstrip()
    tail = at.rsplit("\n", 1)[-1].strip()
    for number, line in enumerate(text.splitlines(), 1):
        if tail and tail in line:
            return number
    return min(error.lineno, text.count("\n") + 1)


def _line(text: str, key: str) -> int:
    """The line on which a key is first given."""
    match = re.search(rf"{re.escape(json.dumps(key, ensure_ascii=False))}\s*:", text)
    return text.count("\n", 0, match.start()) + 1 if match else 1


def _pack(name: str, data: Mapping[str, Any], text: str, shown: str, problems: list[Problem]) -> Iterator[ForeignPack]:
    problems += [
        Problem(shown, _line(text, key), f"{key!r} of pack {name!r} is unknown to osquery")
        for key in sorted(data.keys() - _PACK_KEYS)
    ]
    queries = data.get("queries")
    if not isinstance(queries, dict):
        problems.append(Problem(shown, 1, f"pack {name!r} has no queries", 'a pack is {"queries": {NAME: {…}}}'))
        return
    discovery = data.get("discovery", [])
    if not isinstance(discovery, list) or not all(isinstance(sql, str) for sql in discovery):
        problems.append(Problem(shown, _line(text, "discovery"), "discovery is no list of queries"))
        discovery = []
    yield ForeignPack(
        name=name,
        file=shown,
        platform=_text(data.get("platform")),
        version=_text(data.get("version")),
        shard=data.get("shard"),
        discovery=discovery,
        queries=tuple(_queries(queries, text, shown, problems)),
    )


def _queries(queries: Mapping[str, Any], text: str, shown: str, problems: list[Problem]) -> Iterator[ForeignQuery]:
    for name, entry in queries.items():
        line = _line(text, name)
        if not isinstance(entry, dict) or not isinstance(entry.get("query"), str) or not entry["query"].strip():
            problems.append(Problem(shown, line, f"query {name!r} has no SQL", "osquery leaves it out too"))
            continue
        yield ForeignQuery(
            name=name,
            sql=entry["query"],
            line=line,
            platform=_text(entry.get("platform")),
            interval=entry.get("interval"),
            version=_text(entry.get("version")),
            shard=entry.get("shard"),
            snapshot=entry.get("snapshot") in (True, "true", 1, "1"),
            description=_described(entry),
        )


def _described(entry: Mapping[str, Any]) -> str:
    return ". ".join(_text(entry.get(key)).strip().rstrip(".") for key in ("description", "value") if entry.get(key))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
