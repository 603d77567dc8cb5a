"""``disclose`` in plain words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from collector.openness.status_words import policy_line
from collector.openness.words import ago, count, every, heading, moment, paragraph, printable

NO_TABLE = (
    "osquery, which does the looking, cannot see the text of mails and messages, the pages that were visited, what is"
    " on the screen, which keys are pressed, or what microphone and camera pick up."
)
STATUS_WORDS = {
    "answered": "answered",
    "failed": "failed",
    "refused": "refused by this device's own policy",
    "denylisted": "not run, since osqueryd ended over it before",
    "cancelled": "cancelled by who asked",
}


def disclosure_text(found: Mapping[str, Any], now: float, *, sql: bool) -> str:
    """The whole answer; with ``sql`` each query's statement and where its columns come from."""
    lines = [heading("What Muster collects from this device"), *_where(found), ""]
    lines += _queries(found, now, sql)
    if found["others"]:
        lines += ["", *_others(found, now, sql)]
    lines += ["", *_policy(found), "", *_asked(found, sql), "", *_never(found)]
    return "\n".join(lines)


def _where(found: Mapping[str, Any]) -> Iterator[str]:
    osqueryd, server = found["osqueryd"], found["server"] or "a server that is not set yet"
    if osqueryd["problem"]:
        how = f"osqueryd does not answer just now ({osqueryd['problem']}), so that it is not known when what was asked."
    elif osqueryd["sends"]:
        how = f"osqueryd sends the answers of its schedule to {osqueryd['server'] or 'its server'} itself."
        if osqueryd["hands_over"]:
            how += f" The collector sends them to {server}, too."
        else:
            how += f" The day's evidence and answers to live questions go to {server} by the collector."
    elif osqueryd["hands_over"]:
        how = f"The answers go to {server}, by the collector."
    else:
        how = (
            f"osqueryd sends the answers of its schedule nowhere. The day's evidence and answers to live questions go"
            f" to {server}, by the collector."
        )
    yield paragraph(how)


def _queries(found: Mapping[str, Any], now: float, sql: bool) -> Iterator[str]:
    queries = found["queries"]
    if not found["known"]:
        yield paragraph(
            "The server has not told the collector yet what it asks, so that only what osqueryd runs can be shown."
        )
        return
    controls = {title for one in queries for title in one["controls"]}
    yield paragraph(
        f"{count(len(queries), 'question')} {'is' if len(queries) == 1 else 'are'} asked of osquery by schedule, for"
        f" {count(len(controls), 'control')} and for the inventory."
        + ("" if sql else " 'muster-collector disclose --sql' shows each as it is asked.")
    )
    osqueryd = found["osqueryd"]
    if queries and not osqueryd["problem"] and not any(one["runs"] for one in queries):
        yield paragraph("osqueryd has none of them in its schedule just now: it waits for its config, or has another.")
    for interval, group in groupby(queries, key=lambda one: one["interval"]):
        yield ""
        yield every(interval).capitalize()
        for one in group:
            yield ""
            yield from _query(one, found, now, sql)


def _query(one: Mapping[str, Any], found: Mapping[str, Any], now: float, sql: bool) -> Iterator[str]:
    inner = " " * 12
    past = one["runs"] and found["osqueryd"]["fetches_config"]
    refused = (
        " (DENIED by this device's own policy, but run past it)" if past else " (refused by this device's own policy)"
    )
    yield f"  {printable(one['query'])}{refused if one['refused'] else ''}"
    yield paragraph(one["description"] or "(no description)", "      ")
    yield paragraph(", ".join(_column(column) for column in one["columns"]) or "?", inner, "      What: ")
    yield paragraph("; ".join(one["controls"]) or "for the inventory", inner, "      Why:  ")
    when = _when(one, found, now)
    if when:
        yield paragraph(when, inner, "      When: ")
    if one["refused"]:
        yield paragraph(
            one["refused"] + ("; osqueryd runs it all the same, see below" if past else ""), inner, "      But:  "
        )
    if sql:
        origins = [f"{column['name']} is {column['description']}" for column in one["columns"] if column["description"]]
        if origins:
            yield paragraph("; ".join(origins), inner, "      From: ")
        yield from (f"      | {line}" for line in printable(one["sql"]).strip().splitlines())


def _column(column: Mapping[str, str]) -> str:
    """Its name, and what of it is not kept as it is; where it comes from is for those who read SQL."""
    said = [part for part in column["description"].split("; ")[1:] if part]
    first = column["description"].split("; ")[0]
    if first and " " in first and "." not in first.split(", ")[0]:
        said.insert(0, first)
    return f"{column['name']} ({'; '.join(said)})" if said else column["name"]


def _when(one: Mapping[str, Any], found: Mapping[str, Any], now: float) -> str:
    """When it last ran and was last sent, and by whom; empty where nothing is known of it."""
    osqueryd, said = found["osqueryd"], []
    if one["denylisted"]:
        said.append("not run for a day, since osqueryd ended over it")
    elif one["runs"]:
        ran = f"last ran {ago(now, one['ran_at'])}" if one["ran_at"] else "has not run yet"
        said.append(f"{ran}, and was then sent by osqueryd" if one["ran_at"] and osqueryd["sends"] else ran)
    if one["sent_at"]:
        said.append(f"last sent by the collector {ago(now, one['sent_at'])}")
    elif one["ran_at"] and osqueryd["hands_over"]:
        said.append("not sent by the collector yet")
    return "; ".join(said)


def _others(found: Mapping[str, Any], now: float, sql: bool) -> Iterator[str]:
    others = found["others"]
    yield heading("What else osqueryd runs here")
    yield paragraph(
        f"{count(len(others), 'query is', 'queries are')} in osqueryd's schedule of which the server has not told the"
        " collector: from a config on this device, from another server, or just taken in."
    )
    for one in others:
        ran = f"last ran {ago(now, one['ran_at'])}" if one["ran_at"] else "has not run yet"
        yield f"  {printable(one['name'])}: {every(one['interval'])}, {ran}"
        if sql:
            yield from (f"      | {line}" for line in printable(one["sql"]).strip().splitlines())


def _policy(found: Mapping[str, Any]) -> Iterator[str]:
    yield heading("What this device refuses")
    yield paragraph(f"Its own policy: {policy_line(found['policy'])}")
    for entry in found["policy"]["unknown"]:
        yield paragraph(f"'{entry}' fits nothing that osquery has: is it written as it should be?", "    ", "  ! ")
    osqueryd = found["osqueryd"]
    beside = [
        words
        for words, so in (
            ("its schedule", osqueryd["fetches_config"]),
            ("live questions of its own", osqueryd["takes_questions"]),
        )
        if so
    ]
    if beside:
        yield paragraph(
            f"The policy holds for what the collector runs. osqueryd fetches {' and '.join(beside)} from"
            f" {osqueryd['server'] or 'its server'} itself, past the policy; what it must not read at all is denied by"
            " its flag disable_tables."
        )


def _asked(found: Mapping[str, Any], sql: bool) -> Iterator[str]:
    yield heading("Asked in the last 30 days beside the schedule")
    asked: Sequence[Mapping[str, Any]] = found["asked"]
    if not asked:
        yield "Nothing."
        return
    early = [one for one in asked if one["scheduled"] and one["status"] == "answered"]
    for one in asked:
        if one not in early:
            yield from _question(one, sql)
    if early:
        names = ", ".join(f"{one['scheduled']}{_times(one)}" for one in sorted(early, key=lambda one: one["scheduled"]))
        yield paragraph(
            f"Of the schedule, asked early and answered, last {moment(early[0]['at'])}: {names}.", "  ", "  "
        )


def _question(one: Mapping[str, Any], sql: bool) -> Iterator[str]:
    rows = f", {count(one['rows'], 'row')} sent" if one["status"] == "answered" else ""
    early = f": the schedule's {one['scheduled']}, asked early" if one["scheduled"] else ""
    what = STATUS_WORDS.get(one["status"], printable(one["status"]))
    yield paragraph(f"{moment(one['at'])}: {what}{rows}{_times(one)}{early}", "  ", "  ")
    if one["message"] and one["status"] != "answered":
        yield paragraph(one["message"], "      ")
    if sql:
        yield from (f"      | {line}" for line in printable(one["sql"]).strip().splitlines())
    elif not one["scheduled"]:
        yield paragraph(one["sql"], "      ")


def _times(one: Mapping[str, Any]) -> str:
    return f" ({one['times']:,} times)" if one["times"] > 1 else ""


def _never(found: Mapping[str, Any]) -> Iterator[str]:
    never = found["never"]
    yield heading("What is not collected")
    yield paragraph(NO_TABLE)
    if not never["known"]:
        yield paragraph("What else the queries leave alone cannot be told before osqueryd says which tables it has.")
        return
    if never["unread"]:
        yield paragraph(f"None of the queries above reads {_either(never['unread'])}.")
    for words, names in never["read"].items():
        yield paragraph(f"Read, however: {words} (by {', '.join(sorted(set(names)))}).", "    ", "  ! ")
    if never["untold"]:
        yield paragraph(f"It cannot be told of {', '.join(never['untold'])} what they read.", "    ", "  ! ")
    yield paragraph(
        "A live question may read whatever osquery can see and this device's own policy does not deny; each is listed"
        " above."
    )


def _either(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
