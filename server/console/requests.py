"""What a request may be trusted with: where it came from, and where it may be sent. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

LONGEST_PATH = 2000


def same_site(headers: Mapping[str, str]) -> bool:
    """Whether a form was sent from a page of ours.

    Browsers say so in Sec-Fetch-Site where the connection is trusted, and in Origin otherwise; a request that says
    neither is not from a browser, and has no business with a form.
    """
    fetched = headers.get("Sec-Fetch-Site")
    if fetched is not None:
        return fetched == "same-origin"
    origin = urlsplit(headers.get("Origin", ""))
    return bool(origin.netloc) and origin.netloc.lower() == headers.get("Host", "").lower()


def local_path(text: str) -> str:
    """``text`` if it is a path of this console, else ``/``: a sign-in must not end on a stranger's page."""
    plain = text.isascii() and text.isprintable() and "\\" not in text and " " not in text
    if not plain or len(text) > LONGEST_PATH or not text.startswith("/") or text.startswith("//"):
        return "/"
    parts = urlsplit(text)
    return text if not parts.scheme and not parts.netloc and parts.path not in ("/sign-in", "/sign-out") else "/"


def came_by_tls(secure: bool, headers: Mapping[str, str]) -> bool:
    """Whether the browser's connection is encrypted: ours is, or a proxy says that its is."""
    return secure or headers.get("X-Forwarded-Proto", "").strip().lower() == "https"
