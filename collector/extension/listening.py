"""The socket on which osqueryd calls an extension: ``<osqueryd's socket>.<uuid>``."""

from __future__ import annotations

import os
import socket as sockets
from contextlib import suppress
from pathlib import Path

BACKLOG = 128


class Listening:
    """A listening socket at its path. It may be handed on to another process, which goes on where this one ended."""

    def __init__(self, path: Path, listener: sockets.socket) -> None:
        self.path = path
        self.listener = listener
        self._identity = _identity(path)

    @classmethod
    def at(cls, path: Path) -> Listening:
        """Listen at a path, in the place of whatever is there. Raises OSError.

        The path never leads nowhere meanwhile: osqueryd, which connects for each call, finds the old or the new one.
        """
        fresh = path.with_name(f"{path.name}.{os.getpid()}")
        listener = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
        try:
            fresh.unlink(missing_ok=True)
            listener.bind(str(fresh))
            fresh.chmod(0o755)
            listener.listen(BACKLOG)
            fresh.rename(path)
        except BaseException:
            listener.close()
            fresh.unlink(missing_ok=True)
            raise
        return cls(path, listener)

    @classmethod
    def inherited(cls, path: Path, descriptor: int) -> Listening:
        """Go on with a socket that another process listened on. Raises OSError."""
        return cls(path, sockets.socket(fileno=descriptor))

    def is_ours(self) -> bool:
        """Whether the path still leads here."""
        return self._identity is not None and _identity(self.path) == self._identity

    def vanish(self) -> None:
        """Leave no socket behind that nobody answers; who connected already is still heard."""
        if self.is_ours():
            with suppress(OSError):
                self.path.unlink()

    def close(self) -> None:
        """Listen no more."""
        self.listener.close()


def answers(path: Path) -> bool:
    """Whether somebody listens at a path."""
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except BlockingIOError:
            return True  # its queue is full
        except OSError as error:
            return isinstance(error, TimeoutError)
    return True


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
