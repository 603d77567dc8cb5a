"""The key of minimisation's hashes: in a file of its own, never in the database that holds the hashes.

The database knows only which key is in use, by a one-way mark. So a key that was lost or exchanged is noticed before
anything is stored, and several servers on one database cannot hash with different keys.
"""

from __future__ import annotations

import os
import secrets
from hashlib import blake2b
from pathlib import Path

from server.store.driver import Driver, NotReadyError, Transaction
from server.store.meta import value_of

KEY_BYTES = 32
_MARK = "minimise_key"


async def settled_key(driver: Driver, path: Path, *, renew: bool = False) -> bytes:
    """The key in ``path``, made (mode 0600) where neither the file nor the database has had one yet.

    ``renew`` takes whatever key is in the file from now on. Raises ``NotReadyError`` where the file is missing,
    unreadable, or not the key this database's hashes were made with.
    """
    known = await driver.read(_mark)
    key = _key_in(path, may_make=renew or not known)
    mark = blake2b(key, digest_size=12, person=b"muster key mark").hexdigest()

    async def work(tx: Transaction) -> str | None:
        if renew:
            await tx.run("DELETE FROM muster_meta WHERE key = ?", (_MARK,))
        await tx.run("INSERT INTO muster_meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO NOTHING", (_MARK, mark))
        return await _mark(tx)

    if known != mark and (renew or not known):
        known = await driver.write(work)
    if known != mark:
        raise NotReadyError(
            f"{path} is not the key that this database's hashes were made with: every server on it needs the same"
            " file. To go over to this key: 'muster migrate --new-minimise-key'."
        )
    return key


async def _mark(tx: Transaction) -> str | None:
    return await value_of(tx, _MARK)


def _make(path: Path) -> None:
    """Write a new key, whole or not at all; of two processes that do so at once one wins."""
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(handle, f"{secrets.token_hex(KEY_BYTES)}\n".encode())
            os.fsync(handle)
        finally:
            os.close(handle)
        try:
            os.link(new, path)
        except FileExistsError:
            pass
        finally:
            new.unlink()
    except OSError as error:
        raise NotReadyError(f"The key of the hashes cannot be written to {path}: {error.strerror or error}.") from error


def _key_in(path: Path, *, may_make: bool) -> bytes:
    if not path.exists():
        if not may_make:
            raise NotReadyError(
                f"The key of the hashes is not in {path}: put it back, or take a new one with"
                " 'muster migrate --new-minimise-key' (values then get new hashes, which do not match the old ones)."
            )
        _make(path)
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError) as error:
        raise NotReadyError(f"{path} cannot be read as a key ({type(error).__name__}): 64 hex digits.") from error
    if len(key) != KEY_BYTES:
        raise NotReadyError(f"{path} holds {len(key)} bytes; the key of the hashes has {KEY_BYTES}.")
    return key
