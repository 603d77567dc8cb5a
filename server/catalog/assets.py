"""The machines of a fleet, as an asset register tells them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from server.catalog.table_files import Columns, FileRow, TableFile, read_table, refuse_problems, unique
from server.normalize.devices import usable_serial

COLUMNS = Columns(
    required=("serial",),
    optional=("hostname", "platform", "owner", "status", "tags", "in_scope_from", "model", "since"),
    spellings={"serial_number": "serial", "host_name": "hostname", "os": "platform", "tag": "tags"},
)
PLATFORMS = {
    **dict.fromkeys(("darwin", "mac", "macos", "mac_os", "osx", "os_x", "mac_os_x", "apple"), "darwin"),
    **dict.fromkeys(("windows", "win", "win10", "win11", "windows_10", "windows_11", "microsoft_windows"), "windows"),
    **dict.fromkeys(("linux", "ubuntu", "debian", "fedora", "rhel", "gnu/linux"), "linux"),
}
IN_USE, OUT_OF_SCOPE = ("in_use", "loan", "repair"), ("stock", "returned", "wiped", "disposed", "lost", "stolen")
"""What may become of an asset: a device of the first kind is judged, one of the second has left."""
STATUSES = {
    **{status: status for status in (*IN_USE, *OUT_OF_SCOPE)},
    **dict.fromkeys(("inuse", "active", "assigned", "deployed", "reassigned"), "in_use"),
    **dict.fromkeys(("on_loan", "loaned", "lent"), "loan"),
    **dict.fromkeys(("in_stock", "spare", "available", "storage"), "stock"),
    **dict.fromkeys(("scrapped", "retired", "sold", "recycled"), "disposed"),
    **dict.fromkeys(("erased",), "wiped"),
    **dict.fromkeys(("in_repair",), "repair"),
    **dict.fromkeys(("missing",), "lost"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """One machine. ``serial`` is in lower case, ``shown`` as it is written; ``since`` is the day of the status."""

    serial: str
    shown: str
    hostname: str = ""
    platform: str = ""
    model: str = ""
    owner: str = ""
    status: str = "in_use"
    tags: str = ""
    in_scope_from: str | None = None
    since: str | None = None

    @property
    def in_scope(self) -> bool:
        """Whether a machine of this status is to be judged."""
        return self.status in IN_USE


def read_assets(path: Path) -> tuple[TableFile, list[Asset]]:
    """Read a file of assets. Raises ``CatalogError`` with every problem in it."""
    table = read_table(path, COLUMNS)
    unique(table.rows, lambda row: usable_serial(row.values["serial"]), "serial")
    assets = [_asset(row) for row in table.rows]
    refuse_problems(table)
    return table, assets


def _asset(row: FileRow) -> Asset:
    shown = row.text("serial")
    if not shown:
        row.problem("serial", "empty")
    elif not usable_serial(shown):
        row.problem(
            "serial",
            f"{shown!r} is a placeholder that many machines have, no serial",
            "leave the machine out until its maker's number is known",
        )
    for tag in row.many("tags", ",;"):
        if any(character.isspace() for character in tag):
            row.problem("tags", f"{tag[:40]!r} has a space in it", "separate tags by , or ;")
    return Asset(
        serial=usable_serial(shown),
        shown=shown,
        hostname=row.text("hostname"),
        platform=row.choice("platform", PLATFORMS),
        model=row.text("model"),
        owner=row.text("owner", 320),
        status=row.choice("status", STATUSES) or "in_use",
        tags=",".join(sorted({tag.lower() for tag in row.many("tags", ",;")})),
        in_scope_from=row.day("in_scope_from"),
        since=row.day("since"),
    )
