"""Who may ask and who may enrol: tokens, enrol secrets and node keys, kept as hashes only.

All of them are 256 random bits that Muster made itself, so a plain SHA-256 cannot be searched backwards and needs no
salt; a slow hash would only let strangers make the server work.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

from server.normalize.times import iso
from server.store.driver import StoreError, Transaction

SHORTEST_ID = 6
"""Characters by which a token or secret is named at least, so that a slip does not revoke another."""
ROLES = ("admin", "reader")


@dataclass(frozen=True, slots=True)
class Principal:
    """The holder of a token."""

    name: str
    role: str


def new_secret(prefix: str) -> str:
    """A fresh secret; the prefix says what it is for when it turns up in the wrong place."""
    return f"{prefix}_{secrets.token_urlsafe(32)}"


def hash_of(secret: str) -> str:
    """What is stored of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


async def add_token(tx: Transaction, name: str, role: str, now: float) -> str:
    """Make a bearer token and return it, this once."""
    if role not in ROLES:
        raise StoreError(f"There is no role {role!r}: choose one of {', '.join(ROLES)}.")
    token = new_secret("mst")
    await tx.run(
        "INSERT INTO muster_tokens (token_hash, name, role, created_at) VALUES (?, ?, ?, ?)",
        (hash_of(token), name, role, iso(now)),
    )
    return token


async def add_enroll_secret(tx: Transaction, name: str, now: float) -> str:
    """Make an enrol secret and return it, this once."""
    secret = new_secret("mse")
    await tx.run(
        "INSERT INTO muster_secrets (secret_hash, name, created_at) VALUES (?, ?, ?)",
        (hash_of(secret), name, iso(now)),
    )
    return secret


async def principal_of(tx: Transaction, token: str) -> Principal | None:
    """Whose token it is; None for one that is unknown or revoked."""
    found = await tx.row(
        "SELECT name, role FROM muster_tokens WHERE token_hash = ? AND revoked_at IS NULL", (hash_of(token),)
    )
    return Principal(*found) if found else None


async def may_enroll(tx: Transaction, secret: str) -> bool:
    """Whether an enrol secret is known and not revoked."""
    found = await tx.row(
        "SELECT 1 FROM muster_secrets WHERE secret_hash = ? AND revoked_at IS NULL", (hash_of(secret),)
    )
    return found is not None


async def list_credentials(tx: Transaction, kind: str) -> list[dict[str, str | None]]:
    """Tokens or secrets, without anything that could be used as one; ``id`` is the beginning of the hash."""
    table, column, role = _TABLES[kind]
    rows = await tx.rows(
        f"SELECT substr({column}, 1, 12), name, {role}, created_at, revoked_at FROM {table} ORDER BY created_at, 1"
    )
    return [dict(zip(("id", "name", "role", "created_at", "revoked_at"), row, strict=True)) for row in rows]


async def revoke(tx: Transaction, kind: str, credential_id: str, now: float) -> None:
    """Revoke the token or secret whose hash begins so; raises ``StoreError`` unless exactly one does."""
    table, column, _ = _TABLES[kind]
    found = await tx.rows(
        f"SELECT {column} FROM {table} WHERE substr({column}, 1, ?) = ? AND revoked_at IS NULL",
        (len(credential_id), credential_id),
    )
    if len(credential_id) < SHORTEST_ID:
        raise StoreError(f"{credential_id!r} is too short to name a {kind}: give {SHORTEST_ID} characters of its id.")
    if len(found) != 1:
        raise StoreError(f"{len(found)} active {kind}s have an id beginning with {credential_id!r}; one is needed.")
    await tx.run(f"UPDATE {table} SET revoked_at = ? WHERE {column} = ?", (iso(now), found[0][0]))


_TABLES = {
    "token": ("muster_tokens", "token_hash", "role"),
    "secret": ("muster_secrets", "secret_hash", "'enrol'"),
}
