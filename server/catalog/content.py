"""A packs folder as one thing: what is in its files, a hash of that, and an archive that can be kept anywhere."""

from __future__ import annotations

import base64
import hashlib
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson

from server.catalog.catalog import Catalog, load_catalog
from server.catalog.files import check_folders, read_text
from server.catalog.problems import CatalogError, Problem

SUFFIXES = (".yaml", ".sql", ".json")
"""The files that make packs; what else lies in the folder changes nothing."""
EDITORS = Path("schema", "editors")
"""JSON Schemas for editors: for whoever writes packs, not part of them."""
CONTENT_BYTES = 32 * 1024 * 1024
FILES = 10_000


@dataclass(frozen=True)
class Content:
    """The files of a packs folder: their text by path, ``/`` between folders."""

    files: Mapping[str, str]

    @cached_property
    def hash(self) -> str:
        """SHA-256 over all files in the order of their paths; what was changed and changed back has the old one."""
        digest = hashlib.sha256()
        for path, text in sorted(self.files.items()):
            for part in (path.encode(), text.encode()):
                digest.update(len(part).to_bytes(8, "big") + part)
        return digest.hexdigest()

    def archive(self) -> str:
        """All of it as a text to be stored."""
        return base64.b64encode(zlib.compress(orjson.dumps(dict(sorted(self.files.items()))), 9)).decode()

    @contextmanager
    def unpacked(self) -> Iterator[Path]:
        """A folder with these files, for a while."""
        with TemporaryDirectory(prefix="muster-packs-") as folder:
            root = Path(folder)
            for path, text in self.files.items():
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_bytes(text.encode())
            yield root

    def load(self) -> Catalog:
        """The catalog of these files; raises ``CatalogError`` with every problem found."""
        with self.unpacked() as root:
            return load_catalog(root)


def content_of(archive: str) -> Content:
    """The content that an archive was made of."""
    return Content(orjson.loads(zlib.decompress(base64.b64decode(archive))))


def read_content(root: Path) -> Content:
    """Read a packs folder; raises ``CatalogError`` for one that is too large, is not text or has odd links."""
    if not (root / "schema" / "osquery.json").is_file():
        raise CatalogError([Problem(str(root), 1, "no packs here", "a packs folder has schema/osquery.json in it")])
    problems = check_folders(root)
    if problems:
        raise CatalogError(problems)  # before they are followed

    def unreadable(error: OSError) -> None:
        problems.append(Problem(str(error.filename), 1, f"cannot be read: {error.strerror}"))

    files: dict[str, str] = {}
    size = 0
    for folder, names, found in os.walk(root, onerror=unreadable, followlinks=True):
        names[:] = sorted(name for name in names if not name.startswith(".") and Path(folder, name) != root / EDITORS)
        for name in sorted(found):
            if not name.endswith(SUFFIXES) or name.startswith("."):
                continue
            path = Path(folder, name)
            shown = path.relative_to(root).as_posix().encode("utf-8", "replace").decode()
            text = read_text(path, shown, problems)
            if text is None:
                continue
            files[shown] = text
            size += len(text)
            if size > CONTENT_BYTES or len(files) > FILES:
                limit = f"more than {CONTENT_BYTES} bytes or {FILES} files"
                raise CatalogError([Problem(str(root), 1, f"the packs are {limit}", "is this the right folder?")])
    if problems:
        raise CatalogError(problems)
    return Content(files)
