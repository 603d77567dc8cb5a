"""What is collected from this device, why, and where it goes: one JSON object, for the command and for machines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from collector.openness.device import Osqueryd, ask_osqueryd
from collector.openness.sources import Sources
from collector.openness.status import policy_of
from collector.policy.ledger import Ledger, cut
from collector.policy.questions import plain
from collector.policy.reading import Reader, UnreadableError
from collector.policy.tables import Tables

SENT_NOTE = "sent_queries"
"""The spool's note of when the collector last sent each query's answer: {name: [observed at, sent at]}."""
PRIVATE = {
    "shell_history": "the commands typed into a terminal",
    "process_envs": "the environment variables of programs",
    "process_events": "every program as it is started",
    "es_process_events": "every program as it is started",
    "bpf_process_events": "every program as it is started",
    "file_events": "every file as it is opened or changed",
    "es_process_file_events": "every file as it is opened or changed",
    "socket_events": "every connection as it is made",
    "bpf_socket_events": "every connection as it is made",
    "dns_lookup_events": "the names of hosts that are looked up",
    "process_open_sockets": "the hosts that programs are connected to",
    "process_open_files": "the files that programs have open",
    "known_hosts": "the hosts that were logged in to over SSH",
    "wifi_survey": "the wireless networks nearby",
    "wifi_networks": "the wireless networks that were used",
    "keychain_items": "what is kept in the keychain",
    "recent_files": "the files opened lately",
    "carves": "copies of whole files",
}
"""Tables of osquery of what people do rather than how the device is set up."""


def disclosure(sources: Sources) -> dict[str, Any]:
    """Everything ``muster-collector disclose`` tells. Blocks; raises nothing for what is merely missing."""
    osqueryd = ask_osqueryd(sources, schedule=True)
    told = sources.listed("config", "queries")
    runs = _runs(osqueryd)
    queries = [_query(sources, osqueryd, one, runs) for one in told]
    names = {one["name"] for one in queries}
    others = [row for row in osqueryd.schedule if _plain_name(row.get("name", "")) not in names]
    return {
        "server": sources.settings.server,
        "known": sources.note("config") is not None,
        "osqueryd": {
            "version": osqueryd.version,
            "problem": osqueryd.problem,
            "sends": osqueryd.sends,
            "hands_over": osqueryd.hands_over,
            "fetches_config": osqueryd.fetches_config,
            "takes_questions": osqueryd.takes_questions,
            "server": osqueryd.flags.get("tls_hostname", ""),
        },
        "queries": sorted(queries, key=lambda one: (one["interval"], one["query"])),
        "others": [_other(row) for row in others],
        "policy": policy_of(sources),
        "asked": [
            asdict(one) | {"scheduled": _scheduled(one.sql, told)}
            for one in reversed(Ledger(sources.spool, sources.clock).entries())
        ],
        "never": _never(sources, [*queries, *(_other(row) for row in others)]),
    }


def _query(
    sources: Sources, osqueryd: Osqueryd, told: Mapping[str, Any], runs: Mapping[str, Mapping[str, str]]
) -> dict[str, Any]:
    """One query of the config: what the server said of it, and what this device knows."""
    name, sql = str(told.get("name", "")), str(told.get("sql", ""))
    run = runs.get(name, {})
    ran_at = _number(run.get("last_executed"))
    observed, sent = _sent(sources, name)
    return {
        "name": name,
        "query": str(told.get("query", name)),
        "description": str(told.get("description", "")),
        "interval": _number(told.get("interval")) or 0,
        "columns": [
            {"name": str(one.get("name", "")), "description": str(one.get("description", ""))}
            for one in _objects(told.get("columns"))
        ],
        "events": told.get("mode") == "events",
        "controls": [str(one.get("title") or one.get("id")) for one in _objects(told.get("controls"))],
        "runs": bool(run),
        "denylisted": run.get("denylisted") == "1",
        "ran_at": ran_at,
        "sent_by": [
            *(["osqueryd"] if osqueryd.sends and run else []),
            *(["collector"] if sent or (osqueryd.hands_over and run) else []),
        ],
        "observed_at": observed,
        "sent_at": sent,
        "refused": sources.policy.check(sql, live=False),
        "sql": sql,
    }


def _runs(osqueryd: Osqueryd) -> dict[str, Mapping[str, str]]:
    """What osqueryd says of each scheduled query, by its name without the pack's; the latest run of several."""
    found: dict[str, Mapping[str, str]] = {}
    for row in osqueryd.schedule:
        name = _plain_name(row.get("name", ""))
        before = found.get(name)
        if before is None or (_number(row.get("last_executed")) or 0) > (_number(before.get("last_executed")) or 0):
            found[name] = row
    return found


def _plain_name(scheduled: str) -> str:
    """``pack/NAME/QUERY`` without its pack."""
    return scheduled.rpartition("/")[2] if scheduled.startswith("pack/") else scheduled


def _other(row: Mapping[str, str]) -> dict[str, Any]:
    return {
        "name": row.get("name", ""),
        "interval": _number(row.get("interval")) or 0,
        "ran_at": _number(row.get("last_executed")),
        "sql": row.get("query", ""),
    }


def _sent(sources: Sources, name: str) -> tuple[int | None, int | None]:
    note = sources.sent() if sources.sent is not None else sources.note(SENT_NOTE)
    pair = note.get(name) if isinstance(note, Mapping) else None
    if isinstance(pair, list) and len(pair) == 2:
        return _number(pair[0]), _number(pair[1])
    return None, None


def _scheduled(sql: str, told: Iterable[Mapping[str, Any]]) -> str:
    """The query of the schedule that a question was, asked early; empty for any other."""
    for one in told:
        if plain(cut(str(one.get("sql", "")))) == plain(sql):
            return str(one.get("query", one.get("name", "")))
    return ""


def _never(sources: Sources, queries: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Of what people do: which of it the queries read, which they do not, and which queries it cannot be told of."""
    tables = sources.policy.tables()
    if tables is None:
        return {"known": False, "unread": [], "read": {}, "untold": []}
    read, untold = _read(tables, queries)
    have = {name.lower() for name in tables.columns}
    unread: list[str] = []
    seen: dict[str, list[str]] = {}
    for table, words in PRIVATE.items():
        if table in read:
            seen.setdefault(words, []).extend(read[table])
    for table, words in PRIVATE.items():
        if table in have and words not in seen and words not in unread:
            unread.append(words)
    return {"known": True, "unread": unread, "read": seen, "untold": untold}


def _read(tables: Tables, queries: Iterable[Mapping[str, Any]]) -> tuple[dict[str, list[str]], list[str]]:
    reader = Reader(tables)
    read: dict[str, list[str]] = {}
    untold = []
    for query in queries:
        name = str(query.get("query", query.get("name", "")))
        try:
            for table in reader.reads(str(query["sql"])).tables:
                read.setdefault(table, []).append(name)
        except UnreadableError:
            untold.append(name)
    reader.close()
    return read, untold


def _objects(value: object) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _number(value: object) -> int | None:
    try:
        number = int(value) if isinstance(value, str | int) else None
    except ValueError:
        return None
    return number or None
