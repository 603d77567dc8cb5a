"""The files of a packs folder: read within bounds, found without going in circles."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from server.catalog.problems import Problem

FILE_BYTES = 1024 * 1024
_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,99}")


def read_text(path: Path, shown: str, problems: list[Problem]) -> str | None:
    """The text of a file; one that is too large, no plain file or no UTF-8 is a problem."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            problems.append(Problem(shown, 1, "not a plain file"))
            return None
        if found.st_size > FILE_BYTES:
            problems.append(Problem(shown, 1, f"file is larger than {FILE_BYTES} bytes"))
            return None
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        problems.append(Problem(shown, 1, f"not UTF-8 text: {error.reason} at byte {error.start}"))
    except OSError as error:
        problems.append(Problem(shown, 1, f"cannot be read: {error.strerror}"))
    return None


def odd_id(kind: str, name: str) -> str:
    """What is wrong with the id that a control, pack or framework has from its file's name; empty if nothing."""
    return "" if _ID.fullmatch(name) else f"{kind} id {name!r} is not of lower-case letters, digits and -"


def check_folders(root: Path) -> list[Problem]:
    """Links that lead in a circle or nowhere, and files that would be taken for part of the packs and are not read."""
    problems: list[Problem] = []
    for folder, folders, files in os.walk(root, followlinks=False):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in sorted(folders + files):
            path = Path(folder, name)
            if path.is_symlink():
                problems += _odd_link(root, path)
        shown = Path(folder).relative_to(root)
        for name in sorted(files):
            problems += _unread(shown / name)
        if "cases.yaml" in files and "control.yaml" not in files and len(shown.parts) == 3:
            problems.append(Problem(str(shown / "cases.yaml"), 1, "no control.yaml beside it"))
    return problems


def _odd_link(root: Path, path: Path) -> list[Problem]:
    shown = str(path.relative_to(root))
    try:
        leads = path.resolve(strict=True)
    except (OSError, RuntimeError):
        return [Problem(shown, 1, "this link leads nowhere, or in a circle")]
    if leads.is_dir() and path.absolute().parent.resolve().is_relative_to(leads):
        return [Problem(shown, 1, "this link leads in a circle: to a folder that it is in")]
    return []


def _unread(file: Path) -> list[Problem]:
    """A file that looks like a part of the packs from where nothing is read."""
    hint = _mend(file)
    return [Problem(str(file), 1, "this file is not read", hint)] if hint else []


def _mend(file: Path) -> str:
    """Where a file should be, or how it should be named; empty where it is right, or no part of packs."""
    place, suffix = file.parts[:-1], file.suffix
    if place[:1] == ("schema",) or file.name.startswith("."):
        return ""
    if suffix == ".yml" or (suffix.lower() in (".yaml", ".sql") and suffix != suffix.lower()):
        return f"name it {file.stem}{'.yaml' if suffix == '.yml' else suffix.lower()}"
    if suffix == ".sql":
        return "" if place[:1] == ("queries",) else "queries are in the folder queries"
    if suffix != ".yaml":
        return ""
    if place[:1] == ("controls",):
        right = len(place) == 3 and file.name in ("control.yaml", "cases.yaml")
        return "" if right else "a control is controls/<area>/<good-state>/control.yaml, with cases.yaml beside it"
    right = place in ((), ("lists",), ("frameworks",))
    return "" if right else "packs are files beside the folder queries, lists are in lists, frameworks in frameworks"
