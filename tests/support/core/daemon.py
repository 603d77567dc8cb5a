"""The stand-in put together: how it starts, what it knows, how it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.core import wire
from tests.support.core.autoload import Processes
from tests.support.core.config import Config, Configurer
from tests.support.core.extensions import Extensions
from tests.support.core.flags import Flags
from tests.support.core.journal import Journal
from tests.support.core.logger import BUILT_IN, Loggers
from tests.support.core.manager import Manager
from tests.support.core.schedule import Schedule
from tests.support.core.tables import Tables
from tests.support.core.wire import Answer

FAILED = 78
LETTERS = "IWE"


class Daemon:
    """One osqueryd, as far as its extensions and clients of its socket can tell."""

    def __init__(self, flags: Flags) -> None:
        self.flags = flags
        self.host = "stand-in"
        self.started_at = int(time.time())
        self.config = Config()
        self._load_decorations: dict[str, str] = {}
        self._ending = threading.Lock()
        self.pidfile: int | None = None
        """Its descriptor: osqueryd's extensions inherit it, and hold its lock for as long as they keep it open."""
        self.journal = Journal(flags.path("journal"))
        self.loggers = Loggers(self)
        self.extensions = Extensions(self)
        self.processes = Processes(self)
        self.configurer = Configurer(self)
        self.schedule = Schedule(self)
        self.tables = Tables(
            {
                "time": self._time,
                "osquery_info": self._info,
                "osquery_schedule": self.schedule.rows,
                "osquery_registry": self._registry,
                "osquery_extensions": self._extensions,
                "osquery_packs": lambda: [
                    {"name": name, "active": int(active)} for name, active in self.config.packs.items()
                ],
                "osquery_flags": lambda: [{"name": name, "value": value} for name, value in flags.given.items()],
            }
        )
        if path := flags.path("tables"):
            self.tables.load(path)

    def start(self) -> None:
        """In osqueryd's order; ends the process with 78 where osqueryd would."""
        self.say(0, "init.cpp", 413, "osquery initialized [version=5.23.0]")
        self._lock_pidfile()
        with contextlib.suppress(FileNotFoundError):
            # A socket file of one that was killed; whoever listens on it still would keep us from starting.
            if not wire.listens(self.flags.socket):
                Path(self.flags.socket).unlink()
        wire.serve(self.flags.socket, Manager(self))
        self.processes.load()
        watched = self.flags.given.get("watch") != "manual"
        if watched:
            self._every(self.flags.interval, 0, self.processes.start_missing)
        self._wait_for_required()
        if watched:
            self._every(self.flags.interval, self.flags.seconds("ping_lag", 0.2), self.extensions.ping)
        plugin = self.flags.config_plugin
        if plugin not in ("filesystem", "tls") and self.extensions.offering("config", plugin) is None:
            self.end(FAILED, f"Cannot activate {plugin} config plugin: Unknown registry plugin: {plugin}")
        self.refresh_config()
        if missing := self.loggers.missing():
            self.end(FAILED, f"Cannot activate {missing} logger plugin: Unknown registry plugin: {missing}")
        self.loggers.start()
        if refresh := self.flags.seconds("config_refresh", 0):
            self._every(refresh * self.flags.tick, 0, self.refresh_config)
        self.schedule.start()
        self.journal.write("ready", pid=os.getpid())

    def _lock_pidfile(self) -> None:
        path = self.flags.path("pidfile")
        if path is None:
            return
        self.pidfile = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self.pidfile, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.end(1, "osqueryd Pidfile check failed: Pidfile::Error::Busy")

    def _wait_for_required(self) -> None:
        until = time.monotonic() + self.flags.extensions_timeout
        for name in self.flags.require:
            if not self.extensions.wait_for(name, until - time.monotonic()):
                said = f"Required extension not found or not loaded: {name}"
                self.say(2, "init.cpp", 714, f"An error occurred during extension manager startup: {said}")

    def _every(self, seconds: float, lag: float, work: Any) -> None:
        def go_on() -> None:
            due = time.monotonic() + lag
            while True:
                due += seconds
                time.sleep(max(0.0, due - time.monotonic()))
                work()

        threading.Thread(target=go_on, daemon=True).start()

    def refresh_config(self) -> bool:
        """Read the config anew; False if its plugin failed."""
        config = self.configurer.read()
        if config is None:
            return False
        self.config = config
        self._load_decorations = self._decorated(config.load_decorators)
        return True

    def option(self, name: str, default: str) -> str:
        """An option of the config, else the flag."""
        value = self.config.options.get(name, self.flags.given.get(name, default))
        return str(value).lower() if isinstance(value, bool) else str(value)

    def decorations(self) -> dict[str, str]:
        return {**self._load_decorations, **self._decorated(self.config.always_decorators)}

    def _decorated(self, statements: tuple[str, ...]) -> dict[str, str]:
        found: dict[str, str] = {}
        for sql in statements:
            for row in self.tables.answer(sql).rows[:1]:
                found.update(row)
        return found

    def answer(self, sql: str) -> Answer:
        """The answer to a statement, whoever asks."""
        answer = self.tables.answer(sql)
        self.journal.write("query", sql=sql, code=answer.code, message=answer.message, rows=len(answer.rows))
        return answer

    def call(self, registry: str, item: str, request: Mapping[str, str]) -> Answer:
        """A call of a plugin, core's own or an extension's, over core's socket."""
        if self.extensions.offering(registry, item):
            return self.extensions.call(registry, item, request)
        if registry == "config" and item == "filesystem" and request.get("action") == "update":
            return self.configurer.update(request["source"], request["data"])
        if registry == "config" and item == self.flags.config_plugin:
            return Answer(0, "OK", self.configurer.sources())
        if registry == "logger" and item in BUILT_IN:
            return Answer(0, "OK", [])
        if registry == "table" and item in self.tables.names():
            return self.tables.answer(f'SELECT * FROM "{item}"')
        return Answer(1, f"Cannot call registry item: {item}", [])

    def say(self, severity: int, file: str, line: int, message: str) -> None:
        """A status: on standard error, and for the loggers."""
        stamp = time.strftime("%m%d %H:%M:%S", time.gmtime())
        sys.stderr.write(f"{LETTERS[severity]}{stamp} {os.getpid()} {file}:{line}] {message}\n")
        sys.stderr.flush()
        self.loggers.note(severity, file, line, message)

    def end(self, code: int, why: str = "") -> None:
        """End the process: extensions are told, autoloaded ones ended. Never returns."""
        if not self._ending.acquire(blocking=False):
            threading.Event().wait()  # another thread is at it
        if why:
            self.say(2, "shutdown.cpp", 80, why)
        self.journal.write("ended", code=code, why=why)
        self.extensions.shut_down()
        self.processes.end()
        with contextlib.suppress(OSError):
            os.unlink(self.flags.socket)
        os._exit(code)

    def _time(self) -> list[dict[str, Any]]:
        now = time.time()
        parts = time.gmtime(now)
        return [
            {
                "weekday": time.strftime("%A", parts),
                "year": parts.tm_year,
                "month": parts.tm_mon,
                "day": parts.tm_mday,
                "hour": parts.tm_hour,
                "minutes": parts.tm_min,
                "seconds": parts.tm_sec,
                "timezone": "UTC",
                "local_timezone": "UTC",
                "unix_time": int(now),
                "timestamp": time.strftime("%a %b %e %H:%M:%S %Y UTC", parts),
                "datetime": time.strftime("%Y-%m-%dT%H:%M:%SZ", parts),
                "iso_8601": time.strftime("%Y-%m-%dT%H:%M:%SZ", parts),
            }
        ]

    def _info(self) -> list[dict[str, Any]]:
        return [
            {
                "pid": os.getpid(),
                "uuid": "4c4c4544-0042-3510-8051-b4c04f4d4431",
                "instance_id": "9e9d5bd5-0000-4000-8000-000000000001",
                "version": "5.23.0",
                "config_hash": self.config.hash,
                "config_valid": int(bool(self.config.hash)),
                "extensions": "active",
                "build_platform": "linux",
                "build_distro": "debian",
                "start_time": self.started_at,
                "watcher": -1,
                "platform_mask": 9,
            }
        ]

    def _registry(self) -> list[dict[str, Any]]:
        own = [("table", name, 0) for name in self.tables.names()]
        own += [("logger", name, 0) for name in sorted(BUILT_IN)] + [
            ("config", name, 0) for name in ("filesystem", "tls")
        ]
        theirs = [
            (registry, item, one.uuid)
            for one in self.extensions.registered()
            for registry, items in one.plugins.items()
            for item in items
        ]
        active = {("config", self.flags.config_plugin), *(("logger", name) for name in self.flags.loggers)}
        return [
            {
                "registry": registry,
                "name": name,
                "owner_uuid": uuid,
                "internal": 0,
                "active": int(_is(registry, name, active)),
            }
            for registry, name, uuid in [*own, *theirs]
        ]

    def _extensions(self) -> list[dict[str, Any]]:
        core = {"uuid": 0, "name": "core", "version": "5.23.0", "sdk_version": "0.0.0", "path": self.flags.socket}
        return [
            {**core, "type": "core"},
            *(
                {
                    "uuid": one.uuid,
                    "name": one.name,
                    "version": one.version,
                    "sdk_version": one.min_sdk_version,
                    "path": one.path,
                    "type": "extension",
                }
                for one in self.extensions.registered()
            ),
        ]


def _is(registry: str, name: str, active: set[tuple[str, str]]) -> bool:
    return registry == "table" or (registry, name) in active
