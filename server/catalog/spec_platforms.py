"""Which spec files osquery builds, and on which platforms: its CMakeLists.txt says, else the folders do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from server.catalog.schema import PLATFORMS

_FOLDERS = {
    "": PLATFORMS,
    "utility": PLATFORMS,
    "darwin": ("darwin",),
    "linux": ("linux",),
    "windows": ("windows",),
    "posix": ("darwin", "linux"),
    "sleuthkit": ("darwin", "linux"),
    "linwin": ("linux", "windows"),
    "macwin": ("darwin", "windows"),
}
_NAMES = {"linux": "linux", "macos": "darwin", "windows": "windows"}
_LISTED = re.compile(r'"?(?P<file>[\w/]+\.table)(?::(?P<platforms>[a-z,]+))?"?')
_IF = re.compile(r"if\((?P<what>[^)]*)\)")


@dataclass(frozen=True, slots=True, order=True)
class Built:
    """A spec file, where it is built, and under which condition of the build."""

    file: str
    platforms: tuple[str, ...]
    condition: str = ""


def built_specs(root: Path) -> list[Built]:
    """The spec files under ``root`` that osquery builds."""
    denied = _denied(root)
    cmake = root / "CMakeLists.txt"
    there = {str(path.relative_to(root)) for path in root.glob("**/*.table")}
    if cmake.is_file():
        listed = _listed(cmake.read_text(encoding="utf-8", errors="replace"))
        built = [one for one in listed if one.file in there]
    else:
        built = [Built(file, _FOLDERS.get(file.rpartition("/")[0], ())) for file in there]
    return sorted(one for one in built if one.platforms and Path(one.file).stem not in denied)


def _listed(text: str) -> Iterator[Built]:
    conditions: list[str] = []
    for line in map(str.strip, text.splitlines()):
        opened = _IF.fullmatch(line)
        if opened:
            conditions.append(re.sub(r'\s+STREQUAL\s+"?([^"\s]*)"?', r"=\1", opened["what"]))
        elif line.startswith("endif("):
            conditions = conditions[:-1]
        for match in _LISTED.finditer(line.partition("#")[0]):
            names = (match["platforms"] or ",".join(_NAMES)).split(",")
            where = {_NAMES[name] for name in names if name in _NAMES}
            platforms = tuple(platform for platform in PLATFORMS if platform in where)
            yield Built(match["file"], platforms, " and ".join(conditions))


def _denied(root: Path) -> set[str]:
    path = root / "denylist"
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    return {line.strip() for line in lines if line.strip() and line[0] != "#" and ":" not in line}
