"""What a database must tell of a history, written down plainly: slow, whole, and nothing of it from the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from tests.support.export import canonical
from tests.support.histories import HOSTS, Answer, Fleet
from tests.support.shapes import SHAPES, Row, Shape, small_catalog

GAPS = {True: 3 * 3600, False: 6 * 3600}
"""The longest silence within a stretch of coverage: of a query asked hourly, and of one nobody shipped."""
MISSING = "a run before this one is missing; the next counter 0 makes it whole again"
STOPPED = "osquery stopped the query at its watchdog's limits and does not run it for a day"

Told = dict[str, list[dict[str, Any]]]
State = list[Row]
"""The rows true at an instant, equal ones as often as they are true."""


def expected(fleet: Fleet) -> dict[str, list[bytes]]:
    """What the queries' tables, ``coverage`` and ``status_logs`` hold."""
    told: Told = {"coverage": [], "status_logs": []}
    for query in SHAPES:
        if (
            any(word for device in range(fleet.devices) for word in _words(fleet, device, query))
            or SHAPES[query].shipped
        ):
            told[query], told[f"{query}_history"] = [], []
    for device in range(fleet.devices):
        for query, shape in SHAPES.items():
            _coverage(told, fleet, device, query)
            columns = _columns(fleet, query)
            for row, start, end in _intervals(fleet.answers.get((device, query), []), shape):
                kept = dict.fromkeys(columns) | row | _who(device)
                if shape.mode == "events" or end is None:
                    told[query].append(kept)
                told[f"{query}_history"].append(kept | {"valid_from": _iso(start), "valid_to": end and _iso(end)})
    for device, line in fleet.statuses:
        kept = {name: line[name] for name in ("severity", "filename", "line", "message", "version")}
        told["status_logs"].append(kept | {"at": _iso(line["unixTime"])} | _who(device))
    return {name: canonical(rows) for name, rows in told.items()}


def _columns(fleet: Fleet, query: str) -> Iterable[str]:
    if SHAPES[query].shipped:
        return SHAPES[query].columns
    answers = [answer for (_, other), found in fleet.answers.items() if other == query for answer in found]
    return {name for answer in answers for row in (*answer.added, *answer.removed) for name in row}


def _intervals(answers: list[Answer], shape: Shape) -> Iterable[tuple[dict[str, Any], int, int | None]]:
    """Every row with the time it was true."""
    if shape.mode == "events":
        return [(row.kept(), answer.at, answer.at) for answer in answers for row in answer.added]
    states = [(answer.at, state) for answer, state, _ in _states(answers, shape)]
    if shape.mode == "latest":
        return [(row.kept(), at, None) for at, state in states[-1:] for row in state]
    found: list[tuple[dict[str, Any], int, int | None]] = []
    nothing: dict[str, Any] = dict.fromkeys(shape.volatile)
    since: dict[tuple[str, int], tuple[Row, int]] = {}
    for at, state in states:
        now = _numbered(state, shape)
        for key in since.keys() - now.keys():
            row, start = since.pop(key)
            found.append((row.kept() | nothing, start, at))
        for key, row in now.items():
            since[key] = (row, since[key][1] if key in since else at)
    return found + [(row.kept(), start, None) for row, start in since.values()]


def _numbered(state: State, shape: Shape) -> dict[tuple[str, int], Row]:
    seen: Counter[str] = Counter()
    numbered = {}
    for row in state:
        identity = row.identity(shape.volatile)
        numbered[identity, seen[identity]] = row
        seen[identity] += 1
    return numbered


def _states(answers: list[Answer], shape: Shape) -> Iterable[tuple[Answer, State, bool]]:
    """The rows true from each answer on, and whether no run before it is missing."""
    state: State = []
    chain: State = []
    last: Answer | None = None
    complete = False
    for answer in sorted(answers, key=lambda one: (one.at, one.epoch, one.counter)):
        if answer.snapshot:
            state = answer.added
            yield answer, state, True
            continue
        whole = answer.counter == 0
        follows = last is not None and (last.epoch, last.counter + 1) == (answer.epoch, answer.counter)
        complete = whole or (complete and follows)
        # Where only the newest answer is kept, a run goes on from the run before it, not from a snapshot between.
        before = chain if shape.mode == "latest" else state
        state = chain = _step([] if whole else before, answer, shape)
        last = answer
        yield answer, state, complete


def _step(state: State, answer: Answer, shape: Shape) -> State:
    state = list(state)
    for row in answer.removed:
        known = [other for other in state if other.identity(shape.volatile) == row.identity(shape.volatile)]
        if known:
            state.remove(known[0])
    newest = {row.identity(shape.volatile): row for row in answer.added}
    # A volatile column has its newest value, in every row that is equal apart from it.
    return [newest.get(row.identity(shape.volatile), row) for row in (*state, *answer.added)]


# -- coverage --------------------------------------------------------------------------------------------------

Word = tuple[int, str, str, str | None, str]
"""An instant, a status, a basis, a message and a version."""


def _words(fleet: Fleet, device: int, query: str) -> list[Word]:
    """What the device said of a query; of two words of one instant an answer counts, else a failure."""
    words: dict[int, Word] = {}
    for at, name in _denylisted(fleet, device, query):
        words[at] = (at, "denylisted", "schedule", STOPPED, _named_version(name))
    for other, failed, at, name, message in fleet.failures:
        if (other, failed) == (device, query):
            words[at] = (at, "error", "result", message, _named_version(name))
    answers = fleet.answers.get((device, query), [])
    if SHAPES[query].mode == "events":
        for at in {answer.at for answer in answers}:
            versions = [_version(answer, query) for answer in answers if answer.at == at]
            words[at] = (at, "ok", "result", None, min(versions))
        return sorted(words.values())
    for answer, _, complete in _states(answers, SHAPES[query]):
        word = ("ok", "result", None) if complete else ("incomplete", "result", MISSING)
        words[answer.at] = (answer.at, *word, _version(answer, query))
    return sorted(words.values())


def _named_version(name: str) -> str:
    return name.partition("@")[2]


def _version(answer: Answer, query: str) -> str:
    """The version it answers: as its name has it, else the current one if every row has every column of it.

    Without a row the answer before it decides, which is written as a question mark. Of two names of one answer a
    snapshot takes the greater version, and a run, or rows of a snapshot, the lesser.
    """
    versions = []
    for name in answer.names:
        rows = [*answer.added, *answer.removed]
        complete = all(row.keys() == SHAPES[query].columns.keys() for row in rows)
        current = small_catalog().queries[query, "linux"].version if SHAPES[query].shipped else ""
        guess = "" if not SHAPES[query].shipped or not complete else current if rows else "?"
        versions.append(_named_version(name) or guess)
    return max(versions) if answer.snapshot and not answer.in_rows else min(versions)


def _denylisted(fleet: Fleet, device: int, query: str) -> Iterable[tuple[int, str]]:
    for answer in fleet.answers.get((device, "osquery_schedule"), []):
        for row in answer.added:
            named = row["name"].kept.removeprefix("pack/all/").split("@")[0] if "name" in row else None
            if named == query and "denylisted" in row and row["denylisted"].kept == 1:
                yield answer.at, row["name"].kept


def _coverage(told: Told, fleet: Fleet, device: int, query: str) -> None:
    stretch: dict[str, Any] = {}
    last = 0
    for at, status, basis, message, version in _words(fleet, device, query):
        same = stretch and (stretch["status"], stretch["message"], stretch["version"]) == (status, message, version)
        if not (same and at - last <= GAPS[SHAPES[query].shipped]):
            stretch = {"query": query, "first_at": _iso(at), "status": status, "basis": basis, "message": message}
            stretch |= _who(device) | {"version": version, "approximate": 0}
            told["coverage"].append(stretch)
        stretch["last_at"] = _iso(at)
        last = at


def _who(device: int) -> dict[str, Any]:
    return {"device_id": f"id-of-{device}", "hostname": HOSTS[device]}


def _iso(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
