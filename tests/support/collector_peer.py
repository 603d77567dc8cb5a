"""A device's collector as the server sees it: its requests, without anything of the program itself."""

from __future__ import annotations

import gzip
import json
import secrets
from typing import Any

from tests.support.server import Server


def new_id() -> str:
    """An id as spools and batches bear them."""
    return secrets.token_hex(16)


class CollectorPeer:
    """Enrols and sends batches of one spool."""

    def __init__(self, server: Server, secret: str) -> None:
        self.server = server
        self.secret = secret
        self.node_key = ""
        self.spool = new_id()
        self.through = 0

    def post(self, path: str, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, dict[str, Any]]:
        """A request to one of the collector's endpoints; the answer is a JSON object, always."""
        sent = {"Content-Type": "application/json", **(headers or {})}
        status, answer = self.server.request("POST", f"/api/collector/{path}", body, sent)
        value = json.loads(answer)
        assert isinstance(value, dict), f"{path} answered {answer!r}"
        return status, value

    @property
    def authorization(self) -> dict[str, str]:
        """The header that every request but the first bears."""
        return {"Authorization": f"NodeKey {self.node_key}"}

    def enroll(self, **details: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """Enrol as the collector of a Linux machine with these rows as host_details."""
        body = {
            "enroll_secret": self.secret,
            "host_identifier": "made-up",
            "platform_type": "9",
            "host_details": {"os_version": {"platform": "debian"}, **details},
            "collector": "0.1.0",
        }
        status, answer = self.post("enroll", json.dumps(body).encode())
        self.node_key = answer.get("node_key", self.node_key)
        return status, answer

    def batch(
        self,
        *lines: dict[str, Any],
        count: int | None = None,
        mark: dict[str, Any] | None = None,
        **more: Any,
    ) -> dict[str, Any]:
        """The next batch, with these lines; ``more`` are its other parts."""
        parts = sum(len(more.get(part, ())) for part in ("answers", "gaps"))
        through = self.through + (len(lines) + parts if count is None else count)
        named = {"id": new_id(), "spool": self.spool, "lane": "log", "after": self.through, "through": through}
        return {"batch": {**named, **(mark or {})}, "data": list(lines), **more}

    def send(self, batch: dict[str, Any], *, packed: bool = True) -> tuple[int, dict[str, Any]]:
        """Send a batch; if it is taken, the next one follows on it."""
        raw = json.dumps(batch).encode()
        headers = dict(self.authorization)
        if packed:
            raw, headers["Content-Encoding"] = gzip.compress(raw), "gzip"
        status, answer = self.post("batch", raw, headers)
        if status == 200:
            self.through = answer["taken"]
        return status, answer
