"""The supervisor: what it runs, when it starts it again, how it ends it. Its children here are small scripts."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from collector import supervise

ROOT = Path(__file__).parent.parent.parent
SUPERVISOR = """
    import logging, sys
    from collector import supervise
    logging.basicConfig(level="INFO", format="%(message)s")
    supervise.END_SECONDS = 1.0
    supervise.command = lambda: [sys.executable, CHILD]
    children = [supervise.Child(name, [name], keeps_socket=name == "keeps") for name in sys.argv[1:]]
    sys.exit(supervise.Supervisor(children, interval=0.2).run())
"""


class Supervised:
    """A supervisor in a process of its own, with one script as every child."""

    def __init__(self, folder: Path, child: str, *names: str) -> None:
        self.folder = folder
        script = folder / "child.py"
        script.write_text(
            "import os, signal, sys, time\nnote = lambda text: open(" + repr(str(folder / "notes")) + ', "a")'
            '.write(text + "\\n")\n' + textwrap.dedent(child)
        )
        program = textwrap.dedent(SUPERVISOR).replace("CHILD", repr(str(script)))
        self.log = (folder / "log").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, *names],
            cwd=ROOT,
            stderr=self.log,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    def notes(self) -> list[str]:
        path = self.folder / "notes"
        return path.read_text().splitlines() if path.exists() else []

    def said(self) -> str:
        return (self.folder / "log").read_text()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.log.close()


def until(true: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not become true"
        time.sleep(0.02)


def test_one_that_ends_is_started_again_and_all_end_on_sigterm(tmp_path: Path) -> None:
    child = """
        note(f"{sys.argv[1]} {os.getpid()}")
        time.sleep(60)
    """
    one = Supervised(tmp_path, child, "a", "b")
    try:
        until(lambda: len(one.notes()) == 2)
        first = next(note for note in one.notes() if note.startswith("a"))
        os.kill(int(first.split()[1]), signal.SIGKILL)
        until(lambda: len(one.notes()) == 3)
        assert one.notes()[2].startswith("a ")
        assert "a was killed by signal 9" in one.said()
        one.process.terminate()
        assert one.process.wait(10) == 0
        for note in one.notes():
            assert not Path(f"/proc/{note.split()[1]}").exists()
    finally:
        one.close()


def test_one_that_does_not_end_is_killed(tmp_path: Path) -> None:
    child = """
        signal.signal(signal.SIGTERM, lambda *_: None)
        note("up")
        while True:
            time.sleep(60)
    """
    one = Supervised(tmp_path, child, "stubborn")
    try:
        until(lambda: one.notes() == ["up"])
        one.process.terminate()
        assert one.process.wait(9) == 0
        assert "stubborn did not end within 1 s and is killed" in one.said()
        assert supervise.END_SECONDS < 9
    finally:
        one.close()


def test_a_socket_handed_over_is_there_for_the_next_one(tmp_path: Path) -> None:
    child = """
        import socket
        arguments = dict(zip(sys.argv[2::2], sys.argv[3::2]))
        line = socket.socket(fileno=int(arguments["--keeper"]))
        if "--kept" in arguments:
            uuid, descriptor = arguments["--kept"].split(":")
            listener = socket.socket(fileno=int(descriptor))
        else:
            uuid, listener = "77", socket.socket(socket.AF_UNIX)
            listener.bind(PATH)
            listener.listen()
        socket.send_fds(line, [f"{uuid}\\n".encode()], [listener.fileno()])
        note(f"{uuid} {os.getpid()}")
        while True:
            connection, _ = listener.accept()
            connection.sendall(f"{uuid} {os.getpid()}".encode())
            connection.close()
    """
    path = tmp_path / "s"
    one = Supervised(tmp_path, child.replace("PATH", repr(str(path))), "keeps")
    try:
        until(lambda: len(one.notes()) == 1)
        pid = int(one.notes()[0].split()[1])
        assert _heard(path) == one.notes()[0]
        os.kill(pid, signal.SIGKILL)
        assert _heard(path).startswith("77 "), "who connects meanwhile waits for the next one"
        assert _heard(path) == one.notes()[1] != one.notes()[0]
    finally:
        one.close()


def _heard(path: Path) -> str:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(path))
        return connection.recv(100).decode()


def test_waits_grow_and_in_the_end_are_five_minutes() -> None:
    waits = [supervise.wait_after(times) for times in range(12)]
    assert waits == [0, 0, 0, 0, 0, 2, 4, 8, 16, 32, 300, 300]


def test_ten_deaths_at_once_are_said_and_waited_for(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervise, "command", lambda: [sys.executable, "-c", "raise SystemExit(3)"])
    child, now = supervise.Child("hopeless", []), 1000.0
    for times in range(1, 11):
        child.start(now)
        assert child.process is not None
        child.process.wait()
        assert child.ended(now + 1)
        assert child.start_at == now + 1 + supervise.wait_after(times)
        now = child.start_at
    assert "hopeless died at once 10 times in a row: from now on it is tried every 5 minutes only" in caplog.text
    child.start(now)
    assert child.process is not None
    child.process.wait()
    assert child.ended(now + 60), "it ran for a minute: the counting begins anew"
    assert child.start_at == now + 60


def test_it_imports_nothing_heavy() -> None:
    program = "import sys, collector.supervise; print([m for m in sys.modules if m.split('.')[0] in HEAVY])"
    program = program.replace("HEAVY", repr(("thrift", "osquery", "sqlite3", "aiohttp", "asyncio", "orjson", "ssl")))
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
