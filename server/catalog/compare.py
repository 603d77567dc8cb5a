"""What differs between two packs folders, as whoever reviews it wants to read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import unified_diff
from itertools import groupby
from typing import Any

from server.catalog.catalog import Catalog, LoadedControl
from server.catalog.frameworks import Framework
from server.catalog.lists import ReferenceList
from server.catalog.packs import Pack
from server.catalog.queries import Query
from server.catalog.schema import PLATFORMS
from server.normalize.treatment import Rule

ADDED, REMOVED, CHANGED = "added", "removed", "changed"
MOST_ENTRIES = 10
"""Of a list's entries, or a framework's criteria, that are shown; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is added, removed or changed: what of it, a line each, and the difference of its text.

    ``sort`` is queries, controls, packs, lists, minimisation, frameworks or settings; ``platforms`` those of a query.
    """

    sort: str
    name: str
    how: str
    facts: tuple[str, ...] = ()
    diff: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()


def compare(before: Catalog, after: Catalog) -> list[Change]:
    """Every difference that matters to devices, verdicts or readers."""
    return [
        *_queries(before, after),
        *_each("controls", before.controls, after.controls, _control, _new_control),
        *_each("packs", before.packs, after.packs, _pack, _new_pack),
        *_each("lists", before.lists, after.lists, _list, lambda new: [f"{len(new.entries)} entries"]),
        *_minimisation(before.minimisation.rules, after.minimisation.rules),
        *_each("frameworks", before.frameworks, after.frameworks, _framework, _new_framework),
        *_settings(before, after),
    ]


def _each(sort: str, before: Mapping[str, Any], after: Mapping[str, Any], facts: Any, new: Any) -> Iterator[Change]:
    for name in sorted({*before, *after}):
        if name not in before:
            yield Change(sort, name, ADDED, tuple(new(after[name])))
        elif name not in after:
            yield Change(sort, name, REMOVED)
        elif found := tuple(facts(before[name], after[name])):
            yield Change(sort, name, CHANGED, found)


def _queries(before: Catalog, after: Catalog) -> Iterator[Change]:
    """A change each, for all the platforms on which it is the same one."""
    found: list[Change] = []
    for name, platform in sorted({*before.queries, *after.queries}, key=lambda at: (at[0], PLATFORMS.index(at[1]))):
        old, new = before.queries.get((name, platform)), after.queries.get((name, platform))
        change = _query(name, old, new)
        if change is None:
            continue
        same = next((at for at, one in enumerate(found) if replace(one, platforms=()) == change), None)
        if same is None:
            found.append(replace(change, platforms=(platform,)))
        else:
            found[same] = replace(change, platforms=(*found[same].platforms, platform))
    yield from found


def _query(name: str, old: Query | None, new: Query | None) -> Change | None:
    if new is None:
        return Change("queries", name, REMOVED)
    if old is None:
        columns = ", ".join(_column(column.kind, volatile=column.volatile, name=column.name) for column in new.columns)
        about = (f"mode {new.mode}, cost {_cost(new)}", f"columns: {columns}")
        return Change("queries", name, ADDED, about, tuple(f"+{line}" for line in new.sql.split("\n")))
    facts = tuple(_query_facts(old, new))
    diff = text_diff(old.sql, new.sql)
    return Change("queries", name, CHANGED, facts, diff) if facts or diff else None


def _query_facts(old: Query, new: Query) -> Iterator[str]:
    if old.version != new.version:
        yield f"version {old.version} → {new.version}: answers to the old one are judged no more"
    yield from _moved("mode", old.mode, new.mode)
    was = {column.name: _column(column.kind, volatile=column.volatile) for column in old.columns}
    now = {column.name: _column(column.kind, volatile=column.volatile) for column in new.columns}
    for name in [*was, *(name for name in now if name not in was)]:
        if name not in now:
            yield f"column {name} is gone ({was[name]})"
        elif name not in was:
            yield f"column {name} is new ({now[name]})"
        else:
            yield from _moved(f"column {name}", was[name], now[name])
    yield from _moved("key", ", ".join(old.key) or "none", ", ".join(new.key) or "none")
    yield from _moved("cost", _cost(old), _cost(new))
    yield from _moved("description", old.description, new.description)


def _column(kind: str, *, volatile: bool, name: str = "") -> str:
    return f"{name} {kind}{' volatile' if volatile else ''}".strip()


def _cost(query: Query) -> str:
    return f"{query.cost_seconds * 1000:g} ms"


_RULE = ("query", "evidence", "undecided", "applies_when", "empty", "confidence", "note")


def _control(old: LoadedControl, new: LoadedControl) -> Iterator[str]:
    one, other = old.control, new.control
    yield from _moved("area", old.area, new.area)
    for key in ("title", "severity", "fresh_within_days", "why", "limits"):
        yield from _moved(key, getattr(one, key), getattr(other, key))
    told, tells = (dict[str, str](control.remediation.items()) for control in (one, other))
    for platform in PLATFORMS:
        was, now = one.rule(platform), other.rule(platform)
        if was is None and now is not None:
            yield f"{platform} is new: {now.quantifier} {now.predicate} ({', '.join(now.queries)}, {now.confidence})"
        elif was is not None and now is None:
            yield f"{platform} is gone: not applicable there"
        elif was is not None and now is not None:
            yield from _moved(
                f"{platform} rule", f"{was.quantifier} {was.predicate}", f"{now.quantifier} {now.predicate}"
            )
            for key in _RULE:
                yield from _moved(f"{platform} {key}", getattr(was, key) or "none", getattr(now, key) or "none")
            yield from _moved(f"{platform} remediation", told.get(platform, "none"), tells.get(platform, "none"))
    if old.cases != new.cases:
        yield f"cases: {len(old.cases)} → {len(new.cases)}, some of them other ones"


def _new_control(new: LoadedControl) -> Iterator[str]:
    yield f"{new.control.title} ({new.control.severity}, {new.area})"
    for platform in PLATFORMS:
        rule = new.control.rule(platform)
        if rule:
            read = ", ".join(rule.queries)
            yield f"{platform}: {rule.quantifier} {_flat(rule.predicate)} ({read}, {rule.confidence})"


def _pack(old: Pack, new: Pack) -> Iterator[str]:
    yield from _moved("title", old.title, new.title)
    yield from _moved("interval", f"{old.interval} s", f"{new.interval} s")
    yield from _moved("platforms", ", ".join(old.platforms), ", ".join(new.platforms))
    yield from _moved("targets", _targets(old), _targets(new))
    yield from _moved("discovery", "; ".join(old.discovery) or "none", "; ".join(new.discovery) or "none")
    yield from _members("control", old.controls, new.controls)
    yield from _members("query", old.queries, new.queries)
    for name in sorted(old.queries.keys() & new.queries.keys()):
        yield from _moved(f"{name} interval", _interval(old, name), _interval(new, name))


def _new_pack(new: Pack) -> Iterator[str]:
    yield f"{new.title}: every {new.interval} s on {', '.join(new.platforms)}"
    yield from _moved("targets", "none", _targets(new))
    yield from _members("control", [], new.controls)
    yield from _members("query", [], new.queries)


def _interval(pack: Pack, name: str) -> str:
    entry = pack.queries[name]
    return f"{entry.interval} s" if entry and entry.interval else "the pack's"


def _targets(pack: Pack) -> str:
    found = pack.targets.model_dump(exclude_none=True) if pack.targets else {}
    tags = found.pop("tags", {})
    parts = [f"osquery {found['osquery']} or later"] if "osquery" in found else []
    parts += [f"tagged {' or '.join(tags['include'])}"] if "include" in tags else []
    parts += [f"not tagged {' or '.join(tags['exclude'])}"] if "exclude" in tags else []
    parts += [f"{found['percentage']}% of devices"] if "percentage" in found else []
    return ", ".join(parts) or "none"


def _members(
    what: str, old: Sequence[str] | Mapping[str, Any], new: Sequence[str] | Mapping[str, Any]
) -> Iterator[str]:
    added, gone = sorted(set(new) - set(old)), sorted(set(old) - set(new))
    many = {"query": "queries"}.get(what, f"{what}s")
    if added:
        yield f"{what if len(added) == 1 else many} added: {', '.join(added)}"
    if gone:
        yield f"{what if len(gone) == 1 else many} removed: {', '.join(gone)}"


def _list(old: ReferenceList, new: ReferenceList) -> Iterator[str]:
    yield from _moved("title", old.title, new.title)
    yield from _moved("as_of", old.as_of, new.as_of)
    yield from _moved("columns", _shape(old), _shape(new))
    was, now = set(old.entries), set(new.entries)
    lines = [f"- {_entry(entry)}" for entry in old.entries if entry not in now]
    lines += [f"+ {_entry(entry)}" for entry in new.entries if entry not in was]
    yield from _short(lines, "entries")


def _shape(one: ReferenceList) -> str:
    return ", ".join(f"{name} {kind}" for name, kind in dict(one.columns).items()) + f"; key of {one.key}"


def _entry(entry: Sequence[Any]) -> str:
    return "[" + ", ".join("null" if value is None else str(value) for value in entry) + "]"


def _short(lines: Sequence[str], what: str) -> Iterator[str]:
    yield from lines[:MOST_ENTRIES]
    if len(lines) > MOST_ENTRIES:
        yield f"and {len(lines) - MOST_ENTRIES} more {what}"


def _minimisation(before: Sequence[Rule], after: Sequence[Rule]) -> Iterator[Change]:
    was, now = [_rule(rule) for rule in before], [_rule(rule) for rule in after]
    for how, rules, others in ((REMOVED, was, now), (ADDED, now, was)):
        for rule in rules:
            if rule not in others:
                yield Change("minimisation", rule, how)
    if was != now and sorted(was) == sorted(now):
        yield Change(
            "minimisation", "the order of the rules", CHANGED, ("of several that take a value the first decides",)
        )


def _rule(rule: Rule) -> str:
    of = ", ".join(sorted(rule.queries) or [f"table {table}" for table in sorted(rule.tables)])
    values = [
        *sorted(rule.equals),
        *(f"{text}…" for text in rule.starts_with),
        *(f"…{text}…" for text in rule.contains),
    ]
    where = f" where {', '.join(values)}" if values else ""
    keep = f" to {rule.keep} characters" if rule.keep else ""
    return f"{rule.action}{keep} {', '.join(sorted(rule.columns))} of {of}{where}"


def _framework(old: Framework, new: Framework) -> Iterator[str]:
    yield from _moved("title", old.title, new.title)
    yield from _moved("edition", old.edition, new.edition)
    yield from _members("criterion", old.criteria, new.criteria)
    lines = []
    for name in [name for name in new.criteria if name in old.criteria]:
        was, now = old.criteria[name], new.criteria[name]
        if was == now:
            continue
        changed = list(_members("control", dict(was.controls), dict(now.controls))) or ["reworded"]
        lines.append(f"{name}: {'; '.join(changed)}")
    yield from _short(lines, "criteria")


def _new_framework(new: Framework) -> Iterator[str]:
    yield f"{new.title}, {new.edition}: {len(new.criteria)} criteria"


def _settings(before: Catalog, after: Catalog) -> Iterator[Change]:
    was, now = _flatly(before.fleet.model_dump()), _flatly(after.fleet.model_dump())
    facts = [fact for key in sorted({*was, *now}) for fact in _moved(key, was.get(key, "none"), now.get(key, "none"))]
    if facts:
        yield Change("settings", "fleet.yaml", CHANGED, tuple(facts))
    schema = tuple(_moved("osquery", before.schema.version, after.schema.version))
    if schema:
        yield Change("settings", "schema", CHANGED, schema)


def _flatly(settings: Mapping[str, Any], within: str = "") -> dict[str, object]:
    """Settings within settings, by their names with dots between."""
    found: dict[str, object] = {}
    for name, value in settings.items():
        found |= _flatly(value, f"{within}{name}.") if isinstance(value, dict) else {f"{within}{name}": value}
    return found


def _moved(what: str, old: object, new: object) -> Iterator[str]:
    """What something was and is, where that is not the same; long texts below each other."""
    if old == new:
        return
    was, now = _flat(str(old)), _flat(str(new))
    yield f"{what}: {was} → {now}" if len(was) + len(now) < 60 else f"{what}:\n- {was}\n+ {now}"


def _flat(text: str) -> str:
    return " ".join(text.split())


def text_diff(old: str, new: str) -> tuple[str, ...]:
    """A unified difference of two texts, without the names of files."""
    return tuple(unified_diff(old.split("\n"), new.split("\n"), lineterm="", n=2))[2:]


def counted(changes: Sequence[Change]) -> dict[str, dict[str, int]]:
    """How many of each sort are added, removed and changed."""
    found: dict[str, dict[str, int]] = {}
    for sort, group in groupby(changes, key=lambda change: change.sort):
        of = [change.how for change in group]
        found[sort] = {how: of.count(how) for how in (ADDED, REMOVED, CHANGED) if how in of}
    return found
