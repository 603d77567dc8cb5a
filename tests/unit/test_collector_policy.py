"""The policy's file: what it may say, who may have written it, and what holds when it changes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from collector.policy import Policy
from collector.policy.file import load_file
from collector.policy.rules import Rules, RulesError, parse_rules
from collector.policy.schedule import permitted_config
from collector.policy.tables import STATEMENT, DeviceTables, GivenTables, Tables
from tests.support.osquery_tables import osquery_tables

ME = os.getuid()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "muster"
    folder.mkdir(mode=0o755)
    return folder / "policy.toml"


def _policy(path: Path, text: str | None = None) -> Policy:
    if text is not None:
        path.write_text(text)
    return Policy.load(path, GivenTables(osquery_tables()), owner=ME)


def test_everything_the_policy_may_say() -> None:
    rules = parse_rules('deny_live = true\ndeny_tables = ["Shell_History"]\ndeny_columns = ["Users.Directory"]')
    assert rules == Rules(True, frozenset({"shell_history"}), frozenset({("users", "directory")}))
    assert parse_rules("").empty


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("deny_table = []", "unknown key 'deny_table': is deny_tables meant?"),
        ("denylive = true", "is deny_live meant?"),
        ("colour = 1", "unknown key 'colour': there are deny_live, deny_tables, deny_columns"),
        ('deny_live = "yes"', "deny_live is true or false, not 'yes'"),
        ("deny_live = 1", "deny_live is true or false, not 1"),
        ('deny_tables = "shell_history"', 'deny_tables is a list of texts, as in deny_tables = ["shell_history"]'),
        ("deny_tables = [1]", "deny_tables is a list of texts"),
        ('deny_tables = ["users.directory"]', "a column is denied by deny_columns"),
        ('deny_tables = [" "]', "deny_tables has an empty name"),
        ('deny_columns = ["users"]', "a table, a point and a column are wanted, as in users.directory"),
        ('deny_columns = ["a.b.c"]', "a table, a point and a column are wanted"),
        ("deny_tables = [", "it is not TOML"),
    ],
)
def test_what_it_may_not_say_names_what_is_wanted(text: str, said: str) -> None:
    with pytest.raises(RulesError) as error:
        parse_rules(text)
    assert said in str(error.value)


def test_a_policy_that_is_wrong_refuses_everything_and_says_how_to_mend_it(path: Path) -> None:
    policy = _policy(path, 'deny_table = ["shell_history"]')
    for live in (True, False):
        reason = policy.check("SELECT 1", live=live)
        assert reason is not None and str(path) in reason and "deny_tables" in reason and "To mend" in reason
    assert policy.describe() == policy.problem


def test_without_a_file_nothing_is_denied(path: Path) -> None:
    policy = _policy(path)
    assert policy.check("anything at all", live=True) is None
    assert (policy.describe(), policy.problem) == ("", "")


def test_live_questions_may_be_denied_as_such(path: Path) -> None:
    policy = _policy(path, "deny_live = true")
    assert policy.check("SELECT 1", live=True) == "live questions are not answered by this device (deny_live)"
    assert policy.check("not even SQL", live=False) is None


def test_an_edit_holds_from_the_next_statement_on(path: Path) -> None:
    policy = _policy(path, "")
    sql = "SELECT command FROM shell_history"
    assert policy.check(sql, live=False) is None
    path.write_text('deny_tables = ["shell_history"]')
    assert policy.check(sql, live=False) is not None
    path.write_text("deny_tables = [")
    assert policy.problem
    path.unlink()
    assert policy.check(sql, live=False) is None


def test_a_file_of_somebody_else_is_not_trusted(path: Path) -> None:
    path.write_text("deny_live = false")
    loaded = load_file(path, owner=ME + 1)
    assert "belongs to" in loaded.problem and "sudo chown" in loaded.problem


def test_a_file_that_others_may_write_is_not_trusted_until_it_is_mended(path: Path) -> None:
    policy = _policy(path, "")
    for mode in (0o664, 0o646):
        path.chmod(mode)
        assert f"sudo chmod go-w {path}" in (policy.check("SELECT 1", live=True) or "")
    path.chmod(0o644)
    assert policy.check("SELECT 1", live=True) is None


def test_a_folder_that_others_may_write_is_not_trusted_until_it_is_mended(path: Path) -> None:
    path.parent.chmod(0o777)
    policy = _policy(path, "")
    assert f"sudo chmod go-w {path.parent}" in policy.problem
    path.parent.chmod(0o755)
    assert policy.problem == ""
    path.unlink()
    path.parent.chmod(0o777)
    assert "sudo chmod go-w" in _policy(path).problem, "somebody may have taken the file away"


def test_a_link_is_followed_to_where_it_leads(path: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "real.toml").write_text("deny_live = true")
    path.symlink_to(elsewhere / "real.toml")
    assert _policy(path).rules.deny_live
    elsewhere.chmod(0o777)
    assert "others may write its folder" in _policy(path).problem
    elsewhere.chmod(0o755)
    (elsewhere / "real.toml").unlink()
    assert "a link to a file that is not there" in _policy(path).problem


@pytest.mark.parametrize("kind", ["folder", "fifo", "latin1", "huge"])
def test_what_is_no_text_file_refuses_everything(path: Path, kind: str) -> None:
    match kind:
        case "folder":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "latin1":
            path.write_bytes(b'deny_tables = ["\xe4"]')
        case "huge":
            path.write_text("#" * (1 << 21))
    assert _policy(path).check("SELECT 1", live=False) is not None


def test_the_policy_in_one_line(path: Path) -> None:
    policy = _policy(path, 'deny_live = true\ndeny_tables = ["b", "a"]\ndeny_columns = ["users.directory"]')
    assert policy.describe() == "denies live questions; the tables a, b; the column users.directory"


def test_entries_that_fit_nothing_are_told(path: Path) -> None:
    policy = _policy(
        path,
        'deny_tables = ["shell_histroy", "hosts", "process_*", "zz*"]\n'
        'deny_columns = ["users.dir", "users.uid", "*.key"]',
    )
    assert policy.unknown() == ["shell_histroy", "users.dir", "zz*"]


def test_as_long_as_the_tables_are_not_known_everything_is_refused(path: Path) -> None:
    path.write_text('deny_tables = ["shell_history"]')
    reason = Policy.load(path, owner=ME).check("SELECT 1", live=False)
    assert reason == "it cannot be told what it reads (osqueryd has not said yet which tables it has)"


class _Notes(dict[str, bytes]):
    def keep(self, key: str, value: bytes) -> None:
        self[key] = value


class _Answer:
    def __init__(self, rows: list[dict[str, str]], code: int = 0) -> None:
        self.rows, self.code, self.message = rows, code, "no such table"


ROWS = [
    {"kind": "version", "name": "", "text": "5.23.0"},
    {"kind": "table", "name": "users", "text": "uid\ndirectory"},
    {"kind": "view", "name": "homes", "text": "CREATE VIEW homes AS SELECT directory FROM users"},
    {"kind": "made", "name": "Mine", "text": ""},
]
KNOWN = Tables("5.23.0", {"users": ("uid", "directory")}, {"homes": ROWS[2]["text"]}, frozenset({"mine"}))


def test_osqueryd_is_asked_for_its_tables_and_what_it_said_is_kept() -> None:
    notes, answers = _Notes(), [_Answer(ROWS)]

    def ask(sql: str) -> _Answer:
        assert sql == STATEMENT
        if not answers:
            raise ConnectionError("gone")
        return answers.pop()

    source = DeviceTables(notes, ask)
    assert source.tables() == KNOWN
    assert source.tables() == KNOWN, "osqueryd is gone: the note stands in"
    assert DeviceTables(notes).tables() == KNOWN, "a process that does not ask"
    answers.append(_Answer([], code=1))
    assert not source.refresh()
    answers.append(_Answer([ROWS[0]]))
    assert source.tables() == KNOWN, "no osqueryd is without tables"
    assert DeviceTables(_Notes()).tables() is None
    assert DeviceTables(_Notes(tables=b"{}")).tables() is None


def test_a_config_is_let_through_without_what_is_denied(path: Path) -> None:
    policy = _policy(path, 'deny_tables = ["shell_history"]')
    bad, good = {"query": "SELECT * FROM shell_history", "interval": 60}, {"query": "SELECT 1", "interval": 60}
    config = {
        "options": {"pack_delimiter": "/"},
        "schedule": {"told": bad, "fine": good, "odd": 3},
        "packs": {
            "base": {"queries": {"told": bad, "fine": good}, "discovery": ["SELECT 1"]},
            "curious": {"queries": {"fine": good}, "discovery": [bad["query"]]},
            "elsewhere": "/etc/pack.conf",
        },
        "decorators": {"load": ["SELECT 1", bad["query"]], "interval": {"60": [bad["query"]]}},
        "views": {"h": bad["query"], "o": "SELECT 1 AS one"},
        "file_paths_query": {"x": [bad["query"]]},
        "auto_table_construction": {"mail": {"query": "SELECT * FROM mail", "path": "/x"}},
        "yara": {},
    }
    permitted = permitted_config(policy, json.dumps(config))
    assert json.loads(permitted.text) == {
        "options": {"pack_delimiter": "/"},
        "schedule": {"fine": good},
        "packs": {"base": {"queries": {"fine": good}, "discovery": ["SELECT 1"]}},
        "decorators": {"load": ["SELECT 1"], "interval": {"60": []}},
        "views": {"o": "SELECT 1 AS one"},
        "file_paths_query": {"x": []},
        "yara": {},
    }
    assert sorted(permitted.refused) == sorted(
        [
            *("told", "odd", "pack/base/told", "pack/curious/fine", "pack/elsewhere/*", "decorators.load[1]"),
            *("decorators.interval.60[0]", "views.h", "file_paths_query.x[0]", "auto_table_construction"),
        ]
    )
    assert "shell_history, which is denied" in permitted.refused["pack/base/told"]


@pytest.mark.parametrize("text", ["", "deny_live = true", 'deny_tables = ["carves"]'])
def test_a_config_without_anything_denied_keeps_its_bytes(path: Path, text: str) -> None:
    config = '{"schedule": {"a":{"query":"SELECT 1","interval":60}},  "x": 1}'
    assert permitted_config(_policy(path, text), config).text == config


def test_under_a_policy_that_cannot_be_used_nothing_is_scheduled(path: Path) -> None:
    config = '{"schedule":{"a":{"query":"SELECT 1","interval":60}},"decorators":{"load":["SELECT 2"]}}'
    permitted = permitted_config(_policy(path, "?"), config)
    assert json.loads(permitted.text) == {"schedule": {}, "decorators": {"load": []}}
    assert "To mend" in permitted.refused["a"]
