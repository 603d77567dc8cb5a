"""The controlling protocol: one JSON object a line on a Unix socket, each answered by one line.

| ``do`` | with | answers |
|---|---|---|
| ``state`` | | extensions, processes, schedule, config hash |
| ``await`` | ``extension`` or ``plugin`` (``logger/muster``: has been called), ``seconds`` | ``ok`` |
| ``log`` | ``query``, ``lines``: ``{"string": …}`` or ``{"snapshot": …}`` | ``ok``, ``answers`` ([code, message]); ends with 78 after that if the last one failed |
| ``status`` | ``text``, or ``severity`` and ``message`` | ``answers`` |
| ``run`` | ``queries`` (all) | ``lines`` by query |
| ``config`` | | ``ok``: whether the config plugin answered |
| ``call`` | ``registry``, ``item``, ``request`` | ``code``, ``message``, ``rows`` |
| ``ping``, ``restart`` | | ``gone``, ``started``: one round of each |
| ``table`` | ``name``, ``content`` | what is in a table from now on |
| ``slow`` | ``contains``, ``seconds`` | statements that contain this take long |
| ``deny`` | ``query`` | it is denylisted |
| ``sleep`` | ``seconds`` | the schedule stands still |
| ``end`` | ``code`` | it ends, as it does by itself |
"""  # noqa: E501 (a table)

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.support.core.daemon import Daemon

Command = dict[str, Any]


class Control:
    """Serves the protocol, one thread a connection."""

    def __init__(self, daemon: Daemon, path: str) -> None:
        self._daemon = daemon
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(path)
        self._listener.listen(16)
        self._does: dict[str, Callable[[Command], Command]] = {
            "state": self._state,
            "await": self._await,
            "log": self._log,
            "status": self._status,
            "run": self._run,
            "config": lambda _: {"ok": daemon.refresh_config()},
            "call": self._call,
            "ping": lambda _: {"gone": daemon.extensions.ping()},
            "restart": lambda _: {"started": daemon.processes.start_missing()},
            "table": self._table,
            "slow": self._slow,
            "deny": self._deny,
            "sleep": self._sleep,
        }

    def start(self) -> None:
        threading.Thread(target=self._accept, daemon=True, name="control").start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rwb") as stream:
            for line in stream:
                command = json.loads(line)
                if command["do"] == "end":
                    self._daemon.end(int(command.get("code", 0)))
                try:
                    answer = self._does[command["do"]](command)
                except Exception as error:
                    answer = {"error": f"{type(error).__name__}: {error}"}
                stream.write(json.dumps(answer).encode() + b"\n")
                stream.flush()

    def _state(self, _: Command) -> Command:
        daemon = self._daemon
        return {
            "extensions": [
                {
                    "uuid": one.uuid,
                    "name": one.name,
                    "plugins": {kind: sorted(all_) for kind, all_ in one.plugins.items()},
                }
                for one in daemon.extensions.registered()
            ],
            "processes": daemon.processes.pids(),
            "schedule": sorted(daemon.config.schedule),
            "config_hash": daemon.config.hash,
        }

    def _await(self, command: Command) -> Command:
        seconds = float(command.get("seconds", 10))
        if "plugin" in command:
            return {"ok": self._daemon.extensions.wait_for_call(command["plugin"], seconds)}
        return {"ok": self._daemon.extensions.wait_for(command["extension"], seconds)}

    def _log(self, command: Command) -> Command:
        answers = self._daemon.loggers.log(command["query"], command["lines"])
        return {"ok": True, "answers": [[one.code, one.message] for one in answers]}

    def _status(self, command: Command) -> Command:
        if "text" in command:
            answers = self._daemon.loggers.status(command["text"])
        else:
            self._daemon.loggers.note(int(command["severity"]), "made_up.cpp", 1, command["message"])
            answers = self._daemon.loggers.relay()
        return {"answers": [[one.code, one.message] for one in answers]}

    def _run(self, command: Command) -> Command:
        schedule = self._daemon.config.schedule
        names = command.get("queries", list(schedule))
        return {"lines": {name: self._daemon.schedule.run(schedule[name]) for name in names}}

    def _call(self, command: Command) -> Command:
        answer = self._daemon.call(command["registry"], command["item"], command["request"])
        return {"code": answer.code, "message": answer.message, "rows": answer.rows}

    def _table(self, command: Command) -> Command:
        self._daemon.tables.put(command["name"], command["content"])
        return {}

    def _slow(self, command: Command) -> Command:
        self._daemon.tables.slow(command["contains"], float(command["seconds"]))
        return {}

    def _deny(self, command: Command) -> Command:
        self._daemon.schedule.denylisted.add(command["query"])
        return {}

    def _sleep(self, command: Command) -> Command:
        self._daemon.schedule.sleep(float(command["seconds"]))
        return {}
