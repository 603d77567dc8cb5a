"""The stylesheet and the icon. Their addresses carry a digest of what they hold, so browsers may keep them for good."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

_FOLDER = Path(__file__).parent / "static"
_TYPES = {".css": "text/css", ".svg": "image/svg+xml"}
KEPT = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Asset:
    """A file that is served as it is."""

    body: bytes
    content_type: str
    digest: str


class Assets:
    """Every file under ``static/``, read once."""

    def __init__(self, folder: Path = _FOLDER) -> None:
        self._files = {path.name: _asset(path) for path in folder.iterdir() if path.suffix in _TYPES}

    def find(self, name: str) -> Asset | None:
        """The file of that name, where there is one."""
        return self._files.get(name)

    def address(self, name: str) -> str:
        """Where a page finds a file; changes when the file does."""
        return f"/static/{name}?v={self._files[name].digest}"


def _asset(path: Path) -> Asset:
    body = path.read_bytes()
    return Asset(body, _TYPES[path.suffix], hashlib.sha256(body).hexdigest()[:16])
