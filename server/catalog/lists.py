"""Reference lists: tables that a rule looks things up in, as the packs give them or as Muster keeps them itself.

title: Services that may listen, and where
as_of: "2026-11-24"
columns: {process: text, port: bigint}
key: [process, port]
entries:
  - [sshd, 22]
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from server.catalog.controls import Text
from server.catalog.problems import Problem
from server.catalog.yaml_files import Located, Strict, read_located
from server.normalize.text import clean_text
from server.normalize.values import BIGINT, DOUBLE, TEXT, Value

FOLDER = "lists"
MOST_ENTRIES = 2_000
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_LOWEST, _HIGHEST = -(2**63), 2**63 - 1
_WIDEST = 1e300


@dataclass(frozen=True, slots=True)
class ReferenceList:
    """A list of the packs; ``key`` counts the first columns, which together name an entry."""

    name: str
    title: str
    as_of: str
    columns: Mapping[str, str]
    key: int
    entries: tuple[tuple[Value, ...], ...]
    digest: str
    """Of the columns, the key and the entries in any order: all that a verdict depends on."""
    file: str


@dataclass(frozen=True, slots=True)
class BuiltInList:
    """A list that Muster fills from what it was told of people and devices, as of the day that is judged."""

    view: str
    columns: Mapping[str, str]
    filled_from: tuple[str, ...]
    """The kinds of imports that change it."""
    key: int = 1
    departed: bool = False
    """An entry counts from the day after its ``last_day``."""
    dated: bool = False
    """An entry counts from its ``from_day`` on, and no more from its ``to_day`` on."""


_ACCOUNT, _KEY, _SERIAL = ({name: TEXT, "last_day": TEXT} for name in ("account", "fingerprint", "serial"))
_PEOPLE, _ASSETS = "people", "assets"
BUILT_IN: Mapping[str, BuiltInList] = {
    "departed_accounts": BuiltInList("muster_departed_accounts", _ACCOUNT, (_PEOPLE,), departed=True),
    "departed_devices": BuiltInList("muster_departed_devices", _SERIAL, (_PEOPLE, _ASSETS), departed=True, dated=True),
    "departed_keys": BuiltInList("muster_departed_keys", _KEY, (_PEOPLE,), departed=True),
    "asset_register": BuiltInList(
        "muster_asset_register", {"serial": TEXT, "status": TEXT, "owner": TEXT}, (_ASSETS,), dated=True
    ),
}


class ListFile(Strict):
    """``lists/<name>.yaml``; the entries are looked at one by one, so that each problem has its line."""

    title: Text
    as_of: Text
    """The day on which somebody last looked through the list, in quotes."""
    columns: Annotated[dict[str, Literal["text", "bigint", "double"]], Field(min_length=1)]
    """The names of the columns in order, and their types."""
    key: Annotated[list[Text], Field(min_length=1)]
    """The first columns, which together name an entry."""
    entries: Annotated[list[Any], Field(max_length=MOST_ENTRIES)]
    """A list of values for each entry, one per column; null only outside the key."""
    note: str = ""

    @field_validator("as_of", mode="before")
    @classmethod
    def _a_day(cls, value: object) -> object:
        if isinstance(value, date):
            raise ValueError(f'write it as a text, "{value.isoformat()[:10]}"')
        if isinstance(value, str):
            try:
                if date.fromisoformat(value).isoformat() != value:
                    raise ValueError
            except ValueError:
                raise ValueError(f"{value!r} is no day such as 2026-11-24") from None
        return value

    @model_validator(mode="after")
    def _whole(self) -> ListFile:
        for name in self.columns:
            if not _NAME.fullmatch(name):
                raise ValueError(f"column {name!r} is not a name in lower case with underscores, up to 40 characters")
        first = list(self.columns)[: len(self.key)]
        if self.key != first:
            raise ValueError(f"key is {', '.join(self.key)}, but must be the first of the columns: {', '.join(first)}")
        return self


def read_lists(root: Path, problems: list[Problem]) -> dict[str, ReferenceList]:
    """The lists under ``root``, by name; what is wrong is appended to ``problems``."""
    lists: dict[str, ReferenceList] = {}
    for path in sorted((root / FOLDER).glob("*.yaml")):
        shown, name = str(path.relative_to(root)), path.stem
        if not _NAME.fullmatch(name):
            what = f"file name {path.name!r} is not <list>.yaml, in lower case with underscores, up to 40 characters"
            problems.append(Problem(shown, 1, what))
        elif name in BUILT_IN:
            problems.append(Problem(shown, 1, f"{name} is a list that Muster fills itself", "give it another name"))
        elif located := read_located(path, shown, ListFile, problems):
            lists[name] = _list(name, located, problems)
    return lists


def _list(name: str, located: Located[ListFile], problems: list[Problem]) -> ReferenceList:
    file = located.model
    kinds, key = list(file.columns.items()), len(file.key)
    odd = list(_odd_entries(file.entries, kinds, key))
    if odd:
        problems += [
            located.problem(
                message if first is None else f"{message} as on line {located.line('entries', first)}",
                at=("entries", at),
            )
            for at, message, first in odd
        ]
        entries: tuple[tuple[Value, ...], ...] = ()
    else:
        entries = tuple(
            tuple(_kept(value, kind) for value, (_, kind) in zip(entry, kinds, strict=True)) for entry in file.entries
        )
    content = repr((kinds, key, sorted(entries, key=repr)))
    digest = hashlib.blake2b(content.encode(), digest_size=8).hexdigest()
    return ReferenceList(name, file.title, file.as_of, file.columns, key, entries, digest, located.file)


def _kept(value: Any, kind: str) -> Value:
    kept: Value = float(value) + 0.0 if kind == DOUBLE and value is not None else value
    return kept


def _odd_entries(
    entries: Sequence[Any], kinds: Sequence[tuple[str, str]], key: int
) -> Iterator[tuple[int, str, int | None]]:
    """Position and message of what is wrong, and the position of an earlier entry that it repeats."""
    seen: dict[tuple[Any, ...], int] = {}
    for at, entry in enumerate(entries):
        if not isinstance(entry, list) or len(entry) != len(kinds):
            shape = f"[{', '.join(name for name, _ in kinds)}]"
            found = f"has {len(entry)} values" if isinstance(entry, list) else "is no list of values"
            yield at, f"the entry {found}, not one per column: {shape}", None
            continue
        wrong = [
            message
            for position, (value, (name, kind)) in enumerate(zip(entry, kinds, strict=True))
            if (message := _odd_value(value, name, kind, in_key=position < key))
        ]
        yield from ((at, message, None) for message in wrong)
        if not wrong:
            first = seen.setdefault(tuple(entry[:key]), at)
            if first != at:
                yield at, "the same key", first


def _odd_value(value: Any, name: str, kind: str, *, in_key: bool) -> str:
    """What is wrong with a value; empty where nothing is."""
    if value is None:
        return f"{name} is empty, but is part of the key" if in_key else ""
    if kind == TEXT:
        if not isinstance(value, str):
            return f"{name} is a text: write {value!r} in quotes, as devices send it"
        return "" if clean_text(value) == value else f"{name} holds a character that no stored text has"
    if isinstance(value, bool) or not isinstance(value, int if kind == BIGINT else int | float):
        return f"{name} is a {kind}, which {value!r} is not"
    if kind == BIGINT:
        return "" if _LOWEST <= value <= _HIGHEST else f"{name}: {value} has more than 64 bits"
    return "" if -_WIDEST <= value <= _WIDEST else f"{name}: a double is up to {_WIDEST:g}"
