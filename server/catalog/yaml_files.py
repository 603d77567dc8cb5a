"""YAML files into pydantic models, with a problem at the right line for everything that is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq
from ruamel.yaml.error import MarkedYAMLError

from server.catalog.files import read_text
from server.catalog.problems import Problem, did_you_mean

EXPANDED = 4 * 1024 * 1024
"""What a file may come to with its aliases written out: characters, and one for every value."""
DEEPEST = 40


class Strict(BaseModel):
    """A file's model: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


Model = TypeVar("Model", bound=Strict)


@dataclass(frozen=True, slots=True)
class Located(Generic[Model]):
    """What a file says, and on which of its lines."""

    model: Model
    file: str
    tree: Any

    def line(self, *where: str | int) -> int:
        """The line of a place in the file, named by keys and positions, or of the nearest place above it."""
        return _place(self.tree, where)[0]

    def problem(self, message: str, hint: str = "", *, at: Sequence[str | int] = ()) -> Problem:
        """A problem at a place in the file."""
        line, column = _place(self.tree, at)
        return Problem(self.file, line, message, hint, column=column if at else 0)


def read_model(path: Path, shown: str, model: type[Model], problems: list[Problem]) -> Model | None:
    """Read ``path`` as ``model``; what is wrong is appended to ``problems`` under the name ``shown``."""
    located = read_located(path, shown, model, problems)
    return located.model if located else None


def read_located(path: Path, shown: str, model: type[Model], problems: list[Problem]) -> Located[Model] | None:
    """As ``read_model``, with the lines of what was read."""
    text = read_text(path, shown, problems)
    if text is None:
        return None
    try:
        tree = tree_of(text)
        plain = _plain(tree, _Budget(EXPANDED), DEEPEST)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 0)
        problems.append(Problem(shown, line, f"not YAML: {error.problem}", column=column))
        return None
    except _TooMuchError as error:
        problems.append(Problem(shown, 1, str(error)))
        return None
    except Exception as error:  # the parser raises anything: KeyError, TypeError, RecursionError …
        problems.append(Problem(shown, 1, f"not YAML: {str(error) or type(error).__name__}"))
        return None
    if not isinstance(tree, Mapping):
        problems.append(Problem(shown, 1, "file is not a mapping of keys to values"))
        return None
    try:
        return Located(model.model_validate(plain), shown, tree)
    except ValidationError as error:
        problems += [_problem(shown, tree, dict(entry), model) for entry in error.errors()]
        return None


def _problem(shown: str, tree: Any, entry: dict[str, Any], model: type[BaseModel]) -> Problem:
    where: Sequence[Any] = list(entry["loc"])
    path = ".".join(str(part) for part in where)
    hint = ""
    if entry["type"] == "extra_forbidden":
        message = f"unknown key {path!r}"
        hint = did_you_mean(str(where[-1]), _keys_at(model, where[:-1]))
    elif where and where[-1] == "[key]":
        where = where[:-1]
        message, hint = _odd_key(".".join(str(part) for part in where), entry)
    elif entry["type"] == "missing":
        message = f"key {path!r} is missing"
    else:
        said = str(entry["msg"]).removeprefix("Value error, ")
        message = f"{path}: {said}" if path else said
        hint = _mend(entry)
    line, column = _place(tree, where)
    return Problem(shown, line, message, hint, column=column)


def _odd_key(path: str, entry: Mapping[str, Any]) -> tuple[str, str]:
    """What is wrong with a key that must be of some kind, and how to mend it."""
    key = entry["input"]
    if not isinstance(key, str):
        return f"the key {path} is not a text", f'put it in quotes: "{key}"'
    known = _allowed(entry)
    if known:
        near = did_you_mean(key, known)
        return f"unknown key {path!r}", near if near.startswith("did") else f"known are: {', '.join(known)}"
    return f"the key {path!r}: {entry['msg']}", ""


def _mend(entry: Mapping[str, Any]) -> str:
    """How to mend a value of the wrong kind, where there is more to say than what it should be."""
    value = entry["input"]
    if entry["type"] == "string_type" and isinstance(value, int | float | date):
        return "put it in quotes"
    if entry["type"] == "int_type" and isinstance(value, str) and re.match(r"\d", value):
        return "write a plain number, without quotes or unit"
    if entry["type"] == "literal_error" and isinstance(value, str):
        near = did_you_mean(value, _allowed(entry))
        return near if near.startswith("did") else ""
    return ""


def _allowed(entry: Mapping[str, Any]) -> list[str]:
    """The values that a literal may have."""
    return re.findall(r"'([^']*)'", entry["ctx"]["expected"]) if entry["type"] == "literal_error" else []


def _keys_at(model: Any, where: Iterable[Any]) -> list[str]:
    """The keys a model knows at a place within it."""
    for part in where:
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return []
        field = model.model_fields.get(str(part))
        if field is None:
            continue  # the key of a dict, or an index: the model of its values was already taken
        model = _model_in(field.annotation)
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _model_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = [_model_in(part) for part in getattr(annotation, "__args__", ())]
    return next((part for part in found if part is not None), None)


def _place(tree: Any, where: Sequence[Any]) -> tuple[int, int]:
    """Line and column of a place in a round-trip tree, or of the nearest place above it that is there."""
    line = column = 0
    for part in where:
        if isinstance(tree, Mapping) and part not in tree:  # an error names a key as text, whatever it is
            part = next((key for key in tree if str(key) == part), part)
        try:
            line, column = tree.lc.item(part) if isinstance(tree, CommentedSeq) else tree.lc.key(part)
            tree = tree[part]
        except (AttributeError, KeyError, IndexError, TypeError):
            break
    return line + 1, column + 1


class _TooMuchError(Exception):
    pass


class _Budget:
    def __init__(self, left: int) -> None:
        self.left = left

    def spend(self, amount: int) -> None:
        self.left -= amount
        if self.left < 0:
            raise _TooMuchError(f"file comes to more than {EXPANDED} characters with its aliases written out")


def _plain(tree: Any, budget: _Budget, deeper: int) -> Any:
    """The round-trip tree as plain dicts, lists and scalars, as large as a file may be once aliases are written out."""
    if not deeper:
        raise _TooMuchError(f"file is nested more than {DEEPEST} deep, or an alias stands within what it is for")
    if isinstance(tree, Mapping):
        return {_scalar(key, budget): _plain(value, budget, deeper - 1) for key, value in tree.items()}
    if isinstance(tree, list):
        budget.spend(1)
        return [_plain(value, budget, deeper - 1) for value in tree]
    return _scalar(tree, budget)


def _scalar(value: Any, budget: _Budget) -> Any:
    budget.spend(1 + len(value) if isinstance(value, str) else 1)
    for plain in (bool, int, float, str):
        if isinstance(value, plain):
            return plain(value)
    return value


def place_of(path: Path, where: Sequence[Any], word: str = "") -> tuple[int, int]:
    """Line and column of a key, in a file that ``read_model`` could read; with ``word``, of that word in its value.

    Where the word is not found in the source as it stands, the key is the place.
    """
    text = path.read_text(encoding="utf-8")
    line, column = _place(tree_of(text), where)
    if not word:
        return line, column
    lines = text.splitlines()
    pattern = re.compile(rf"(?<!\w){re.escape(word)}(?!\w)", re.IGNORECASE)
    least = column - 1 if isinstance(where[-1], int) else column
    for number in range(line, len(lines) + 1):
        source = lines[number - 1]
        if number > line and source.strip() and len(source) - len(source.lstrip()) < least:
            break  # less indented than what belongs to the place
        found = pattern.search(source, column - 1 if number == line else 0)
        if found:
            return number, found.start() + 1
    return line, column


@lru_cache(maxsize=4)
def tree_of(text: str) -> Any:
    """What a file's text says, in a tree that knows the places; kept for the next problem in it, not to be changed."""
    return YAML(typ="rt", pure=True).load(text)
