"""A small packs folder as content, of which tests change a file or two."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from server.app import shipped_packs
from server.catalog.content import Content

RESIDENTS = "queries/residents.sql"
CONTROL = "controls/accounts/no-guests/control.yaml"
PACK = "all.yaml"


def control(condition: str) -> str:
    """A control of Linux devices that no row of ``residents`` breaks by satisfying ``condition``."""
    return f"""title: There are no guests
why: A guest is nobody.
severity: low
platforms:
  linux: {{query: residents, none: "{condition}", empty: pass, confidence: documented}}
remediation: {{linux: Show them the door.}}
limits: Whether anybody is at home.
"""


@cache
def _schema(name: str) -> str:
    return (shipped_packs() / "schema" / name).read_text(encoding="utf-8")


def content(changes: Mapping[str, str | None] | None = None) -> Content:
    """The small packs with these files in place of its own, or beside them; None leaves one out."""
    files: dict[str, str | None] = {
        "schema/osquery.json": _schema("osquery.json"),
        "schema/notes.json": _schema("notes.json"),
        RESIDENTS: "-- Who there is.\nSELECT username AS who, uid FROM users\n",
        CONTROL: control("who = 'guest'"),
        PACK: "title: All of it\nqueries: {residents: }\ncontrols: [no-guests]\n",
        **(changes or {}),
    }
    columns = [name for name in ("who", "uid", "shell") if name in (files[RESIDENTS] or "")]
    for path, text in list(files.items()):
        if path.endswith("/control.yaml") and text is not None:
            files.setdefault(path.replace("control.yaml", "cases.yaml"), _cases(text, columns))
    return Content({path: text for path, text in files.items() if text is not None})


def _cases(control_text: str, columns: Sequence[str]) -> str:
    """A case of every kind: rows are judged by one column, if the control's condition is of that form."""
    compared = re.search(r'none: "(\w+) = \'([^\']*)\'"', control_text)
    good = dict.fromkeys(columns, "0")
    bad = {**good, compared[1]: compared[2]} if compared else good
    return f"""cases:
  - {{name: good, platform: linux, rows: [{json.dumps(good)}], status: pass}}
  - {{name: bad, platform: linux, rows: [{json.dumps(bad)}], status: fail, reason: rows_match}}
  - {{name: nobody, platform: linux, rows: [], status: pass}}
"""


def write(packs: Content, root: Path) -> Path:
    """Write the files into a folder."""
    for path, text in packs.files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    return root
