"""What outlives the process that answers osqueryd: its listening socket, held by the process that started it.

Osqueryd ends if a log line finds nobody to take it. While somebody holds the socket a call waits in its queue, though
the process that answered was killed, and the next one goes on where it ended.
"""

from __future__ import annotations

import select
import socket as sockets
from contextlib import suppress
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kept:
    """A listening socket handed on: the uuid that osqueryd knows it by, and the open descriptor."""

    uuid: int
    descriptor: int

    @classmethod
    def from_text(cls, text: str) -> Kept:
        """Read ``UUID:DESCRIPTOR``. Raises ValueError."""
        uuid, _, descriptor = text.partition(":")
        return cls(int(uuid), int(descriptor))


class Keeper:
    """The line to the process that started this one; of none there is no line, and nothing is held."""

    def __init__(self, descriptor: int | None) -> None:
        self._line = None if descriptor is None else sockets.socket(fileno=descriptor)

    @property
    def is_there(self) -> bool:
        """Whether there was such a process at the start."""
        return self._line is not None

    def hold(self, uuid: int, listener: sockets.socket) -> None:
        """Have the socket held."""
        if self._line is not None:
            with suppress(OSError):  # it is gone: nobody holds anything any more
                sockets.send_fds(self._line, [f"{uuid}\n".encode()], [listener.fileno()])

    def drop(self) -> None:
        """Have nothing held any more."""
        if self._line is not None:
            with suppress(OSError):
                self._line.sendall(b"0\n")

    def is_gone(self) -> bool:
        """Whether there was a process that started this one, and it ended."""
        if self._line is None:
            return False
        ready, _, _ = select.select([self._line], [], [], 0)
        try:
            return bool(ready) and not self._line.recv(1, sockets.MSG_PEEK)
        except OSError:
            return True
