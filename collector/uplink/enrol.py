"""Becoming known to the server: one enrolment, its key kept, and another one when the server forgot it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import orjson

from collector import VERSION
from collector.settings import Settings
from collector.uplink.backoff import squared
from collector.uplink.context import Standing
from collector.uplink.http import NO_SERVER, Answer, Http, UndeliveredError

PATH = "/api/collector/enroll"
TABLES = ("os_version", "osquery_info", "system_info", "platform_info")
"""What osquery's own enrolment sends of the device; a table without rows is left out."""
MOST_SECONDS = 600.0
UNREACHED_SECONDS = 60.0
"""The most while the server cannot be reached at all: a laptop without network."""
AGAIN_SECONDS = 60.0
"""For each key that the server took back before it served anything."""
OSQUERY_SECONDS = 20.0
WAIT_FOR_OSQUERY = (2.0, 30.0)
SAY_AGAIN_SECONDS = 3600.0
MOST_KEY_CHARS = 1024
"""A longer one is none of the server's, and would be refused for the size of the header, as any request with it."""
PLATFORMS = {"linux": "9", "darwin": "21", "win32": "2"}
"""osquery's masks of platforms, for an osqueryd that does not tell its own."""

log = logging.getLogger("uplink.enrolment")


class NotEnrolledError(Exception):
    """Why this try did not give a key, in plain words."""

    def __init__(self, message: str, *, most_seconds: float = MOST_SECONDS) -> None:
        super().__init__(message)
        self.most_seconds = most_seconds


class Connection(Protocol):
    """A connection to osqueryd."""

    def query(self, sql: str) -> Any:
        """Run a statement."""

    def close(self) -> None:
        """Let go of it."""


class Enrolment:
    """Holds the node key; its component enrols whenever there is none."""

    name = "enrolment"

    def __init__(
        self, settings: Settings, http: Http, standing: Standing, osquery: Callable[[float], Connection]
    ) -> None:
        self._settings = settings
        self._http = http
        self._standing = standing
        self._osquery = osquery
        self._key = _read_key(settings.node_key_path)
        self._served = bool(self._key)
        self._taken_back = 0
        self._known = asyncio.Event()
        self._missing = asyncio.Event()
        self._said: dict[str, float] = {}
        self._note()

    async def node_key(self) -> str:
        """The key; waits until there is one."""
        await self._known.wait()
        return self._key

    def served(self, key: str) -> None:
        """The server took something under that key: should it be forgotten later, enrolling again is worth a try."""
        if key == self._key:
            self._served, self._taken_back = True, 0

    def invalid(self, key: str) -> None:
        """The server does not know that key. It is let go of, and the device enrols again.

        At once for a key that served; after a while for one that was never any good, so that a server that forgets
        everything is not asked by a whole fleet without end.
        """
        if key != self._key or not key:
            return  # the news is old: there is another one by now
        self._taken_back = 0 if self._served else self._taken_back + 1
        log.warning("the server does not know this device's key any more; it enrols again")
        self._key, self._served = "", False
        with contextlib.suppress(OSError):
            self._settings.node_key_path.unlink(missing_ok=True)
        self._note()

    async def run(self) -> None:
        """Enrol whenever there is no key."""
        while True:
            await self._missing.wait()
            tries = 0
            if self._taken_back:
                wait = min(MOST_SECONDS, squared(self._taken_back, MOST_SECONDS) + AGAIN_SECONDS)
                self._standing.enrolment_problem = "the server took back a key that never served; enrolment waits"
                log.warning("the key never served: the next try to enrol is in %.0f s", wait)
                await asyncio.sleep(wait)
            while not self._key:
                tries += 1
                try:
                    self._take(await self._tried())
                except NotEnrolledError as error:
                    self._standing.enrolment_problem = str(error)
                    wait = squared(tries, error.most_seconds)
                    self._say(str(error))
                    log.debug("the next try to enrol is in %.0f s", wait)
                    await asyncio.sleep(wait)

    async def _tried(self) -> str:
        body = {
            "enroll_secret": self._secret(),
            **await self._introduction(),
            "collector": VERSION,
        }
        try:
            answer = await self._http.post(PATH, orjson.dumps(body))
        except UndeliveredError as error:
            raise NotEnrolledError(f"enrolment waits: {error}", most_seconds=UNREACHED_SECONDS) from error
        return self._key_of(answer)

    def _secret(self) -> str:
        path = self._settings.enroll_secret_path
        try:
            secret = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            raise NotEnrolledError(f"enrolment waits: the enrol secret cannot be read from {path}: {reason}") from error
        if not secret:
            raise NotEnrolledError(f"enrolment waits: {path} holds no enrol secret")
        return secret

    async def _introduction(self) -> dict[str, Any]:
        """What osqueryd says of the device; waits until osqueryd is there."""
        from collector.osqueryd import OsqueryGoneError  # thrift takes megabytes; enrolled devices seldom need it

        least, most = WAIT_FOR_OSQUERY
        wait = least
        while True:
            try:
                details = await asyncio.to_thread(self._asked)
            except OsqueryGoneError as error:
                problem = f"enrolment waits for osqueryd: {error}"
                self._standing.enrolment_problem = problem
                self._say(problem)
            else:
                info, system = details.get("osquery_info", {}), details.get("system_info", {})
                return {
                    "host_identifier": system.get("hostname", ""),
                    "platform_type": info.get("platform_mask") or PLATFORMS.get(sys.platform, "9"),
                    "host_details": details,
                }
            await asyncio.sleep(wait)
            wait = min(2 * wait, most)

    def _asked(self) -> dict[str, dict[str, str]]:
        connection = self._osquery(OSQUERY_SECONDS)
        try:
            found = {table: connection.query(f"SELECT * FROM {table}").rows for table in TABLES}
        finally:
            connection.close()
        return {table: rows[0] for table, rows in found.items() if rows}

    def _key_of(self, answer: Answer) -> str:
        value = answer.value
        key = value.get("node_key")
        if isinstance(key, str) and key and not value.get("node_invalid"):
            return key
        self._standing.heard_at = time.time()
        if answer.status in (401, 403) and "error" in value:
            raise NotEnrolledError(
                "the server refuses the enrol secret of"
                f" {self._settings.enroll_secret_path}: put in one that is in force ('muster secret' on the server)"
            )
        if not value:
            raise NotEnrolledError(f"enrolment waits: something else than the server {NO_SERVER} ({answer.status})")
        said = value.get("error")
        raise NotEnrolledError(
            f"the server answered {answer.status} to the enrolment{f': {said}' if isinstance(said, str) else ''}"[:300]
        )

    def _take(self, key: str) -> None:
        try:
            _write_key(self._settings.node_key_path, key)
        except OSError as error:
            log.error("the node key cannot be written, so that a restart will enrol again: %s", error)
        self._key = key
        self._standing.heard_at = time.time()
        self._said.clear()
        log.info("enrolled")
        self._note()

    def _note(self) -> None:
        for event, there in ((self._known, bool(self._key)), (self._missing, not self._key)):
            event.set() if there else event.clear()
        self._standing.enrolled = bool(self._key)
        if self._key:
            self._standing.enrolment_problem = ""

    def _say(self, problem: str) -> None:
        """Log it, the same thing once an hour."""
        now = time.monotonic()
        if now - self._said.get(problem, -SAY_AGAIN_SECONDS) >= SAY_AGAIN_SECONDS:
            self._said = {problem: now}
            log.error("%s", problem)


def _read_key(path: Path) -> str:
    try:
        key = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return ""
    except OSError as error:
        log.error("%s cannot be read, so that the device enrols again: %s", path, error.strerror)
        return ""
    except UnicodeDecodeError:
        key = ""
    if not 0 < len(key) <= MOST_KEY_CHARS or not key.isprintable():
        log.error("%s holds no key, so that the device enrols again", path)
        return ""
    return key


def _write_key(path: Path, key: str) -> None:
    """All of it or nothing, readable by nobody else, and on the disk on return."""
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(handle, key.encode("ascii") + b"\n")
        os.fsync(handle)
    finally:
        os.close(handle)
    new.replace(path)
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
