"""The tables of a spool file."""

from __future__ import annotations

import sqlite3
import uuid

from collector.spool.model import LANES

VERSION = 1
"""``PRAGMA user_version`` of the files written here."""
PAGE = 4096
"""Bytes of a page."""

# Numbers are AUTOINCREMENT: never given twice, also when every line was settled. The partial indexes are what is
# looked for by kind; result lines are in none of them.
TABLES = """
CREATE TABLE lines (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    at INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    text BLOB NOT NULL
);
CREATE INDEX lines_status ON lines (seq) WHERE kind = 'status';
CREATE INDEX lines_gap ON lines (seq) WHERE kind = 'gap';
CREATE INDEX lines_answer ON lines (seq) WHERE kind = 'answer';
CREATE TABLE heads (name TEXT PRIMARY KEY, seq INTEGER NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE superseded (seq INTEGER PRIMARY KEY);
CREATE TABLE lanes (
    lane TEXT PRIMARY KEY,
    spool TEXT NOT NULL,
    settled INTEGER NOT NULL,
    lines INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    most INTEGER,
    batch TEXT,
    through INTEGER
) WITHOUT ROWID;
CREATE TABLE gaps (
    name TEXT NOT NULL,
    reason TEXT NOT NULL,
    lines INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    first_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    dropped_at INTEGER NOT NULL,
    PRIMARY KEY (name, reason)
) WITHOUT ROWID;
CREATE TABLE dropped (
    reason TEXT PRIMARY KEY,
    lines INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    since INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE notes (key TEXT PRIMARY KEY, crc INTEGER NOT NULL, value BLOB NOT NULL);
"""


def new_numbering() -> str:
    """An id that no spool has had."""
    return uuid.uuid4().hex


def create(connection: sqlite3.Connection) -> None:
    """Make an empty file a spool."""
    connection.execute(f"PRAGMA page_size = {PAGE}")
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")
    for statement in TABLES.split(";"):
        if statement.strip():
            connection.execute(statement)
    for lane in LANES:
        connection.execute(
            "INSERT INTO lanes (lane, spool, settled, lines, bytes) VALUES (?, ?, 0, 0, 0)", (lane, new_numbering())
        )
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")
