"""The rule language on both databases: the same rows satisfy the same conditions, and nothing is an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from server.catalog.lists import ReferenceList
from server.evaluate.rules import compile_predicate
from server.normalize.calendar import Day
from server.store.driver import Transaction
from tests.support.stores import open_store, shipped_catalog

COLUMNS = {"n": "bigint", "m": "bigint", "d": "double", "t": "text", "u": "text"}
EMPTY = {"n": None, "m": None, "d": None, "t": None, "u": None}
DAY = Day("2026-11-24", "2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z", "UTC")
END = 1_795_564_800
LISTS = {
    found.name: found
    for found in (
        ReferenceList(
            "ports", "", "", {"process": "text", "port": "bigint", "least": "text", "share": "double"}, 2,
            (("sshd", 22, "1.10", None), ("it's ?", -1, "", 0.5), ("sshd", 2**40, "x", 2.0)), "", "",
        ),
        ReferenceList("nobody", "", "", {"name": "text", "size": "bigint"}, 1, (), "", ""),
        ReferenceList("sizes", "", "", {"size": "double", "n": "bigint"}, 1, ((1.0, None), (2.5, 7)), "", ""),
    )
}  # fmt: skip
LONG = "9" * 30

CASES: list[tuple[str, dict[str, Any], bool | None]] = [
    # Versions.
    ("version_compare(t, '1.9') > 0", {"t": "1.10"}, True),
    ("version_compare(t, '1.2.0.0') = 0", {"t": "v1.2"}, True),
    ("version_compare(t, '0') = 0", {"t": "0.0"}, True),
    ("version_compare(t, '10.15.7') < 0", {"t": "10.15.07-beta3"}, False),
    ("version_compare(t, '1') = 0", {"t": ""}, None),
    ("version_compare(t, '1') = 0", {"t": "none"}, None),
    ("version_compare(t, '1') = 0", {}, None),
    ("version_compare(t, u) > 0", {"t": "9" * 18, "u": "9" * 17}, True),
    ("version_compare(t, u) > 0", {"t": LONG, "u": "1"}, None),
    ("version_compare(t, u) > 0", {"t": "1." * 200, "u": "1"}, None),
    ("version_compare(t, '٣') = 0", {"t": "3"}, None),
    # Numbers in texts.
    ("number(t) = 12.5", {"t": " +12.50 "}, True),
    ("number(t) = n", {"t": "5.", "n": 5}, True),
    ("number(t) < 0", {"t": "-.5"}, True),
    ("number(t) = 0", {"t": "-0"}, True),
    ("number(t) = 0", {"t": ""}, None),
    ("number(t) = 0", {"t": "0x10"}, None),
    ("number(t) = 0", {"t": "1e3"}, None),
    ("number(t) = 0", {"t": "0\n"}, None),
    ("number(t) = 0", {"t": "."}, None),
    ("number(t) = 0", {"t": "٣"}, None),
    ("number(t) > 0", {"t": LONG}, None),
    ("number(t) > 0", {"t": "9007199254740992"}, True),
    ("number(t) > 0", {"t": "9007199254740993"}, None),
    ("number(t) >= 0", {"t": "0." + "0" * 38}, True),
    ("number(t) >= 0", {"t": "0." + "0" * 39}, None),
    # Arithmetic.
    ("n >= day_end() - 45 * 86400", {"n": END - 45 * 86400}, True),
    ("n >= day_end() - 45 * 86400", {"n": END - 45 * 86400 - 1}, False),
    ("n + m = 3", {"n": 1, "m": 2}, True),
    ("n + m = 3", {"n": 1}, None),
    ("n + 1 > 0", {"n": 2**63 - 1}, None),
    ("n - 1 < 0", {"n": -(2**63)}, None),
    ("n * m > 0", {"n": 2**53, "m": 2**53}, None),
    ("n * m = 9007199254740992", {"n": 2**52, "m": 2}, True),
    ("n * m = 0", {"n": 0, "m": 2**53}, True),
    ("n + m > 0", {"n": 2**53, "m": 1}, None),
    ("-n > 0", {"n": -5}, True),
    ("-n > 0", {"n": -(2**63)}, None),
    ("-d < 0", {"d": 0.5}, True),
    ("d * d > 0", {"d": 1e300}, None),
    ("d * d = 0", {"d": 1e-300}, None),
    ("d + d > 0", {"d": 1.7e308}, None),
    ("n * 0.5 = d", {"n": 3, "d": 1.5}, True),
    ("d - n = -0.5", {"n": 1, "d": 0.5}, True),
    ("length(t) + 1 = 3", {"t": "äb"}, True),
    ("n = d", {"n": 2**53 + 1, "d": float(2**53)}, True),
    ("n > 9223372036854775806", {"n": 2**63 - 1}, True),
    ("d IN (n, 0.1)", {"d": 0.1, "n": 4}, True),
    ("coalesce(n, d) = 2.5", {"d": 2.5}, True),
    ("n BETWEEN 0.5 AND 1.5", {"n": 1}, True),
    # Texts.
    ("starts_with(t, '/Users/')", {"t": "/Users/a"}, True),
    ("starts_with(t, '/users/')", {"t": "/Users/a"}, False),
    ("starts_with(t, u)", {"t": "a", "u": "abc"}, False),
    ("starts_with(t, u)", {"t": "a", "u": ""}, True),
    ("starts_with(t, 'a')", {}, None),
    ("ends_with(t, '.app')", {"t": "a.app"}, True),
    ("ends_with(t, 'abc')", {"t": "bc"}, False),
    ("ends_with(t, u)", {"t": "", "u": ""}, True),
    ("ends_with(t, u)", {"t": "a"}, None),
    ("contains(t, '%')", {"t": "a%b"}, True),
    ("contains(t, '_')", {"t": "ab"}, False),
    ("contains(t, u)", {"t": "ab", "u": ""}, True),
    ("contains(t, 'a')", {}, None),
    ("contains(t, u)", {"u": ""}, None),
    ("contains(t, u)", {"t": ""}, None),
    ("lower(t) = 'É'", {"t": "É"}, True),
    ("upper(t) = 'Aß'", {"t": "aß"}, True),
    ("substr(t, 2, 1) = 'ß'", {"t": "aßc"}, True),
    ("t = '?'", {"t": "?"}, True),
    ("t = day()", {"t": "2026-11-24"}, True),
    # Lists.
    ("in_list('ports', t)", {"t": "sshd"}, True),
    ("in_list('ports', t)", {"t": "SSHD"}, False),
    ("in_list('ports', t)", {}, None),
    ("in_list('ports', t, n)", {"t": "it's ?", "n": -1}, True),
    ("in_list('ports', t, n)", {"t": "sshd", "n": 23}, False),
    ("in_list('ports', t, n)", {"t": "nobody"}, None),
    ("in_list('ports', t, n)", {"t": "sshd", "n": 2**40}, True),
    ("in_list('ports', 'sshd', n)", {"n": 22}, True),
    ("in_list('ports', 'sshd', d)", {"d": 22.0}, True),
    ("NOT in_list('ports', t, n)", {"t": "x", "n": 1}, True),
    ("in_list('nobody', t)", {"t": "x"}, False),
    ("in_list('nobody', t)", {}, None),
    ("in_list('sizes', n)", {"n": 1}, True),
    ("in_list('sizes', d)", {"d": 2.5}, True),
    ("list_value('ports', 'least', t, n) = '1.10'", {"t": "sshd", "n": 22}, True),
    ("version_compare(u, list_value('ports', 'least', t, n)) >= 0", {"t": "sshd", "n": 22, "u": "1.9"}, False),
    ("list_value('ports', 'share', t, n) = 0.5", {"t": "it's ?", "n": -1}, True),
    ("list_value('ports', 'share', t, n) = 0.5", {"t": "sshd", "n": 22}, None),
    ("list_value('ports', 'port', 'sshd', n) + 1 = 23", {"n": 22}, True),
    ("list_value('sizes', 'n', d) = 7", {"d": 2.5}, True),
    ("list_value('nobody', 'size', t) IS NULL", {"t": "x"}, True),
    ("in_list('departed_accounts', t)", {"t": "anna"}, True),
    ("in_list('departed_accounts', t)", {"t": "ben"}, False),
    ("in_list('departed_accounts', t)", {"t": "x"}, False),
    ("in_list('departed_devices', t)", {"t": "C1"}, True),
    ("in_list('departed_devices', t)", {"t": "C3"}, False),
    ("in_list('departed_devices', 'C1')", {"t": "x"}, True),
    ("in_list('departed_devices', 'C2')", {"t": "x"}, False),
    ("in_list('departed_keys', t)", {"t": "SHA256:a"}, True),
    ("list_value('asset_register', 'owner', t) = 'ops'", {"t": "C1"}, True),
    ("list_value('asset_register', 'status', t) = 'lost'", {"t": "C2"}, None),
    ("list_value('departed_accounts', 'last_day', t) < day()", {"t": "anna"}, True),
]
VIEWS = {
    "muster_departed_accounts (account TEXT, last_day TEXT)": (
        "('anna', '2026-11-23'), ('ben', '2026-11-24'), ('anna', '2026-01-01'), (NULL, '2026-01-01')"
    ),
    "muster_departed_devices (serial TEXT, last_day TEXT, from_day TEXT, to_day TEXT)": (
        "('C1', '2026-11-01', '', '9999-12-31'), ('C3', '2026-11-01', '', '2026-11-24')"
    ),
    "muster_departed_keys (fingerprint TEXT, last_day TEXT)": "('SHA256:a', '2026-11-01')",
    "muster_asset_register (serial TEXT, status TEXT, owner TEXT, from_day TEXT, to_day TEXT)": (
        "('C1', 'in use', 'anna', '', '2026-11-24'), ('C1', 'in use', 'ops', '2026-11-24', '2026-11-25'),"
        " ('C1', 'in use', 'tom', '2026-11-25', '9999-12-31')"
    ),
}


async def test_conditions_over_a_row(tmp_path: Path) -> None:
    async def make(tx: Transaction) -> None:
        for shape, values in VIEWS.items():
            name = shape.partition(" ")[0]
            await tx.run(f"DROP VIEW {name}")
            await tx.run(f"CREATE TABLE {shape}")
            await tx.run(f"INSERT INTO {name} VALUES {values}")
        await tx.run("CREATE TABLE muster_tried (n BIGINT, m BIGINT, d DOUBLE PRECISION, t TEXT, u TEXT)")

    async with open_store(tmp_path, shipped_catalog()) as store:
        await store.write(make)
        wrong = []
        for text, row, expected in CASES:
            found = await store.write(lambda tx, text=text, row=row: _tried(tx, text, row))  # type: ignore[misc]
            if found is not expected:
                wrong.append(f"{text} over {row} is {found}, not {expected}")
    assert not wrong, "\n".join(wrong)


async def _tried(tx: Transaction, text: str, row: dict[str, Any]) -> bool | None:
    predicate = compile_predicate(text, COLUMNS, LISTS, DAY)
    await tx.run("DELETE FROM muster_tried")
    await tx.run("INSERT INTO muster_tried VALUES (?, ?, ?, ?, ?)", tuple((EMPTY | row).values()))
    head = f"WITH {', '.join(predicate.lists.values())} " if predicate.lists else ""
    # As in the statements that judge: within an aggregate.
    sql, negated = (
        f"SUM(CASE WHEN ({part}) IS TRUE THEN 1 ELSE 0 END)" for part in (predicate.sql, f"NOT {predicate.sql}")
    )
    found = await tx.row(f"{head}SELECT {sql}, {negated} FROM muster_tried r{''.join(predicate.joins.values())}")
    assert found is not None
    return True if found[0] else False if found[1] else None
