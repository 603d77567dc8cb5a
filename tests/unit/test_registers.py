"""Files of people and assets: what is read of them, and what is said of those that cannot be."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

from server.catalog.assets import Asset, read_assets
from server.catalog.people import Person, key_digest, read_people
from server.catalog.problems import CatalogError

BLOB = base64.b64encode(b"\x00\x00\x00\x0bssh-ed25519" + bytes(36)).decode()


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "file.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def problems_of(tmp_path: Path, text: str | bytes, kind: str = "people") -> list[str]:
    with pytest.raises(CatalogError) as caught:
        (read_people if kind == "people" else read_assets)(written(tmp_path, text))
    return [str(problem) for problem in caught.value.problems]


def people(tmp_path: Path, text: str | bytes) -> list[Person]:
    return read_people(written(tmp_path, text))[1]


def assets(tmp_path: Path, text: str) -> list[Asset]:
    return read_assets(written(tmp_path, text))[1]


def test_a_file_as_a_spreadsheet_writes_it(tmp_path: Path) -> None:
    text = (
        "\ufeffPerson ;NAME;E-Mail;Start;notice;Last Day;Access-Disabled;access_disabled_VPN;Accounts;Devices;Keys\r\n"
        '7;"Ada\r\nLovelace"; Ada@Example.com ;2020-01-31;;2026-11-20;2026-11-20T18:00:00+01:00;;'
        f'"CORP\\Ada; ada.l";"SN-1;sn-2";ssh-ed25519 {BLOB} ada@laptop\r\n'
        "\r\n"
        "8;Bob;bob@example.com;;;;;2026-11-24 10:00Z;;;\r\n"
    )
    table, (ada, bob) = read_people(written(tmp_path, text))
    assert ada == Person(
        person="7",
        name="Ada\r\nLovelace",
        email="Ada@Example.com",
        start="2020-01-31",
        last_day="2026-11-20",
        accounts=["ada", "ada.l"],
        serials={"sn-1": "SN-1", "sn-2": "sn-2"},
        keys={key_digest(BLOB): ada.keys[key_digest(BLOB)]},
        access_disabled={"": "2026-11-20T17:00:00Z"},
    )
    raw = hashlib.sha256(base64.b64decode(BLOB)).digest()
    assert ada.keys[key_digest(BLOB)] == "SHA256:" + base64.b64encode(raw).decode().rstrip("=")
    assert (bob.accounts, bob.access_disabled) == (["bob"], {"vpn": "2026-11-24T10:00:00Z"})
    assert [row.line for row in table.rows] == [2, 5]
    assert table.sha256 == hashlib.sha256(text.encode()).hexdigest()


def test_an_account_that_is_nobodys_own_counts_only_where_it_is_named(tmp_path: Path) -> None:
    text = "person,email,accounts\n1,root@example.com,\n2,info@example.com,Root\n"
    assert [person.accounts for person in people(tmp_path, text)] == [[], ["root"]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "file.csv:1: file is empty"),
        ("\n\n", "file.csv:1: file is empty"),
        ("person\n", "file.csv:1: file has a header and no rows"),
        ("name\nx\n", "file.csv:1: column 'person' is missing"),
        ("person,last_dya\n1,\n", "file.csv:1: unknown column 'last_dya'\n    did you mean 'last_day'?"),
        ("person,Person\n1,2\n", "file.csv:1: column 'person' is there twice"),
        ("person,email\n1,a@b.c\n1,d@e.f\n", "file.csv:3: column person: '1' is in line 2 already"),
        ("person,email\n,a@b.c\n", "file.csv:2: column person: empty"),
        ("person,email\n1,nobody\n", "file.csv:2: column email: 'nobody' is no e-mail address"),
        ("person,last_day\n1,01/02/2026\n", "file.csv:2: column last_day: '01/02/2026' is no day that is certain"),
        ("person,last_day\n1,2026-02-30\n", "file.csv:2: column last_day: '2026-02-30' is no day"),
        ("person,last_day\n1,20261124\n", "file.csv:2: column last_day: '20261124' is no day"),
        ("person,start,last_day\n1,2026-02-01,2026-01-01\n", "file.csv:2: column last_day: 2026-01-01 is before start"),
        ("person,access_disabled\n1,2026-11-24\n", "file.csv:2: column access_disabled: '2026-11-24' is no instant"),
        ("person,access_disabled\n1,2026-11-24T10:00\n", "is no instant with its time zone"),
        ("person,access_disabled\n1,0001-01-01T00:00+14:00\n", "is no instant with its time zone"),
        ('person,name\n1,"Ada\nis',  "file.csv:2: not CSV from here on"),
        ("person,name\n1,Ada,x\n", "file.csv:2: 3 values, but the header has 2 columns"),
        ("person,name\n1\n", "file.csv:2: 1 values, but the header has 2 columns"),
        ("person,name\n1,a\x00b\n", "file.csv:2: a value is over"),
        (b"person,name\n1,J\xfcrgen\n", "file.csv:2: file is not UTF-8"),
        ("person,name\n1,Jürgen\n".encode("utf-16"), "file.csv:1: file is not UTF-8"),
        ("person,devices\n1,To be filled by O.E.M.\n", "is a placeholder that many machines have"),
        ("person,keys\n1,SHA256:abc\n", "is a fingerprint, which osquery cannot tell"),
        ("person,keys\n1,ssh-ed25519 x\n", "is no public key"),
        (f"person,name\n1,{'x' * 10_001}\n", "file.csv:2: a value is over"),
        (f"person,name\n{'x' * 256},\n", "file.csv:2: column person: longer than 255"),
    ],
    ids=lambda value: None if isinstance(value, str) and value.startswith(("file", "is")) else "file",
)  # fmt: skip
def test_what_is_wrong_with_a_file_of_people(tmp_path: Path, text: str | bytes, said: str) -> None:
    assert any(said in problem for problem in problems_of(tmp_path, text))


def test_all_problems_of_the_rows_are_told_at_once_and_not_without_end(tmp_path: Path) -> None:
    two = problems_of(tmp_path, "person,email,last_day\n1,x,\n2,a@b.c,soon\n")
    assert [problem.partition(": ")[0] for problem in two] == ["file.csv:2", "file.csv:3"]
    with pytest.raises(CatalogError) as caught:
        people(tmp_path, "person,email,last_day\n2,a@b.c,soon\n")
    assert [(problem.line, problem.column) for problem in caught.value.problems] == [(2, 3)]
    assert len(problems_of(tmp_path, "person,email\n" + "1,x\n" * 1000)) == 50


def test_assets_as_registers_write_them(tmp_path: Path) -> None:
    text = (
        "Serial Number,Host Name,OS,owner,Status,Tags,in scope from,model,since\n"
        ' C02XY ,mac-1,macOS,Ada@example.com,In Use,"Eng, Berlin;eng",2026-01-01,MacBook,\n'
        "SN-2,,Win,,on loan,,,,2026-11-20\n"
        "SN-3,,,,,,,,\n"
    )
    assert assets(tmp_path, text) == [
        Asset(
            serial="c02xy",
            shown="C02XY",
            hostname="mac-1",
            platform="darwin",
            model="MacBook",
            owner="Ada@example.com",
            status="in_use",
            tags="berlin,eng",
            in_scope_from="2026-01-01",
        ),
        Asset(serial="sn-2", shown="SN-2", platform="windows", status="loan", since="2026-11-20"),
        Asset(serial="sn-3", shown="SN-3"),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("serial\nTo be filled by O.E.M.\n", "file.csv:2: column serial: 'To be filled by O.E.M.' is a placeholder"),
        ("serial,owner\n,a\n", "file.csv:2: column serial: empty"),
        ("serial\nSN-1\n sn-1\n", "file.csv:3: column serial: 'sn-1' is in line 2 already"),
        ("serial,status\nSN-1,retrned\n", "'retrned' is not known\n    did you mean 'returned'?"),
        ("serial,platform\nSN-1,BeOS\n", "'BeOS' is not known\n    known are: darwin, linux, windows"),
        ("serial,tags\nSN-1,two words\n", "column tags: 'two words' has a space in it"),
        ("serial,in_scope_from\nSN-1,1.2.2026\n", "write YYYY-MM-DD"),
        ("seriel\nSN-1\n", "unknown column 'seriel'\n    did you mean 'serial'?"),
    ],
    ids=["placeholder", "no serial", "twice", "status", "platform", "tags", "day", "header"],
)
def test_what_is_wrong_with_a_file_of_assets(tmp_path: Path, text: str, said: str) -> None:
    assert any(said in problem for problem in problems_of(tmp_path, text, "assets"))
