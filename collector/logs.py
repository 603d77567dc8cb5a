"""One line of log per event, on standard error: neither secrets nor what queries answered are in it."""

from __future__ import annotations

import logging
import sys
import time
import traceback


def to_stderr(level: str) -> None:
    """Set the log up for this process; ``level`` is one of the settings' ``log_level``."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine("%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%SZ"))
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    for library in ("asyncio", "aiohttp"):
        logging.getLogger(library).setLevel(logging.WARNING)


class OneLine(logging.Formatter):
    """What would take several lines is put into one."""

    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return super().format(record).replace("\r", " ").replace("\n", " | ")

    def formatException(self, ei: object) -> str:
        """Where it happened and what; the whole trace would be many lines."""
        error = ei[1] if isinstance(ei, tuple) else None
        if not isinstance(error, BaseException):
            return ""
        places = traceback.extract_tb(error.__traceback__)[-3:]
        where = " < ".join(f"{place.filename.rpartition('/')[2]}:{place.lineno}" for place in reversed(places))
        return f"{type(error).__name__}: {error} ({where})"
