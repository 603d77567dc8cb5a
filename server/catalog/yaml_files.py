"""YAML files into pydantic models, with a problem at the right line for everything that is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from server.catalog.problems import Problem, did_you_mean

FILE_BYTES = 1024 * 1024
"""osquery refuses a larger config, and nobody reviews a larger file."""
LARGEST_TREE = 200_000
"""Values in one file, those counted again that an alias repeats."""


class Strict(BaseModel):
    """A file's model: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


Model = TypeVar("Model", bound=Strict)


def read_model(path: Path, shown: str, model: type[Model], problems: list[Problem]) -> Model | None:
    """Read ``path`` as ``model``; what is wrong is appended to ``problems`` under the name ``shown``."""
    try:
        size = path.stat().st_size
        if size > FILE_BYTES:
            what = f"the file has {size:,} bytes, more than the {FILE_BYTES:,} that are read"
            problems.append(Problem(shown, 1, what, "split it; osquery takes no config above 1 MiB"))
            return None
        tree = YAML(typ="rt", pure=True).load(path.read_text(encoding="utf-8"))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 0)
        problems.append(Problem(shown, line, f"not YAML: {error.problem}", column=column))
        return None
    except RecursionError:
        problems.append(Problem(shown, 1, "not YAML: nested too deep"))
        return None
    except OSError as error:
        problems.append(Problem(shown, 1, f"cannot be read: {error.strerror}"))
        return None
    except (YAMLError, ValueError, ArithmeticError, LookupError, TypeError, AttributeError) as error:
        # What the library raises for a value it cannot make, such as the date 2026-99-99, is not one class.
        problems.append(Problem(shown, 1, f"not YAML: {str(error).splitlines()[0] if str(error) else error!r}"))
        return None
    if not isinstance(tree, Mapping):
        problems.append(Problem(shown, 1, "file is not a mapping of keys to values"))
        return None
    try:
        return model.model_validate(_plain(tree, [LARGEST_TREE]))
    except ValidationError as error:
        problems += [_problem(shown, tree, dict(entry), model) for entry in error.errors()]
    except RecursionError:
        problems.append(Problem(shown, 1, "an alias holds itself, or the file is nested too deep"))
    except _TooLargeError:
        problems.append(Problem(shown, 1, f"more than {LARGEST_TREE:,} values, counted with what aliases repeat"))
    return None


def _problem(shown: str, tree: Any, entry: dict[str, Any], model: type[BaseModel]) -> Problem:
    where: Sequence[Any] = list(entry["loc"])
    path = ".".join(str(part) for part in where)
    hint = ""
    if entry["type"] == "extra_forbidden":
        message = f"unknown key {path!r}"
        hint = did_you_mean(str(where[-1]), _keys_at(model, where[:-1]))
    elif entry["type"] == "missing":
        message = f"key {path!r} is missing"
    else:
        message = f"{path}: {entry['msg']}" if path else str(entry["msg"])
    line, column = _place(tree, where)
    return Problem(shown, line, message, hint, column=column)


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
        try:
            line, column = tree.lc.item(part) if isinstance(tree, CommentedSeq) else tree.lc.key(part)
            tree = tree[part]
        except (AttributeError, KeyError, IndexError, TypeError):
            break
    return line + 1, column + 1


class _TooLargeError(Exception):
    pass


def _plain(tree: Any, left: list[int]) -> Any:
    """The round-trip tree as plain dicts, lists and scalars; ``left`` is how many values there may be yet."""
    left[0] -= 1
    if left[0] < 0:
        raise _TooLargeError
    if isinstance(tree, Mapping):
        return {_scalar(key): _plain(value, left) for key, value in tree.items()}
    if isinstance(tree, list | tuple | AbstractSet):
        return [_plain(value, left) for value in tree]
    return _scalar(tree)


def _scalar(value: Any) -> Any:
    for plain in (bool, int, float, str):
        if isinstance(value, plain):
            return plain(value)
    return value


def lines_of_items(path: Path, key: str) -> list[int]:
    """The lines on which the items of a list begin, in a file that ``read_model`` could read."""
    tree = _tree(path)
    return [_place(tree, (key, position))[0] for position in range(len(tree[key]))]


def place_of(path: Path, where: Sequence[Any], word: str = "") -> tuple[int, int]:
    """Line and column of a key, in a file that ``read_model`` could read; with ``word``, of that word in its value.

    Where the word is not found in the source as it stands, the key is the place.
    """
    text = path.read_text(encoding="utf-8")
    line, column = _place(_tree(path), where)
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


def _tree(path: Path) -> Any:
    return YAML(typ="rt", pure=True).load(path.read_text(encoding="utf-8"))
