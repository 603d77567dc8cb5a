"""YAML files into pydantic models, with a problem at the right line for everything that is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from server.catalog.problems import Problem, did_you_mean

FILE_BYTES = 10 * 1024 * 1024


class Strict(BaseModel):
    """A file's model: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


Model = TypeVar("Model", bound=Strict)


def read_model(path: Path, shown: str, model: type[Model], problems: list[Problem]) -> Model | None:
    """Read ``path`` as ``model``; what is wrong is appended to ``problems`` under the name ``shown``."""
    try:
        if path.stat().st_size > FILE_BYTES:
            problems.append(Problem(shown, 1, f"file is larger than {FILE_BYTES} bytes"))
            return None
        tree = YAML(typ="rt", pure=True).load(path.read_text(encoding="utf-8"))
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problems.append(Problem(shown, line, f"not YAML: {error.problem}"))
        return None
    except (YAMLError, UnicodeDecodeError, RecursionError) as error:
        problems.append(Problem(shown, 1, f"not YAML: {error}"))
        return None
    if not isinstance(tree, Mapping):
        problems.append(Problem(shown, 1, "file is not a mapping of keys to values"))
        return None
    try:
        return model.model_validate(_plain(tree))
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
    elif entry["type"] == "missing":
        message = f"key {path!r} is missing"
    else:
        message = f"{path}: {entry['msg']}" if path else str(entry["msg"])
    return Problem(shown, _line_of(tree, where), message, hint)


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


def _line_of(tree: Any, where: Sequence[Any]) -> int:
    """The line of a place in a round-trip tree, or of the nearest place above it that is there."""
    line = 1
    for part in where:
        try:
            position = tree.lc.item(part) if isinstance(tree, CommentedSeq) else tree.lc.key(part)
            line = position[0] + 1
            tree = tree[part]
        except (AttributeError, KeyError, IndexError, TypeError):
            break
    return line


def _plain(tree: Any) -> Any:
    """The round-trip tree as plain dicts, lists and scalars."""
    if isinstance(tree, Mapping):
        return {_scalar(key): _plain(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_plain(value) for value in tree]
    return _scalar(tree)


def _scalar(value: Any) -> Any:
    for plain in (bool, int, float, str):
        if isinstance(value, plain):
            return plain(value)
    return value


def lines_of_items(path: Path, key: str) -> list[int]:
    """The lines on which the items of a list begin, in a file that ``read_model`` could read."""
    tree = YAML(typ="rt", pure=True).load(path.read_text(encoding="utf-8"))
    return [_line_of(tree, (key, position)) for position in range(len(tree[key]))]
