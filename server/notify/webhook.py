"""Messages as signed HTTP requests, by the conventions of Standard Webhooks.

The receiver checks ``webhook-signature``: ``v1,`` and the base64 of HMAC-SHA256, keyed with the secret, of
``webhook-id``, ``webhook-timestamp`` and the body with dots between. The id stays the same when a message comes again.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson

from server.notify.channels import NotDeliveredError

SECONDS = 15.0
_PREFIX = "whsec_"


def secret_bytes(secret: str) -> bytes:
    """The key of a secret: ``whsec_`` and base64, or any other text as it is. Raises ``ValueError``."""
    secret = secret.strip()
    if not secret.startswith(_PREFIX):
        key = secret.encode()
    else:
        try:
            key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except binascii.Error as error:
            raise ValueError(f"what follows {_PREFIX} is not base64") from error
    if len(key) < 16:
        raise ValueError("the secret is shorter than 16 bytes")
    return key


class Webhook:
    """Posts messages to a URL."""

    def __init__(self, url: str, key: bytes, clock: Callable[[], float] = time.time) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{parts.scheme}:// is not a URL of a webhook: https://HOST/PATH is")
        self._url = url
        self._key = key
        self._clock = clock
        # A query or password in the URL may be a secret.
        self.name = f"webhook {parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"

    async def send(self, message_id: str, message: Mapping[str, Any]) -> None:
        """Post a message. Redirects are not followed."""
        body = orjson.dumps(message)
        at = str(int(self._clock()))
        signed = hmac.new(self._key, f"{message_id}.{at}.".encode() + body, hashlib.sha256).digest()
        headers = {
            "content-type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": at,
            "webhook-signature": f"v1,{base64.b64encode(signed).decode()}",
        }
        try:
            timeout = aiohttp.ClientTimeout(total=SECONDS)
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(self._url, data=body, headers=headers, allow_redirects=False) as answer,
            ):
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise NotDeliveredError(_told(error)) from error
        if not 200 <= status < 300:
            raise NotDeliveredError(f"it answered {status}", for_good=status == 410)


def _told(error: Exception) -> str:
    """What went wrong, without the URL, whose query may be a secret."""
    if isinstance(error, aiohttp.ClientResponseError):
        return f"it answered no HTTP: {error.message}"
    if isinstance(error, TimeoutError):
        return f"it did not answer within {SECONDS:.0f} s"
    return type(error).__name__ if isinstance(error, aiohttp.InvalidURL) else f"{type(error).__name__}: {error}"
