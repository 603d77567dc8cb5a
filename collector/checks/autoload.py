"""What osqueryd asks of a file before it starts it as an extension; it only says so in its log, if at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from collector.checks.finding import Finding, good, problem

SUFFIX = ".ext"
OTHERS = "osqueryd does not start what anybody else could have written"


def extension_file(path: Path, owner: int = 0) -> list[Finding]:
    """Look at a file that ``extensions_autoload`` names; ``owner`` is the user id osqueryd runs as."""
    try:
        status = path.stat()
    except OSError as error:
        return [problem(str(path), f"it cannot be looked at: {error.strerror}", "install the collector again")]
    found = [*_named(path), *_owned(path, status, owner), *_folder(path), *_first_line(path)]
    return found or [good(str(path), "osqueryd can start it")]


def load_file(path: Path, wanted: Path | None = None) -> tuple[list[Finding], list[Path]]:
    """Look at the file that lists extensions; returns the extensions it names, too, those of its folders as well."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        return [
            problem(str(path), f"it cannot be read: {error.strerror}", f"write the extension's path into {path}")
        ], []
    named = [Path(line.strip()) for line in lines if line.strip() and not line.strip().startswith("#")]
    extensions = [one for path in named for one in (sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path])]
    if wanted is not None and wanted not in extensions:
        return [problem(str(path), f"it does not name {wanted}", f"add the line {wanted}")], extensions
    return [good(str(path), f"it names {len(extensions)} extension(s)")], extensions


def _named(path: Path) -> Iterator[Finding]:
    if path.suffix != SUFFIX:
        yield problem(str(path), f"its name does not end in {SUFFIX}", f"rename it to {path.with_suffix(SUFFIX).name}")


def _owned(path: Path, status: os.stat_result, owner: int) -> Iterator[Finding]:
    if not stat.S_ISREG(status.st_mode):
        yield problem(str(path), "it is not a file", "install the collector again")
        return
    if status.st_uid != owner:
        yield problem(str(path), f"it belongs to user {status.st_uid}; {OTHERS}", f"chown {owner} {path}")
    if status.st_mode & stat.S_IWOTH:
        yield problem(str(path), f"anybody may write to it; {OTHERS}", f"chmod 0755 {path}")
    if not status.st_mode & stat.S_IXUSR:
        yield problem(str(path), "it may not be executed", f"chmod 0755 {path}")


def _folder(path: Path) -> Iterator[Finding]:
    folder = path.resolve().parent
    if folder.stat().st_mode & stat.S_ISVTX:
        yield problem(str(folder), "it has the sticky bit, as /tmp has", f"chmod -t {folder}, or use another folder")


def _first_line(path: Path) -> Iterator[Finding]:
    try:
        with path.open("rb") as file:
            first = file.readline(512)
    except OSError as error:
        yield problem(str(path), f"it cannot be read: {error.strerror}", f"chmod 0755 {path}")
        return
    if first.startswith((b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe")):
        return
    if not first.startswith(b"#!"):
        yield problem(
            str(path), "its first line names no interpreter", "let it begin with #! and an interpreter's path"
        )
    elif first.endswith(b"\r\n"):
        yield problem(str(path), "its lines end as on Windows, and no interpreter is called that", f"dos2unix {path}")
    else:
        words = first[2:].decode("utf-8", "replace").split()
        if not words or not os.access(words[0], os.X_OK):
            yield problem(str(path), f"its interpreter {' '.join(words)!r} is not there", "install the collector again")
