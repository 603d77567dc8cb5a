"""Text as it can be kept: valid, without NULs, and the same however osquery escaped it."""

from __future__ import annotations

import re

REPLACEMENT = "\ufffd"

_UNKEEPABLE = re.compile("[\ud800-\udfff\x00]")
# osquery writes bytes below 0x20, and those that are no UTF-8, of a differential's values as \xHH, in capitals.
_WIDE = re.compile(r"(?:\\x[89A-F][0-9A-F]){2,}")
_ESCAPES = re.compile(r"(?:\\x(?:[01][0-9A-F]|[89A-F][0-9A-F]))+")


def clean_text(text: str) -> str:
    """Return ``text`` without what a database refuses.

    Trailing NULs go (osquery pads cpu_brand with them); a NUL or lone surrogate elsewhere becomes U+FFFD.
    """
    if text.isascii() and "\x00" not in text:
        return text
    return _UNKEEPABLE.sub(REPLACEMENT, text.rstrip("\x00"))


def unescape_differential(text: str, *, windows: bool = False) -> str:
    r"""Return a differential's value as a snapshot would carry it: ``\x0A`` becomes a newline, ``\xFF`` U+FFFD.

    A value that really holds a backslash, an x and two such capitals cannot be told apart from an escape. On Windows
    it is the likelier case by far (``\x86``), and text is always valid there: only what makes characters is unescaped.
    """
    if "\\x" not in text:
        return text
    return (_WIDE if windows else _ESCAPES).sub(_unescape_windows if windows else _unescape, text)


def _unescape_windows(match: re.Match[str]) -> str:
    try:
        return bytes.fromhex(match.group().replace("\\x", "")).decode("utf-8")
    except UnicodeDecodeError:
        return match.group()


def _unescape(match: re.Match[str]) -> str:
    return bytes.fromhex(match.group().replace("\\x", "")).decode("utf-8", "replace")
