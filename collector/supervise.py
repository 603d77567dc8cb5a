"""Keeps processes running: those of ``muster-collector run``, and the one behind an extension that osqueryd started.

Small on purpose: it must not be what fails. What of a process outlives it, its listening socket, is held here.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket as sockets
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

AT_ONCE_SECONDS = 5.0
"""A process that ran no longer than this died at once."""
AT_ONCE_FREE = 4
"""So many times it is started again without a wait: osqueryd waits for an extension for a few seconds only."""
MOST_WAIT = 60.0
"""Between starts of one that dies at once."""
HOPELESS = 10
"""After so many deaths at once in a row it is hardly tried any more."""
HOPELESS_WAIT = 300.0
END_SECONDS = 8.0
"""What processes have to end by themselves."""

_LOG = logging.getLogger(__name__)


class Child:
    """A process that is to run, and the socket it has us hold."""

    def __init__(self, name: str, arguments: Sequence[str], *, keeps_socket: bool = False) -> None:
        """``arguments``: of ``muster-collector``. ``keeps_socket``: it is given a line to us to hand a socket over."""
        self.name = name
        self.process: subprocess.Popen[bytes] | None = None
        self.start_at = 0.0
        self.line: sockets.socket | None = None
        self._arguments = list(arguments)
        self._keeps_socket = keeps_socket
        self._held: tuple[int, int] | None = None
        self._started = 0.0
        self._died_at_once = 0

    def start(self, now: float) -> None:
        """Start it, and let it go on with the socket of the one before. Raises OSError."""
        arguments, inherited = list(self._arguments), []
        theirs = None
        if self._keeps_socket:
            self.line, theirs = sockets.socketpair()
            inherited.append(theirs.fileno())
            arguments += ["--keeper", str(theirs.fileno())]
            if self._held is not None:
                inherited.append(self._held[1])
                arguments += ["--kept", f"{self._held[0]}:{self._held[1]}"]
        self._started = now
        try:
            self.process = subprocess.Popen(
                [*command(), *arguments], env=_environment(), stdin=subprocess.DEVNULL, pass_fds=inherited
            )
        except OSError:
            self._close_line()
            raise
        finally:
            if theirs is not None:
                theirs.close()

    def listen(self) -> None:
        """Take what it hands over: ``UUID`` with a socket to hold, or 0 to hold nothing."""
        assert self.line is not None
        try:
            said, descriptors, _, _ = sockets.recv_fds(self.line, 256, 4)
        except OSError:
            said, descriptors = b"", []
        if not said:
            self._close_line()
            return
        uuid = said.split()[-1]
        for descriptor in descriptors[:-1]:
            os.close(descriptor)
        self._let_go()
        if descriptors and uuid.isdigit() and uuid != b"0":
            self._held = (int(uuid), descriptors[-1])
        elif descriptors:
            os.close(descriptors[-1])

    def ended(self, now: float) -> bool:
        """Whether it has ended; if so, when to start it again is set."""
        if self.process is None or (code := self.process.poll()) is None:
            return False
        while self.line is not None and select.select([self.line], [], [], 0)[0]:
            self.listen()  # what it handed over last
        self._close_line()
        self.process = None
        at_once = now - self._started < AT_ONCE_SECONDS
        self._died_at_once = self._died_at_once + 1 if at_once else 0
        self.start_at = now + wait_after(self._died_at_once)
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        _LOG.warning(
            "%s %s after %.0f s; it starts again in %.0f s", self.name, how, now - self._started, self.start_at - now
        )
        if self._died_at_once == HOPELESS:
            _LOG.error(
                "%s died at once %d times in a row: from now on it is tried every %.0f minutes only",
                *(self.name, HOPELESS, HOPELESS_WAIT / 60),
            )
        return True

    def close(self) -> None:
        """Hold nothing any more."""
        self._close_line()
        self._let_go()

    def _let_go(self) -> None:
        if self._held is not None:
            os.close(self._held[1])
        self._held = None

    def _close_line(self) -> None:
        if self.line is not None:
            self.line.close()
        self.line = None


class Supervisor:
    """Runs children until SIGTERM, SIGINT, or until ``goes_on`` says no; it is asked every ``interval`` seconds."""

    def __init__(
        self, children: Sequence[Child], *, goes_on: Callable[[], bool] = lambda: True, interval: float = 30.0
    ) -> None:
        self._children = list(children)
        self._goes_on = goes_on
        self._interval = interval
        self._ending = False

    def run(self) -> int:
        """Start the children and keep them running; returns the exit code."""
        woken, wake = sockets.socketpair()
        woken.setblocking(False)
        wake.setblocking(False)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        try:
            while not self._ending and self._goes_on():
                now = time.monotonic()
                self._start_due(now)
                self._wait(woken, min([self._interval, *self._waits(now)]))
                for child in self._children:
                    child.ended(time.monotonic())
            self._end_children(woken)
        finally:
            signal.set_wakeup_fd(-1)
            for child in self._children:
                child.close()
            woken.close()
            wake.close()
        return 0

    def _end(self, *_: object) -> None:
        self._ending = True

    def _start_due(self, now: float) -> None:
        for child in self._children:
            if child.process is None and child.start_at <= now:
                try:
                    child.start(now)
                except OSError as error:  # no memory, no process left: it is not our end
                    _LOG.error("%s cannot be started: %s", child.name, error)
                    child.start_at = now + MOST_WAIT

    def _waits(self, now: float) -> list[float]:
        return [max(0.0, child.start_at - now) for child in self._children if child.process is None]

    def _wait(self, woken: sockets.socket, seconds: float) -> None:
        lines = {child.line: child for child in self._children if child.line is not None}
        ready, _, _ = select.select([woken, *lines], [], [], seconds)
        for one in ready:
            if one is woken:
                with suppress(BlockingIOError):
                    woken.recv(4096)
            else:
                lines[one].listen()

    def _end_children(self, woken: sockets.socket) -> None:
        running = [child for child in self._children if child.process is not None]
        for child in running:
            assert child.process is not None
            child.process.terminate()
        deadline = time.monotonic() + END_SECONDS
        while any(child.process and child.process.poll() is None for child in running):
            left = deadline - time.monotonic()
            if left <= 0:
                break
            self._wait(woken, left)
        for child in running:
            if child.process and child.process.poll() is None:
                _LOG.warning("%s did not end within %.0f s and is killed", child.name, END_SECONDS)
                child.process.kill()
                child.process.wait()


def let_go_of_inherited() -> None:
    """Close what osqueryd left open in the extension it started.

    Its pidfile is among it, locked: held here, a killed osqueryd could not start again while this process lives.
    """
    if sys.platform != "win32":
        os.closerange(3, 65536)


def wait_after(died_at_once: int) -> float:
    """Seconds until the next start, after so many deaths at once in a row: at first none, in the end five minutes."""
    if died_at_once >= HOPELESS:
        return HOPELESS_WAIT
    return 0.0 if died_at_once <= AT_ONCE_FREE else min(MOST_WAIT, 2.0 ** (died_at_once - AT_ONCE_FREE))


def command() -> list[str]:
    """How this program is started again, by the same interpreter."""
    if getattr(sys, "frozen", False):  # a bundle is its own interpreter
        return [sys.executable]
    return [sys.executable, "-m", "collector.main"]


def _environment() -> dict[str, str]:
    """Ours, and where this package is, also when it was not installed but put on the path.

    The C library is told to give memory back: after one large snapshot a process would else stay large.
    """
    here = str(Path(__file__).parent.parent)
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != here]
    memory = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
    return {**memory, **os.environ, "PYTHONPATH": os.pathsep.join([here, *paths])}
