"""Reference lists: what their files say, what is wrong with them, and what they are to a rule's version."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from server.app import shipped_packs
from server.catalog.catalog import Catalog, read_catalog
from server.catalog.lists import MOST_ENTRIES
from server.evaluate.check import check_controls
from server.evaluate.versions import rule_version

CONTROL = "controls/accounts/only-root-has-uid-0/control.yaml"
GOOD = """title: Accounts that may be there
as_of: "2026-11-24"
columns: {username: text, uid: bigint, share: double}
key: [username, uid]
entries:
  - [root, 0, 1]
  - [daemon, 1, null]
note: As agreed.
"""


@pytest.fixture
def packs(tmp_path: Path) -> Path:
    copy = Path(shutil.copytree(shipped_packs(), tmp_path / "packs"))
    (copy / "lists").mkdir(exist_ok=True)
    (copy / "lists" / "accounts.yaml").write_text(GOOD)
    return copy


def read(packs: Path) -> tuple[Catalog, str]:
    catalog, found = read_catalog(packs)
    return catalog, "\n".join(str(problem) for problem in found)


def ask_the_list(packs: Path, condition: str) -> None:
    path = packs / CONTROL
    text = path.read_text()
    assert "&second_root uid = 0" in text
    path.write_text(text.replace("&second_root uid = 0", f"&second_root uid = 0 AND {condition}", 1))


def test_a_list_as_it_is_read(packs: Path) -> None:
    catalog, problems = read(packs)
    assert problems == ""
    found = catalog.lists["accounts"]
    assert found.entries == (("root", 0, 1.0), ("daemon", 1, None))
    assert found.columns == {"username": "text", "uid": "bigint", "share": "double"}
    assert (found.key, found.as_of, found.file) == (2, "2026-11-24", "lists/accounts.yaml")


@pytest.mark.parametrize(
    ("old", "new", "line", "what"),
    [
        ('"2026-11-24"', "2026-11-24", 2, 'write it as a text, "2026-11-24"'),
        ('"2026-11-24"', '"24.11.2026"', 2, "is no day such as"),
        ("uid: bigint", "uid: integer", 3, "Input should be 'text', 'bigint' or 'double'"),
        ("uid: bigint", "UID: bigint", 1, "column 'UID' is not a name in lower case"),
        ("[username, uid]", "[uid]", 1, "must be the first of the columns: username"),
        ("[username, uid]", "[username, uid, share, x]", 1, "must be the first of the columns"),
        ("[username, uid]", "[]", 4, "at least 1 item"),
        ("[root, 0, 1]", "[root, 0]", 6, "the entry has 2 values, not one per column: [username, uid, share]"),
        ("[root, 0, 1]", "root", 6, "the entry is no list of values"),
        ("[root, 0, 1]", "[1.10, 0, 1]", 6, "username is a text: write 1.1 in quotes"),
        ("[root, 0, 1]", "[true, 0, 1]", 6, "username is a text"),
        ("[root, 0, 1]", '["a\\0", 0, 1]', 6, "a character that no stored text has"),
        ("[root, 0, 1]", "[root, 0.5, 1]", 6, "uid is a bigint, which 0.5 is not"),
        ("[root, 0, 1]", "[root, true, 1]", 6, "uid is a bigint, which True is not"),
        ("[root, 0, 1]", "[root, 9223372036854775808, 1]", 6, "more than 64 bits"),
        ("[root, 0, 1]", "[root, 0, .inf]", 6, "a double is up to"),
        ("[root, 0, 1]", "[root, 0, .nan]", 6, "a double is up to"),
        ("[root, 0, 1]", "[null, 0, 1]", 6, "username is empty, but is part of the key"),
        ("[daemon, 1, null]", "[root, 0, 7]", 7, "the same key as on line 6"),
        ("entries:", "entrys:", 5, "unknown key 'entrys'"),
        ("title: ", "titel: ", 1, "did you mean 'title'"),
    ],
)
def test_a_bad_list(packs: Path, old: str, new: str, line: int, what: str) -> None:
    assert old in GOOD
    (packs / "lists" / "accounts.yaml").write_text(GOOD.replace(old, new, 1))
    _, problems = read(packs)
    assert f"lists/accounts.yaml:{line}: " in problems
    assert what in problems


def test_a_list_has_so_many_entries(packs: Path) -> None:
    head = GOOD.partition("entries:")[0]
    for count in (MOST_ENTRIES, MOST_ENTRIES + 1):
        entries = "".join(f"  - [a{number}, 1, 1]\n" for number in range(count))
        (packs / "lists" / "accounts.yaml").write_text(f"{head}entries:\n{entries}")
        _, problems = read(packs)
        assert bool(problems) == (count > MOST_ENTRIES)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("departed_accounts", "a list that Muster fills itself"),
        ("Ports", "is not <list>.yaml"),
        ("a-b", "in lower case"),
    ],
)
def test_a_bad_name(packs: Path, name: str, what: str) -> None:
    (packs / "lists" / f"{name}.yaml").write_text(GOOD)
    assert what in read(packs)[1]


async def test_what_a_rule_says_wrong_of_lists(packs: Path) -> None:
    ask_the_list(packs, "in_list('acounts', username)")
    catalog, _ = read(packs)
    found = "\n".join(str(problem) for problem in await check_controls(catalog))
    assert "there is no list 'acounts'; did you mean 'accounts'?" in found


async def test_a_list_of_musters_own_needs_no_database(packs: Path) -> None:
    ask_the_list(packs, "NOT in_list('departed_accounts', lower(username))")
    assert await check_controls(read(packs)[0]) == []


def test_a_rules_version_has_the_lists_it_names(packs: Path) -> None:
    ask_the_list(packs, "NOT in_list('accounts', username)")

    def versions() -> tuple[str, ...]:
        catalog, problems = read(packs)
        assert problems == ""
        return tuple(
            rule_version(catalog, catalog.controls[name]) for name in ("only-root-has-uid-0", "osquery-current")
        )

    before = versions()
    file = packs / "lists" / "accounts.yaml"
    file.write_text(GOOD.replace("As agreed.", "As agreed again.").replace("2026-11-24", "2026-11-25"))
    assert versions() == before
    file.write_text(GOOD.replace("[daemon, 1, null]", "[daemon, 2, null]"))
    after = versions()
    assert after[0] != before[0]
    assert after[1] == before[1]
