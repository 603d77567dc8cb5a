"""A foreign pack as files of a packs folder, each query tried on the platforms it is for before it is taken over."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

from ruamel.yaml import YAML

from server.catalog.catalog import NOT_PACKS
from server.catalog.exchange.columns import NotNamedError, left_out, name_columns, reads_events, untyped_columns
from server.catalog.exchange.foreign import ForeignPack, ForeignPolicy, ForeignQuery, platforms_meant
from server.catalog.header import KEYS
from server.catalog.moving import moving_columns
from server.catalog.packs import WEEK
from server.catalog.problems import Problem
from server.catalog.schema import PLATFORMS, OsquerySchema

DEFAULT_INTERVAL, LEAST_INTERVAL = 3600, 60
OLDEST = (5,)
"""Least versions below this one are not carried over: no osquery of before speaks the schema we check against."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a made file comes from, for problems found in it."""

    file: str
    line: int
    what: str


@dataclass(slots=True)
class Converted:
    """What a pack became: files by their path in the packs folder, and what could not be taken over.

    ``queries`` and ``controls`` have the files of each by its name, ``packs`` what the pack files say by their path.
    """

    files: dict[str, str] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)
    """What is another than it was, and no problem."""
    queries: dict[str, list[str]] = field(default_factory=dict)
    controls: dict[str, list[str]] = field(default_factory=dict)
    packs: dict[str, dict[str, Any]] = field(default_factory=dict)

    def drop(self, refused: set[str]) -> None:
        """Leave out refused files, queries without a file left, and controls whose query is refused anywhere."""
        for name, paths in list(self.queries.items()):
            self.queries[name] = [path for path in paths if path not in refused]
            if not self.queries[name]:
                del self.queries[name]
        for name, paths in list(self.controls.items()):
            if refused & set(paths):
                refused |= set(paths)
                del self.controls[name]
        self.files = {path: text for path, text in self.files.items() if path not in refused}
        for path, content in list(self.packs.items()):
            kept = {name: entry for name, entry in content.get("queries", {}).items() if name in self.queries}
            judged = [control for control in content.get("controls", []) if control in self.controls]
            self.packs[path] = content | {"queries": kept, "controls": judged}
            if not kept and not judged:
                del self.packs[path]

    def rendered(self) -> dict[str, str]:
        """Every file, the packs' own included."""
        return self.files | {
            path: to_yaml({k: v for k, v in content.items() if v != {} and v != []})
            for path, content in self.packs.items()
        }


@dataclass(frozen=True, slots=True)
class _Narrowed:
    """What tells the packs apart that one foreign pack becomes: least version and percentage."""

    version: str
    shard: int

    def suffix(self) -> str:
        parts = [f"from-{self.version.replace('.', '-')}"] if self.version else []
        return "-".join(["", *parts, *([f"{self.shard}-percent"] if self.shard else [])])


def convert(pack: ForeignPack, schema: OsquerySchema, taken: set[str]) -> Converted:
    """The files of ``pack``; ``taken`` are names of queries and controls that exist, and grows."""
    done = Converted()
    pack_id = slug(pack.name, "-")
    if f"{pack_id}.yaml" in NOT_PACKS:
        pack_id += "-pack"
    members: dict[_Narrowed, dict[str, Any]] = {}
    for query in pack.queries:
        narrowed, interval = _narrowed(pack, query, done), _interval(pack, query, done)
        if narrowed is None or interval is None:
            continue
        name = _free(slug(query.name, "_"), slug(pack.name, "_"), taken)
        if _write_query(pack, query, name, pack_id, schema, done):
            members.setdefault(narrowed, {})[name] = {"interval": interval} if interval != DEFAULT_INTERVAL else None
    controls = [made for policy in pack.policies if (made := _write_policy(pack, policy, pack_id, schema, taken, done))]
    if controls:
        members.setdefault(_Narrowed("", 0), {})
    for narrowed, queries in members.items():
        _write_pack(pack, pack_id, narrowed, queries, [] if narrowed.suffix() else controls, done)
    return done


def slug(name: str, joint: str) -> str:
    """A name in lower case, of letters, digits and ``joint``, that begins with a letter."""
    found = re.sub(r"[^a-z0-9]+", joint, name.lower()).strip(joint)
    return found if found[:1].isalpha() else f"q{joint}{found}".rstrip(joint)


def _free(name: str, pack: str, taken: set[str]) -> str:
    for candidate in (name, f"{pack}_{name}", *(f"{pack}_{name}_{number}" for number in range(2, 1000))):
        if candidate not in taken:
            taken.add(candidate)
            return candidate
    raise ValueError(f"a thousand queries are named {name!r}")


def _narrowed(pack: ForeignPack, query: ForeignQuery, done: Converted) -> _Narrowed | None:
    versions = [version for version in (pack.version, query.version) if version and version != "null"]
    if any(not re.fullmatch(r"\d+(\.\d+)*", version) for version in versions):
        what = f"query {query.name!r}: version {versions[-1]!r} is no version of osquery"
        done.problems.append(Problem(pack.file, query.line, what, "it was left out"))
        return None
    known = [version for version in versions if _numbers(version) >= OLDEST]
    shards = [shard for shard in (_number(pack.shard), _number(query.shard)) if shard and 0 < shard < 100]
    return _Narrowed(max(known, key=_numbers, default=""), min(shards, default=0))


def _interval(pack: ForeignPack, query: ForeignQuery, done: Converted) -> int | None:
    if query.interval in (None, ""):
        return DEFAULT_INTERVAL
    seconds = _number(query.interval)
    if seconds is None or not 0 < seconds <= WEEK:
        what = f"query {query.name!r}: interval {query.interval!r} is not between 1 and {WEEK} seconds"
        done.problems.append(Problem(pack.file, query.line, what, "osquery never runs it; it was left out"))
        return None
    return max(seconds, LEAST_INTERVAL)


def _write_query(
    pack: ForeignPack, query: ForeignQuery, name: str, pack_id: str, schema: OsquerySchema, done: Converted
) -> bool:
    """Write a file per platform, or one where they are all alike; says whether there is any."""
    origin = Origin(pack.file, query.line, f"query {query.name!r}")
    texts = _texts(pack, query.sql, query.platform, origin, schema, done)
    described = query.description or query.name
    for platforms, sql in _alike(texts):
        head = [*_comment(described), *_comment(f"Imported from {_base(pack.file)}, {query.name}.")]
        head += _header(sql, platforms, schema)
        for path in _paths(pack_id, name, platforms):
            done.files[path] = "\n".join([*head, f"{sql};", ""])
            done.origins[path] = origin
            done.queries.setdefault(name, []).append(path)
    return bool(texts)


def _texts(
    pack: ForeignPack, sql: str, platform: str, origin: Origin, schema: OsquerySchema, done: Converted
) -> dict[str, str]:
    """The query per platform on which it can run; where there is none, the reason is a problem."""
    meant = [name for name in platforms_meant(pack.platform) if name in platforms_meant(platform)]
    texts: dict[str, str] = {}
    why = f"osquery runs nothing that is for {platform or pack.platform!r}"
    for name in meant:
        try:
            texts[name] = name_columns(sql, name, schema)
        except NotNamedError as error:
            why = str(error)
    if not texts:
        done.problems.append(Problem(origin.file, origin.line, f"{origin.what}: {why}", "it was left out"))
    for column in sorted({one for name, text in texts.items() for one in left_out(sql, text, name, schema)}):
        what = f"{origin.what}: its * was written out without {column}"
        hint = "all columns of a table that osquery caches might be those of an earlier query"
        done.notes.append(Problem(origin.file, origin.line, what, hint))
    return texts


def _alike(texts: Mapping[str, str]) -> Iterator[tuple[tuple[str, ...], str]]:
    for sql in dict.fromkeys(texts.values()):
        yield tuple(platform for platform in PLATFORMS if texts.get(platform) == sql), sql


def _paths(pack_id: str, name: str, platforms: tuple[str, ...]) -> list[str]:
    if platforms == PLATFORMS:
        return [f"queries/{pack_id}/{name}.sql"]
    return [f"queries/{pack_id}/{name}.{platform}.sql" for platform in platforms]


def _header(sql: str, platforms: tuple[str, ...], schema: OsquerySchema) -> list[str]:
    """The header's keys: how the answers are kept, and text for columns whose type nothing tells."""
    untyped = untyped_columns(sql, platforms, schema)
    typed = [f"-- columns: {', '.join(f'{name} text' for name in untyped)}"] if untyped else []
    if reads_events(sql, schema):
        return ["-- mode: events", *typed]
    moving = moving_columns(sql, schema)
    return ([f"-- volatile: {', '.join(moving)}"] if moving else []) + typed


def _write_policy(
    pack: ForeignPack, policy: ForeignPolicy, pack_id: str, schema: OsquerySchema, taken: set[str], done: Converted
) -> str | None:
    """A control that passes where the policy's query gives a row: its query says so in one row, always."""
    origin = Origin(pack.file, policy.line, f"policy {policy.name!r}")
    asked = policy.sql.strip().rstrip(";").rstrip()
    sql = f"SELECT EXISTS (\n{textwrap.indent(asked, '  ')}\n) AS passes"
    texts = _texts(pack, sql, policy.platform, origin, schema, done)
    if not texts:
        return None
    control = _free(slug(policy.name, "-"), pack_id, taken)
    name = _free(slug(control, "_"), slug(pack_id, "_"), taken)
    for platforms, text in _alike(texts):
        head = [*_comment(f"Whether the policy holds: {policy.name}."), "-- columns: passes bigint"]
        for path in _paths(pack_id, name, platforms):
            done.files[path] = "\n".join([*head, f"{text};", ""])
            done.origins[path] = origin
            done.controls.setdefault(control, []).append(path)
    folder = f"controls/{pack_id}/{control}"
    done.files[f"{folder}/control.yaml"] = to_yaml(_control(policy, name, list(texts), _base(pack.file)))
    done.files[f"{folder}/cases.yaml"] = to_yaml({"cases": [case for platform in texts for case in _cases(platform)]})
    for file in ("control", "cases"):
        done.origins[f"{folder}/{file}.yaml"] = origin
        done.controls[control].append(f"{folder}/{file}.yaml")
    return control


def _control(policy: ForeignPolicy, query: str, platforms: list[str], file: str) -> dict[str, Any]:
    rule = {"query": query, "every": "passes = 1", "undecided": "passes IS NULL", "empty": "error"}
    resolution = policy.resolution or "The policy does not say what to do."
    return {
        "title": policy.name,
        "why": policy.description or f"The policy {policy.name} asks for it.",
        "severity": "high" if policy.critical else "medium",
        "platforms": {
            platform: {**rule, "confidence": "documented", "note": f"Imported from {file}."} for platform in platforms
        },
        "remediation": dict.fromkeys(platforms, resolution),
        "limits": "Says only whether the imported policy holds, not which rows decide; rewrite the query to show them.",
    }


def _cases(platform: str) -> list[dict[str, Any]]:
    def case(name: str, rows: list[dict[str, str]], status: str, reason: str | None) -> dict[str, Any]:
        found: dict[str, Any] = {"name": f"{platform}, {name}", "platform": platform, "rows": rows, "status": status}
        return found | ({"reason": reason} if reason else {}) | {"evidence": [0] if rows else []}

    return [
        case("the policy holds", [{"passes": "1"}], "pass", None),
        case("the policy does not hold", [{"passes": "0"}], "fail", "rows_break_rule"),
        case("no row", [], "error", "empty"),
        case("no answer in the row", [{"passes": ""}], "error", "undecided"),
        case("the answer is no number", [{"passes": "yes"}], "error", "undecided"),
    ]


def _write_pack(
    pack: ForeignPack, pack_id: str, narrowed: _Narrowed, queries: dict[str, Any], controls: list[str], done: Converted
) -> None:
    content: dict[str, Any] = {"title": f"{pack.name}, imported from {_base(pack.file)}"}
    platforms = platforms_meant(pack.platform)
    if platforms != PLATFORMS:
        content["platforms"] = list(platforms)
    targets = ({"osquery": narrowed.version} if narrowed.version else {}) | (
        {"percentage": narrowed.shard} if narrowed.shard else {}
    )
    if targets:
        content["targets"] = targets
    if pack.discovery:
        content["discovery"] = list(pack.discovery)
    if queries:
        content["queries"] = queries
    if controls:
        content["controls"] = controls
    path = f"{pack_id}{narrowed.suffix()}.yaml"
    done.packs[path] = content
    done.origins[path] = Origin(pack.file, pack.line, f"pack {pack.name!r}")


def _comment(text: str) -> list[str]:
    """Text as comment lines, none of which could be taken for a header key."""
    return [_no_key(line) for line in textwrap.wrap(" ".join(text.split()), 110) or ["No description."]]


def _no_key(line: str) -> str:
    key = re.match(r"([A-Za-z_]+)\s*[:=]", line)
    if key and key[1].lower() in KEYS:
        return f"-- ({line})"
    return f"-- {line[0].upper()}{line[1:]}" if key else f"-- {line}"


def to_yaml(content: Mapping[str, Any]) -> str:
    """A mapping as the text of a YAML file."""
    yaml, out = YAML(), StringIO()
    yaml.width = 110
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.representer.add_representer(
        type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "")
    )
    yaml.dump(dict(content), out)
    return out.getvalue()


def _base(file: str) -> str:
    return re.split(r"[\\/]", file)[-1]


def _number(value: object) -> int | None:
    text = str(value).strip() if not isinstance(value, bool) and value is not None else ""
    return int(text) if re.fullmatch(r"\d{1,12}", text) else None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
