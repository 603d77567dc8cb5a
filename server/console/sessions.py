"""Who is signed in: sessions in memory, each standing for a token that is asked after again at every request."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from server.store.access import hash_of
from server.store.driver import Transaction

IDLE_SECONDS = 12 * 3600
LARGEST = 10_000
"""Sessions kept at once; one more ends the one that has been idle longest."""


@dataclass(slots=True)
class _Session:
    token_hash: str
    used_at: float


class Sessions:
    """Session ids, known here by their hash only, and the hash of the token each was opened with."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sessions: dict[str, _Session] = {}

    def open(self, token_hash: str) -> str:
        """A new session's id, which only its holder's browser keeps."""
        self._forget_idle()
        while len(self._sessions) >= LARGEST:
            del self._sessions[min(self._sessions, key=lambda key: self._sessions[key].used_at)]
        session_id = secrets.token_urlsafe(32)
        self._sessions[hash_of(session_id)] = _Session(token_hash, self._clock())
        return session_id

    def token_hash_of(self, session_id: str) -> str | None:
        """The token a session stands for, and the session's idle time begins again; None once it is over."""
        session = self._sessions.get(hash_of(session_id))
        if session is None:
            return None
        now = self._clock()
        if now - session.used_at > IDLE_SECONDS:
            self.close(session_id)
            return None
        session.used_at = now
        return session.token_hash

    def close(self, session_id: str) -> None:
        """End a session."""
        self._sessions.pop(hash_of(session_id), None)

    def _forget_idle(self) -> None:
        oldest = self._clock() - IDLE_SECONDS
        for key in [key for key, session in self._sessions.items() if session.used_at < oldest]:
            del self._sessions[key]


async def holder_of(tx: Transaction, token_hash: str) -> tuple[str, str] | None:
    """The name and role of a token that is still in use, by its hash."""
    found = await tx.row(
        "SELECT name, role FROM muster_tokens WHERE token_hash = ? AND revoked_at IS NULL", (token_hash,)
    )
    return (str(found[0]), str(found[1])) if found else None
