"""The process that runs one statement of a user, on either database: it is killed when its time is over."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from server.store.ask import SqlRefusedError

MEMORY = 512 * 2**20
"""Address space of the process, the interpreter included."""
ANSWER_BYTES = 64 * 2**20
START_SECONDS = 5.0
"""What the process may take beside the statement's own time."""


async def answered(
    program: str, request: Mapping[str, Any], *, flags: Sequence[str] = ("-I",), env: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Run a program with Python; its answer: "columns", "rows" and "truncated", or "refused" with the reason.

    Limits of memory and size are added to the request, which has at least "sql" and "seconds". Raises
    ``SqlRefusedError`` where the process ended, or had to be ended, without an answer.
    """
    seconds = request["seconds"]
    try:
        sent = json.dumps({**request, "memory": MEMORY, "bytes": ANSWER_BYTES}, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise SqlRefusedError("the statement is not valid text") from error
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *flags,
        program,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PYTHONUTF8": "1", **(env or {})},
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(sent), seconds + START_SECONDS)
    except TimeoutError as error:
        raise SqlRefusedError(f"the statement took longer than {seconds:g} seconds") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if not out:
        # Killed at its memory or processor limit, before it could say so.
        last = err.decode("utf-8", "replace").strip().splitlines()[-1:] or [f"exit code {process.returncode}"]
        raise SqlRefusedError(f"the statement was stopped at the limits of memory or time ({last[0]})")
    answer: dict[str, Any] = json.loads(out)
    return answer
