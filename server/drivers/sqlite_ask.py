"""Running a user's SQL on a SQLite file: in a process of its own that is killed when its time is over."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from server.drivers import sqlite_child
from server.store.ask import SqlAnswer, SqlRefusedError

MEMORY = 512 * 2**20
"""Address space of the process, the interpreter included."""
ANSWER_BYTES = 64 * 2**20
START_SECONDS = 5.0
"""What the process may take beside the statement's own time."""


class SqliteAsker:
    """Asks one database file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def ask(self, sql: str, *, limit: int, seconds: float) -> SqlAnswer:
        """See ``Asker.ask``."""
        request = {
            "path": str(self._path.resolve()),
            "sql": sql,
            "limit": limit,
            "seconds": seconds,
            "memory": MEMORY,
            "bytes": ANSWER_BYTES,
        }
        try:
            sent = json.dumps(request, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise SqlRefusedError("the statement is not valid text") from error
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-S",
            sqlite_child.__file__,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"PYTHONUTF8": "1"},
        )
        try:
            out, err = await asyncio.wait_for(process.communicate(sent), seconds + START_SECONDS)
        except TimeoutError as error:
            raise SqlRefusedError(f"the statement took longer than {seconds:g} seconds") from error
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return _read(out, err, process.returncode)


def _read(out: bytes, err: bytes, code: int | None) -> SqlAnswer:
    if not out:
        # Killed at its memory or processor limit, before it could say so.
        last = err.decode("utf-8", "replace").strip().splitlines()[-1:] or [f"exit code {code}"]
        raise SqlRefusedError(f"the statement was stopped at the limits of memory or time ({last[0]})")
    answer = json.loads(out)
    if "refused" in answer:
        raise SqlRefusedError(answer["refused"])
    return SqlAnswer(answer["columns"], answer["rows"], answer["truncated"])
