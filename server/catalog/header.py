"""The comments a query file begins with: what a row is, then the keys of the header, one a line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from server.catalog.problems import Problem, did_you_mean

MODES = ("state", "latest", "events")
KEYS = ("mode", "key", "volatile", "columns", "cost")
DEFAULT_COST_SECONDS = 0.01
MOST_LINES = 200

_LINE = re.compile(r"--\s*(?P<key>[a-z_]+):\s*(?P<value>.*)")
_ALMOST = re.compile(r"--\s*(?P<key>[A-Za-z_]+)\s*[:=]")
_TYPED = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s+(?P<kind>text|bigint|double)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_COST = re.compile(r"(?P<number>[0-9]{1,6}(?:\.[0-9]{1,3})?)\s*(?P<unit>ms|s)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What the header says. ``lines`` gives the line of each key, counted from 1."""

    description: str
    mode: str
    key: tuple[str, ...]
    volatile: tuple[str, ...]
    columns: Mapping[str, str]
    cost_seconds: float
    lines: Mapping[str, int]

    def line(self, key: str) -> int:
        """The line to name for what is wrong with a key's value."""
        return self.lines.get(key, 1)


def read_header(lines: Sequence[str], shown: str, problems: list[Problem]) -> Header:
    """Read the comment lines above the SQL; what is wrong is appended to ``problems``."""
    description: list[str] = []
    values: dict[str, str] = {}
    at: dict[str, int] = {}
    if len(lines) > MOST_LINES:
        problems.append(Problem(shown, MOST_LINES + 1, f"the header has more than {MOST_LINES} lines"))
    for number, line in enumerate(lines[:MOST_LINES], 1):
        match = _LINE.fullmatch(line.strip())
        if not match and (odd := _ALMOST.match(line.strip())) and odd["key"].lower() in KEYS:
            key = odd["key"].lower()
            hint = f"write it so: -- {key}: …"
            problems.append(Problem(shown, number, f"{odd[0]!r} is no header key", hint, column=line.find("--") + 1))
        elif not match:
            description.append(line.strip().removeprefix("--").strip())
        if not match:
            continue
        key = match["key"]
        if key not in KEYS:
            hint = did_you_mean(key, KEYS)
            problems.append(Problem(shown, number, f"unknown header key {key!r}", hint, column=line.find(key) + 1))
        elif key in values:
            problems.append(Problem(shown, number, f"header key {key!r} is given twice"))
        else:
            values[key], at[key] = match["value"].strip(), number
    if not any(description):
        problems.append(Problem(shown, 1, "no description", "begin the file with a comment that says what a row is"))
    for key, what, hint in _odd_values(values):
        problems.append(Problem(shown, at[key], what, hint, column=_column(lines[at[key] - 1], values[key])))
    return Header(
        description=" ".join(part for part in description if part),
        mode=values.get("mode", "state"),
        key=_names(values.get("key", "")),
        volatile=_names(values.get("volatile", "")),
        columns=_typed(values.get("columns", "")),
        cost_seconds=_seconds(values["cost"]) or 0.0 if "cost" in values else DEFAULT_COST_SECONDS,
        lines=at,
    )


def _odd_values(values: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    mode = values.get("mode", "state")
    if mode not in MODES:
        yield "mode", f"mode is {mode!r}", did_you_mean(mode, MODES) or f"known are: {', '.join(MODES)}"
    for key in ("key", "volatile"):
        for name in _names(values.get(key, "")):
            if not _NAME.fullmatch(name):
                yield key, f"{key}: {name!r} is not the name of a column", "names of columns, with commas between"
    for part in _parts(values.get("columns", "")):
        if not _TYPED.fullmatch(part):
            yield "columns", f"columns: {part!r} is not a name and one of text, bigint, double", ""
    if "cost" in values and not _seconds(values["cost"]):
        what = f"cost: {values['cost']!r} is not a time above nothing in ms or s"
        yield "cost", what, "how long one run takes, such as 20ms or 1.5s"


def _column(line: str, value: str) -> int:
    return line.find(value) + 1 if value else 0


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_parts(text)))


def _typed(text: str) -> dict[str, str]:
    matches = (_TYPED.fullmatch(part) for part in _parts(text))
    return {match["name"]: match["kind"] for match in matches if match}


def _seconds(text: str) -> float | None:
    match = _COST.fullmatch(text)
    return float(match["number"]) / (1000 if match["unit"] == "ms" else 1) if match else None
