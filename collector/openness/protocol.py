"""The control socket's protocol: one JSON object a line. A request gets any number of ``progress``, then one end.

``{"do": "status" | "disclose"}`` or ``{"do": "sync", "wait": seconds}`` is asked; ``{"progress": text}`` may come
before ``{"answer": object}`` or ``{"error": text}``.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

DEEDS = ("status", "disclose", "sync")
REQUEST_BYTES = 4096
ANSWER_BYTES = 32 * 1024 * 1024
MOST_WAIT = 60.0
"""Seconds that a sync may be waited for."""
ANSWER_SECONDS = 30.0
"""For an answer beside what a sync may take."""


class NotRunningError(Exception):
    """Nobody listens on the control socket."""


class ControlError(Exception):
    """The uplink answered, but not with what was asked; the message says why."""


def ask(path: Path, request: dict[str, Any], progress: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """Ask the uplink. Blocks; raises ``NotRunningError`` and ``ControlError``."""
    deadline = time.monotonic() + ANSWER_SECONDS + float(request.get("wait", 0))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.settimeout(ANSWER_SECONDS)
            connection.connect(str(path))
            connection.sendall(json.dumps(request).encode() + b"\n")
        except (FileNotFoundError, ConnectionError) as error:
            raise NotRunningError(str(error)) from error
        except PermissionError as error:
            told = "only root may enter its folder; the setting control_socket names another place"
            raise ControlError(f"{path} cannot be used: {told}") from error
        except OSError as error:
            raise ControlError(f"{path} cannot be used: {error.strerror or error}") from error
        return _answer(_Lines(connection, deadline), progress)


def _answer(lines: _Lines, progress: Callable[[str], None]) -> dict[str, Any]:
    while True:
        try:
            said = json.loads(lines.next())
        except (OSError, EOFError, ValueError) as error:
            raise ControlError(f"the collector broke off: {str(error) or type(error).__name__}") from error
        match said:
            case {"progress": str(text)}:
                progress(text)
            case {"answer": dict(answer)}:
                return answer
            case {"error": str(text)}:
                raise ControlError(text)


class _Lines:
    """Reads lines within a time and a size."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline
        self._held = b""

    def next(self) -> bytes:
        """The next line."""
        parts, size = [self._held], len(self._held)
        while b"\n" not in parts[-1]:
            self._connection.settimeout(max(0.01, self._deadline - time.monotonic()))
            part = self._connection.recv(65536)
            if not part:
                raise EOFError("it ended in the middle")
            size += len(part)
            if size > ANSWER_BYTES:
                raise ValueError("its answer is too long")
            parts.append(part)
        line, _, self._held = b"".join(parts).partition(b"\n")
        return line
