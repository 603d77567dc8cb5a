"""The policy's file: read only where nobody but root can have written it."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from collector.policy.rules import Rules, RulesError, parse_rules

MOST_BYTES = 1024 * 1024

Signature = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a look at the file found: its rules, or why it cannot be trusted (then everything is refused)."""

    rules: Rules
    problem: str = ""
    exists: bool = True


def load_file(path: Path, owner: int = 0) -> Loaded:
    """Read the policy. A file that is not there denies nothing; one that cannot be read or trusted denies everything.

    It has to belong to ``owner`` and be writable by nobody else; nor may anybody else be able to put another file in
    its place, so the folders above it are looked at too. Windows has no such owners and modes: there the file is
    taken as it is.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        return _absent(path, owner)
    except OSError as error:
        return _closed(path, f"it cannot be read ({error.strerror})", f"look at it with: ls -ld {path}")
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        return _closed(path, "it is not a file", "put the policy there, or remove it")
    with os.fdopen(descriptor, "rb") as file:
        untrusted = _untrusted(path, status, owner)
        if untrusted:
            return _closed(path, *untrusted)
        return _parsed(path, file.read(MOST_BYTES + 1))


def signature(path: Path) -> Signature | None:
    """What changes when the file does; None if there is none."""
    try:
        status = path.stat()
    except OSError as error:
        return None if isinstance(error, FileNotFoundError) else (error.errno or 0,)
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_mode,
        status.st_uid,
    )


def _absent(path: Path, owner: int) -> Loaded:
    """No file, and nobody but the owner could have taken it away."""
    if path.is_symlink():
        return _closed(path, "it is a link to a file that is not there", "mend the link, or remove it")
    for folder in path.absolute().parents:
        if folder.exists():
            untrusted = _untrusted_folder(folder, owner)
            return _closed(path, *untrusted) if untrusted else Loaded(Rules(), exists=False)
    return Loaded(Rules(), exists=False)


def _parsed(path: Path, data: bytes) -> Loaded:
    if len(data) > MOST_BYTES:
        return _closed(path, "it is larger than 1 MiB", "a policy is a few lines")
    try:
        return Loaded(parse_rules(data.decode("utf-8")))
    except UnicodeDecodeError:
        return _closed(path, "it is not UTF-8", "save it as UTF-8")
    except RulesError as error:
        return _closed(path, str(error), f"edit {path}")


def _closed(path: Path, why: str, mend: str) -> Loaded:
    return Loaded(
        Rules(deny_live=True),
        f"the policy {path} cannot be used: {why}. Until it is mended, nothing is answered. To mend: {mend}",
    )


def _untrusted(path: Path, status: os.stat_result, owner: int) -> tuple[str, str] | None:
    """Why the file may have been written by somebody else, and what mends it."""
    if os.name == "nt":
        return None
    if status.st_uid != owner:
        return f"it belongs to {_name(status.st_uid)}, not to {_name(owner)}", f"sudo chown {_name(owner)} {path}"
    if status.st_mode & 0o022:
        return f"others may write it (mode {stat.S_IMODE(status.st_mode):04o})", f"sudo chmod go-w {path}"
    folders = {*path.absolute().parents, *path.resolve().parents}
    for folder in sorted(folders, key=lambda one: len(one.parts), reverse=True):
        untrusted = _untrusted_folder(folder, owner)
        if untrusted:
            return untrusted
    return None


def _untrusted_folder(folder: Path, owner: int) -> tuple[str, str] | None:
    """Why somebody else could put another file in place of one in this folder, and what mends it."""
    if os.name == "nt":
        return None
    try:
        status = folder.stat()
    except OSError as error:
        return f"its folder {folder} cannot be looked at ({error.strerror})", f"look at it with: ls -ld {folder}"
    if status.st_uid not in (0, owner):
        return f"its folder {folder} belongs to {_name(status.st_uid)}", f"sudo chown {_name(owner)} {folder}"
    # In a sticky folder only the owner of a file may rename or remove it.
    if status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX:
        mode = f"mode {stat.S_IMODE(status.st_mode):04o}"
        return f"others may write its folder {folder} ({mode})", f"sudo chmod go-w {folder}"
    return None


def _name(uid: int) -> str:
    if uid == 0:
        return "root"
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
