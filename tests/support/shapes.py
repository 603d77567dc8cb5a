"""The queries of a made-up catalog, the values their columns take, and what is to be kept of each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from server.app import shipped_packs
from server.catalog.catalog import Catalog, load_catalog

OLD_VERSION = "0123456789"

QUERIES = {
    "folks": """-- Who there is.
-- columns: who text, shell text, uid bigint, ratio double, seen bigint, note text
-- volatile: seen, note
SELECT username AS who, shell, uid, 0.5 AS ratio, 1 AS seen, directory AS note FROM users""",
    "procs": """-- What runs, as of the newest answer.
-- mode: latest
-- columns: proc text, pid bigint, load double
-- volatile: load
SELECT name AS proc, pid, 0.5 AS load FROM processes""",
    "doors": """-- What came and went.
-- mode: events
-- columns: what text, size bigint
SELECT path AS what, size FROM file""",
    "osquery_schedule": """-- How the queries fare.
-- volatile: executions
SELECT name, interval, denylisted, executions FROM osquery_schedule""",
}
PACK = "title: All of it\ninterval: 3600\nqueries:\n" + "".join(f"  {name}:\n" for name in QUERIES)


@cache
def small_catalog() -> Catalog:
    """A catalog of one query of each mode, in a pack that asks them hourly."""
    with TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "queries").mkdir()
        (root / "schema").symlink_to(shipped_packs() / "schema")
        for name, text in QUERIES.items():
            (root / "queries" / f"{name}.sql").write_text(text + "\n")
        (root / "all.yaml").write_text(PACK)
        return load_catalog(root)


# -- values ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Value:
    """One value: as a snapshot sends it, as a differential does, and what is kept of it."""

    snapshot: Any
    diff: Any
    kept: Any
    misfit: str | None = None


def _plain(sent: Any, kept: Any) -> Value:
    return Value(sent, sent, kept)


def _misfit(sent: Any, text: str) -> Value:
    return Value(sent, sent, None, text)


TEXTS = [
    *(_plain(text, text) for text in ("a", "A", "_", "", "Zoë", "zz 🚪", "\u2028", '"', "1")),
    Value("a\nb", r"a\x0Ab", "a\nb"),
    Value("in\0side", r"in\x00side", "in\ufffdside"),
    Value("padded\0\0", r"padded\x00\x00", "padded"),
    _plain("lone \ud800", "lone \ufffd"),
]
WHOLE = [
    *(_plain(sent, int(sent)) for sent in ("0", "5", 5, "-3", " 4 ", 2**53 + 1, str(2**63 - 1), -(2**63))),
    _plain("", None),
    *(_misfit(sent, str(sent)) for sent in ("x", str(2**63), 2**63, 2**64 + 1, 0.5)),
]
FLOATS = [
    *(_plain(sent, float(sent)) for sent in ("0.1", 0.1, "5", 7, "1e308", "5e-324", 1e22, "1e-7", 123456789.123)),
    _plain("-0.0", 0.0),
    _plain(-0.0, 0.0),
    _plain("", None),
    *(_misfit(sent, str(sent)) for sent in ("NaN", "1e400", "-inf", "half")),
]
# A column of a query nobody shipped takes its type from what comes first, so here every value is of one.
FOREIGN_WHOLE = [_plain(sent, sent) for sent in (0, 5, -1, 2**53 + 1, 2**63 - 1)]
FOREIGN_FLOATS = [_plain(sent, sent + 0.0) for sent in (0.5, -0.0, 1e22, 5e-324, -1.25)]
SCHEDULED = (f"folks@{OLD_VERSION}", f"pack/all/procs@{OLD_VERSION}", "files")
DENYLISTED = [_plain("0", 0), _plain("1", 1)]


@dataclass(frozen=True)
class Shape:
    """A query as its table knows it: the values its columns take, and how it is kept."""

    columns: dict[str, list[Value]]
    volatile: frozenset[str] = frozenset()
    mode: str = "state"
    shipped: bool = True


SHAPES = {
    "folks": Shape(
        {"who": TEXTS, "shell": TEXTS, "uid": WHOLE, "ratio": FLOATS, "seen": WHOLE[:6], "note": TEXTS},
        frozenset({"seen", "note"}),
    ),
    "procs": Shape({"proc": TEXTS, "pid": WHOLE, "load": FLOATS[:8]}, frozenset({"load"}), "latest"),
    "doors": Shape({"what": TEXTS, "size": WHOLE}, mode="events"),
    "osquery_schedule": Shape(
        {
            "name": [_plain(name, name) for name in SCHEDULED],
            "interval": WHOLE[:3],
            "denylisted": DENYLISTED,
            "executions": WHOLE[:5],
        },
        frozenset({"executions"}),
    ),
    "files": Shape({"path": TEXTS, "hash": TEXTS}, shipped=False),
    "sizes": Shape({"path": TEXTS, "size": FOREIGN_WHOLE, "weight": FOREIGN_FLOATS}, shipped=False),
}


class Row(dict[str, Value]):
    """A row by column."""

    def sent(self, form: str) -> dict[str, Any]:
        """As osquery writes it in a snapshot or a differential."""
        return {name: value.snapshot if form == "snapshot" else value.diff for name, value in self.items()}

    def kept(self, volatile: frozenset[str] | None = None) -> dict[str, Any]:
        """As it is stored, with ``_misfit``; without the volatile columns where they are given."""
        row = {name: value.kept for name, value in self.items() if not volatile or name not in volatile}
        misfits = {name: value.misfit for name, value in sorted(self.items()) if value.misfit is not None}
        row["_misfit"] = json.dumps(misfits, separators=(",", ":")) if misfits else None
        return row

    def identity(self, volatile: frozenset[str]) -> str:
        """What is the same for equal rows: neither nulls nor volatile columns count."""
        return json.dumps({n: v for n, v in sorted(self.kept(volatile).items()) if v is not None})
