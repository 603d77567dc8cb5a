"""Disks that are full: a small file system where mounting is allowed, else a limit on the size of a process's files."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MIB = 2**20


class SmallDisk:
    """A file system of its own that something else can fill up."""

    says = "disk is full"

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._ballast = directory / "ballast"

    def fill(self, _pid: int) -> None:
        """Leave not a byte."""
        with contextlib.suppress(OSError), self._ballast.open("wb", buffering=0) as ballast:
            for size in (MIB, 4096, 1):
                with contextlib.suppress(OSError):
                    while ballast.write(b"x" * size):
                        pass

    def empty(self, _pid: int) -> None:
        """Give back what was taken."""
        self._ballast.unlink()

    def read_only(self) -> None:
        """Let nothing be written any more, by whomever."""
        subprocess.run(["mount", "-o", "remount,ro", str(self.directory)], check=True, capture_output=True, timeout=30)


class SizeLimit:
    """No file of a process may grow: what a full disk is to it, where nothing can be mounted."""

    says = "disk I/O error"

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def fill(self, pid: int) -> None:
        """Let no file grow beyond the smallest that is written to."""
        size = min(path.stat().st_size for path in self.directory.glob("t.db-wal"))
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (max(size, 4096), resource.RLIM_INFINITY))

    def empty(self, pid: int) -> None:
        """Let them grow again."""
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@contextmanager
def small_disk(directory: Path, megabytes: int) -> Iterator[SmallDisk | None]:
    """A small file system mounted on a folder; None where that is not allowed."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(directory)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, timeout=30).returncode != 0:
        yield None
        return
    try:
        yield SmallDisk(directory)
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True, capture_output=True, timeout=30)
