"""Messages as e-mail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from email.message import EmailMessage
from email.utils import formatdate
from typing import Any
from urllib.parse import unquote, urlsplit

import aiosmtplib

from server.notify.channels import NotDeliveredError
from server.report.alerts import text_of

SECONDS = 30.0
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
            if not at or not domain or any(character.isspace() for character in address):
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

    async def send(self, message_id: str, message: Mapping[str, Any]) -> None:
        """Send a message."""
        mail = EmailMessage()
        mail["From"], mail["To"] = self._sender, ", ".join(self._to)
        mail["Subject"] = f"Muster: {message['summary']}"
        mail["Date"] = formatdate(usegmt=True)
        mail["Message-ID"] = f"<{message_id}@{self._sender.partition('@')[2]}>"
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(text_of(message))
        try:
            await aiosmtplib.send(mail, timeout=SECONDS, **self._options)
        except (aiosmtplib.SMTPException, OSError) as error:
            raise NotDeliveredError(f"{type(error).__name__}: {error}") from error
