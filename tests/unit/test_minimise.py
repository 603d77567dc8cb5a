"""What minimisation takes away, what it leaves, and that it does the same to the same value every time."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.normalize.answers import Answer
from server.normalize.minimise import Minimiser, MissingKeyError
from server.normalize.never import COLUMNS, NEEDLES, is_flag, is_secret_name, needles_in, redact
from server.normalize.treatment import Known, Minimisation, Rule
from server.wire.messages import BadLine, StatusLine
from tests.support.stores import shipped_catalog

KEY = b"k" * 32

SECRETS = [
    "mysql --password=hunter2 -h x",
    "mysql -uroot -phunter2 db",
    "sshpass -p hunter2 ssh root@x",
    "app --db-password hunter2 --verbose",
    "New-Thing -Password hunter2",
    "curl -u bob:hunter2 https://x.org",
    "curl -H 'Authorization: Basic hunter2'",
    "curl -H 'X-Api-Key: hunter2'",
    "Authorization: Bearer hunter2",
    "bearer hunter2hunter2hunter2",
    "https://bob:hunter2@x.org/path",
    "postgresql://:hunter2@localhost/db",
    "export AWS_SECRET_ACCESS_KEY=hunter2",
    "Server=x;Password=hunter2;User=y",
    '{"user": "bob", "password": "a \\"quoted\\" hunter2"}',
    r"{\"client_secret\": \"hunter2\"}",
    "passphrase: 'it is hunter2'",
    "GET /?access_token=hunter2 HTTP/1.1",
    "-----BEGIN RSA PRIVATE KEY-----\nhunter2\n-----END RSA PRIVATE KEY-----",
    "-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2 and no end",
    "root:$6$salt$hunter2hunter2:19000:0",
    "eyJhbGciOiJIUzI1.hunter2hunter2.sig",
    "ghp_hunter2hunter2hunter2",
    "mse_hunter2hunter2hunter2",
]

HARMLESS = [
    "libsecret-1-0:amd64",
    "libsecret-1-0=0.20.5",
    "tokenizers==0.19.1",
    "PasswordAuthentication yes",
    "password_auth=no",
    "--enroll_secret_path=/etc/osquery/secret",
    "--token-file /run/token",
    "/etc/passwd",
    "docker run -u 1000:1000 image",
    "https://example.org/a@b:c",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI bob@x",
    "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
    "GNOME Keyring password and secret store",
    "C:\\$Recycle.Bin",
]


def answer(query: str, rows: list[dict[str, Any]], version: str | None = None, snapshot: bool = True) -> Answer:
    return Answer(
        query=query,
        version=version,
        unix_time=1,
        epoch=0,
        counter=0,
        snapshot=snapshot,
        whole=True,
        added=list(rows) if snapshot else [],
        removed=[] if snapshot else list(rows),
    )


def rule(**given: Any) -> Rule:
    parts = {"queries": frozenset(), "tables": frozenset(), "columns": frozenset(), "action": "drop"} | given
    return Rule(source="minimise.yaml:1", **parts)


def minimised(
    rows: list[dict[str, Any]], *rules: Rule, query: str = "q", known: dict[tuple[str, str], Known] | None = None
) -> list[Any]:
    minimiser = Minimiser(Minimisation(rules, known), KEY)
    version = known[query, "linux"].version if known and (query, "linux") in known else None
    [done] = minimiser.answers([answer(query, rows, version)], "linux")
    return list(done.added)


@pytest.mark.parametrize("text", SECRETS)
def test_a_secret_is_cut_out(text: str) -> None:
    assert "hunter2" not in redact(text)
    assert "[redacted]" in redact(text)
    assert redact(redact(text)) == redact(text)
    assert "hunter2" not in str(minimised([{"a": "x", "b": text}]))


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_looks_like_a_secret_stays(text: str) -> None:
    assert redact(text) == text


@given(st.lists(st.sampled_from([*SECRETS, *HARMLESS, *NEEDLES, "=", ":", " ", "-", '"', "x", "K"]), max_size=6))
def test_the_quick_look_misses_nothing(parts: list[str]) -> None:
    text = "".join(parts)
    done = redact(text)
    assert done == text or needles_in(text)
    assert minimised([{"a": text}])[0]["a"] == done
    assert minimised([{"a": "secret token ://"}, {"a": text}])[1]["a"] == done, "its neighbours make no difference"


PARTS = [
    *(
        "password",
        "password=",
        "password=\\'",
        'password="',
        "password-",
        "-password ",
        "secret \t",
        "\\",
        "eyJ",
        "-eyJ",
    ),
    *("://", "://a:", "--a", "-u ", "mysql ", "$6$", "bearer ", "-----BEGIN PRIVATE KEY-----", "-----BEGIN "),
]


@pytest.mark.parametrize("part", PARTS)
def test_time_grows_with_the_length_only(part: str) -> None:
    text = part * (200_000 // len(part)) + " pass"
    start = time.process_time()
    redact(text)
    assert time.process_time() - start < 3, "a quadratic pattern takes minutes"


NAMES = [
    *("password", "DefaultPassword", "client_secret", "user.apiKey", "HKLM\\x\\DefaultPassword", "wifi_psk", "Cookies"),
    *("refresh_token", "recovery-key", "password_hash", "encrypted_value", "fmm-mobileme-token-FMM"),
]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_secrets(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name", ["minPasswordLength", "password_status", "public_key", "key", "tokenizer", "desktop", ""]
)
def test_names_of_no_secrets(name: str) -> None:
    assert not is_secret_name(name)


def test_a_column_named_like_a_secret_keeps_yes_and_no_only() -> None:
    rows = [{"clear_text_password": value} for value in ("0", "1", "", 1, "hunter2", 4711)]
    assert [row["clear_text_password"] for row in minimised(rows)] == ["0", "1", "", 1, None, None]


def test_a_setting_named_like_a_secret_loses_its_value() -> None:
    rows = [
        {"path": "HKLM\\Winlogon\\DefaultPassword", "data": "hunter2"},
        {"path": "HKLM\\Winlogon\\AutoAdminLogon", "data": "yes"},
        {"path": "HKLM\\Winlogon\\DefaultUserName", "data": "bob"},
    ]
    assert [row["data"] for row in minimised(rows)] == [None, "yes", "bob"]


@pytest.mark.parametrize("query", ["shell_history", "incident-response_shell_history", "pack_x_shell_history"])
def test_a_foreign_query_is_known_by_its_name(query: str) -> None:
    assert minimised([{"uid": "0", "command": "ls"}], query=query) == [{"uid": "0", "command": None}]


@pytest.mark.parametrize("query", ["chrome_history", "firefox-cookies", "edge_browsing_history", "safari_downloads"])
def test_browser_data_is_counted_and_not_kept(query: str) -> None:
    assert minimised([{"url": "https://x", "n": 3}], query=query) == [{"url": None, "n": None}]


def test_extensions_of_browsers_are_no_browser_data() -> None:
    rows = [{"name": "uBlock", "version": "1"}]
    assert minimised(rows, query="chrome_extensions") == rows
    assert minimised(rows, query="firefox_addons") == rows


def test_an_alias_does_not_defeat_the_list() -> None:
    known = {
        ("q", "linux"): Known("0123456789", {"what": frozenset({("shell_history", "command")})}),
        ("cmds", "linux"): Known("0123456789", {"x": frozenset({("processes", "cmdline")})}),
    }
    assert minimised([{"what": "ls"}], query="q", known=known) == [{"what": None}]
    rules = [rule(tables=frozenset({"processes"}), columns=frozenset({"cmdline"}))]
    assert minimised([{"x": "ls"}], *rules, query="cmds", known=known) == [{"x": None}]


def test_a_hash_is_the_same_for_the_same_value_and_another_with_another_key() -> None:
    rules = [rule(queries=frozenset({"*"}), columns=frozenset({"username", "user"}), action="hash")]
    [row] = minimised([{"username": "bob", "user": "bob", "uid": "1"}], *rules)
    assert row["username"] == row["user"] != "bob"
    assert row["uid"] == "1"
    [other] = Minimiser(Minimisation(rules), b"x" * 32).answers([answer("q", [{"username": "bob"}])], "")[0].added
    assert other["username"] != row["username"]
    assert minimised([{"username": ""}, {"username": None}], *rules) == [{"username": ""}, {"username": None}]
    with pytest.raises(MissingKeyError):
        Minimiser(Minimisation(rules)).answers([answer("q", [{"username": "bob"}])], "")


@given(
    st.dictionaries(
        st.sampled_from(["username", "path", "a"]), st.one_of(st.text(max_size=9), st.integers(), st.none())
    )
)
def test_a_removed_row_becomes_what_the_added_one_became(row: dict[str, Any]) -> None:
    rules = (
        rule(queries=frozenset({"q"}), columns=frozenset({"username"}), action="hash"),
        rule(queries=frozenset({"q"}), columns=frozenset({"path"}), action="truncate", keep=3),
    )
    minimiser = Minimiser(Minimisation(rules), KEY)
    before = dict(row)
    snapshot, again, removed = minimiser.answers(
        [answer("q", [row]), answer("q", [row]), answer("q", [row], snapshot=False)], "linux"
    )
    assert snapshot.added == again.added == removed.removed
    assert row == before, "the body's own rows are not changed: the transaction may run twice"
    assert not row.get("path") or snapshot.added[0]["path"] == str(row["path"]).rstrip("\x00")[:3].replace(
        "\x00", "\ufffd"
    )


def test_the_first_rule_that_takes_a_value_decides() -> None:
    columns = {"queries": frozenset({"q"}), "columns": frozenset({"path"})}
    rules = [
        rule(**columns, equals=frozenset({"/keep/not"})),
        rule(**columns, starts_with=("/home/",), action="truncate", keep=6),
        rule(**columns, contains=("secret place",)),
    ]
    rows = [{"path": path} for path in ("/keep/not", "/keep/not/this", "/home/bob", "/a secret place", "/etc")]
    assert [row["path"] for row in minimised(rows, *rules)] == [None, "/keep/not/this", "/home/", None, "/etc"]


def test_clean_rows_are_left_alone_and_remembered() -> None:
    minimiser = Minimiser(shipped_catalog().minimisation)
    rows = [{"uid": "0", "username": "root", "description": "has a token"}]
    first = answer("users", rows)
    minimiser.answers([first], "linux")
    assert first.added[0] is rows[0]
    assert first.fingerprint
    second = answer("users", rows)
    minimiser.answers([second], "linux")
    assert second.fingerprint == first.fingerprint
    dirty = answer("users", [{"description": "password=hunter2"}])
    minimiser.answers([dirty], "linux")
    assert dirty.fingerprint == "", "a digest of what was cut out must not be stored"


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        (BadLine(reason="r", sample='{"name":"users","columns":{"a":"hunter2"}', name=""), False),
        (BadLine(reason="r", sample='{"data":{"command":"hunter2"}', name="shell_history"), False),
        (BadLine(reason="r", sample='{\\"command\\": \\"hunter2\\"}', name=""), False),
        (BadLine(reason="r", sample="[{'cmdline': 'hunter2'}]", name="x"), False),
        (BadLine(reason="r", sample="[{'a': 'password=hunter2'}]", name="x"), False),
        (BadLine(reason="action 'password=hunter2'", sample="", name="x"), False),
        (BadLine(reason="r", sample="[{'port': 'hunter2'}]", name="x"), True),
    ],
)
def test_a_line_that_could_not_be_stored(line: BadLine, kept: bool) -> None:
    done = Minimiser(shipped_catalog().minimisation).bad(line, "linux")
    assert ("hunter2" in str(done)) == kept
    if not kept and line.sample:
        assert done.sample.startswith("values withheld; keys: ")


def test_messages_of_osquery_lose_what_looks_like_a_secret() -> None:
    line = StatusLine(unix_time=1, severity=2, filename="f", line=1, message="bad --password=hunter2", version="5")
    assert Minimiser(Minimisation()).statuses([line])[0].message == "bad --password=[redacted]"


def test_the_built_in_columns_are_columns_of_osquery() -> None:
    schema = shipped_catalog().schema
    for name, column in COLUMNS:
        table = schema.table(name)
        assert table is not None, name
        assert column in table.by_name, (name, column)


def test_every_flag_is_one() -> None:
    assert all(is_flag(value) for value in ("0", "1", "TRUE", " no ", None, 0, False))
    assert not any(is_flag(value) for value in ("2", "hunter2", 12))
