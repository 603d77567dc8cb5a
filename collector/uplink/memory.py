"""Staying small: the process runs on every laptop, all day, mostly idle."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_M_ARENA_MAX = -8
_PLAIN_PYTHON = "FROZENLIST_NO_EXTENSIONS"
_FILE, _FOLDER = "SSL_CERT_FILE", "SSL_CERT_DIR"


@contextmanager
def small_aiohttp() -> Iterator[None]:
    """Have aiohttp imported without what is of no use here, about 3 MB.

    It reads all the system's certificates for connections that we never make, and a list type of its own comes as a
    large library although it is seldom used.
    """
    before = {name: os.environ.get(name) for name in (_FILE, _FOLDER, _PLAIN_PYTHON)}
    os.environ |= {_FILE: os.devnull, _FOLDER: os.devnull, _PLAIN_PYTHON: "1"}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _c_library() -> Any:
    if sys.platform != "linux":
        return None
    import ctypes

    return ctypes.CDLL(None)


class Memory:
    """What can be asked of the C library, where it is glibc's; elsewhere nothing is done."""

    def __init__(self) -> None:
        library = _c_library()
        self._trim = getattr(library, "malloc_trim", None)
        self._option = getattr(library, "mallopt", None)

    def settle(self) -> None:
        """Everything is loaded: what goes with it is let go of, and threads are to share one heap."""
        if self._option:
            self._option(_M_ARENA_MAX, 1)
        gc.collect()
        gc.freeze()
        self.give_back()

    def give_back(self) -> None:
        """Return what is free to the system, after a lot of work."""
        if self._trim:
            self._trim(0)
