"""Messages as e-mail."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from email.message import EmailMessage
from email.utils import formatdate
from typing import Any
from urllib.parse import unquote, urlsplit

import aiosmtplib

from server.notify.channels import NotDeliveredError
from server.report.alerts import text_of

SECONDS = 30.0
"""For a whole mail, however slowly the server says what."""
_PORTS = {"smtp": 25, "starttls": 587, "smtps": 465}


class Mail:
    """Sends messages by a mail server: ``smtp://`` (TLS if it offers it), ``starttls://`` or ``smtps://`` (always)."""

    def __init__(self, server: str, sender: str, to: Sequence[str], password: str = "") -> None:
        parts = urlsplit(server)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ValueError(f"{parts.scheme}:// is not a mail server: smtps://USER@HOST, starttls:// or smtp:// are")
        if parts.password:
            raise ValueError("the password of the mail server goes into a file of its own")
        for address in (sender, *to):
            _, at, domain = address.partition("@")
            if not at or not domain or any(character.isspace() or character in ',;<>"' for character in address):
                raise ValueError(f"{address!r} is not an address")
        self._sender, self._to = sender, list(to)
        self._options: dict[str, Any] = {
            "hostname": parts.hostname,
            "port": parts.port or _PORTS[parts.scheme],
            "use_tls": parts.scheme == "smtps",
            "start_tls": {"smtp": None, "starttls": True, "smtps": False}[parts.scheme],
            "username": unquote(parts.username) if parts.username else None,
            "password": password or None,
        }
        self.name = f"mail to {', '.join(self._to)}"
        self._taken: dict[str, set[str]] = {}
        """Of messages that not everybody got: for whom the server took them."""

    async def send(self, message_id: str, message: Mapping[str, Any]) -> None:
        """Send a message to everybody whom it was not taken for yet."""
        taken = self._taken.get(message_id, set())
        to = [address for address in self._to if address not in taken]
        mail = EmailMessage()
        mail["From"], mail["To"] = self._sender, ", ".join(self._to)
        mail["Subject"] = f"Muster: {message['summary']}"
        mail["Date"] = formatdate(usegmt=True)
        mail["Message-ID"] = f"<{message_id}@{self._sender.partition('@')[2]}>"
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(text_of(message))
        try:
            async with asyncio.timeout(SECONDS):
                refused, _ = await aiosmtplib.send(mail, recipients=to, timeout=SECONDS, **self._options)
        except TimeoutError as error:
            raise NotDeliveredError(f"it did not take the mail within {SECONDS:.0f} s") from error
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            raise NotDeliveredError(f"{type(error).__name__}: {error}") from error
        if refused:
            self._taken[message_id] = taken | (set(to) - refused.keys())
            said = "; ".join(f"{address}: {answer.code} {answer.message}" for address, answer in refused.items())
            raise NotDeliveredError(f"refused for {said}")
        self._taken.pop(message_id, None)
