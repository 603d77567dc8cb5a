"""Looking at osqueryd's flag file: does what it says go together with a collector?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from collector.checks.autoload import extension_file, load_file
from collector.checks.finding import Finding, good, problem
from collector.settings import Settings

NAME = "muster"
"""The name of the extension and of both its plugins."""
AUTOLOAD_DEFAULT = "/etc/osquery/extensions.load"
SOCKET_DEFAULT = "/var/osquery/osquery.em"
LEAST_TIMEOUT = 10
"""Seconds osqueryd has to wait for the extension: a busy machine takes a few to start it."""


def read_flags(text: str) -> dict[str, str]:
    """The flags of a flag file; one without a value is true."""
    flags = {}
    for line in text.splitlines():
        word = line.strip()
        if word.startswith("-"):
            name, _, value = word.lstrip("-").partition("=")
            flags[name.strip()] = value.strip() or "true"
    return flags


def flag_file(path: Path, settings: Settings, owner: int = 0) -> list[Finding]:
    """Look at a flag file, and at what it leads to. ``owner`` is the user id osqueryd runs as."""
    try:
        flags = read_flags(path.read_text(encoding="utf-8", errors="replace"))
    except OSError as error:
        return [problem(str(path), f"it cannot be read: {error.strerror}", "name osqueryd's flag file with --flagfile")]
    found = [*_for_both(str(path), flags, settings)]
    if uses_extension(flags):
        found += _for_extension(str(path), flags, owner)
    else:
        found.append(good(str(path), "osqueryd sends its log itself; the collector stands beside it"))
    return found


def uses_extension(flags: Mapping[str, str]) -> bool:
    """Whether osqueryd depends on our extension by these flags."""
    return NAME in _list(flags, "logger_plugin") or NAME in _list(flags, "config_plugin")


def _for_both(path: str, flags: Mapping[str, str], settings: Settings) -> Iterator[Finding]:
    if _is_on(flags, "disable_extensions"):
        yield problem(path, "extensions are off, and with them the socket we ask through", "drop --disable_extensions")
    socket = flags.get("extensions_socket", SOCKET_DEFAULT)
    if socket != str(settings.socket):
        told = f"osqueryd's socket is {socket}, and ours is set to {settings.socket}"
        yield problem(path, told, f'write socket = "{socket}" into the collector\'s settings')


def _for_extension(path: str, flags: Mapping[str, str], owner: int) -> Iterator[Finding]:
    if NAME not in _list(flags, "extensions_require"):
        told = "osqueryd does not wait for the extension, and ends when it is not there in time"
        yield problem(path, told, f"--extensions_require={NAME}")
    timeout = flags.get("extensions_timeout", "3")
    if not timeout.isdecimal() or int(timeout) < LEAST_TIMEOUT:
        told = f"osqueryd waits {timeout} s for the extension, and ends when it takes longer"
        yield problem(path, told, f"--extensions_timeout={LEAST_TIMEOUT} or more")
    load = Path(flags.get("extensions_autoload", AUTOLOAD_DEFAULT))
    if "extensions_autoload" not in flags and not load.exists():
        yield good(
            path, "osqueryd loads no extension: 'muster-collector run' is to attach it (install.sh --mode attach)"
        )
        return
    loads, extensions = load_file(load)
    yield from loads
    ours = [one for one in extensions if one.stem == NAME]
    if not ours:
        yield problem(path, f"none of the extensions it loads is {NAME}.ext", f"add the path of {NAME}.ext")
    for extension in ours:
        yield from extension_file(extension, owner)


def _is_on(flags: Mapping[str, str], name: str) -> bool:
    return flags.get(name, "false").lower() in ("true", "t", "1", "yes", "y")


def _list(flags: Mapping[str, str], name: str) -> list[str]:
    return [one.strip() for one in flags.get(name, "").split(",")]
