"""The config plugin: what the server said, what the policy leaves of it, and what is said of the rest."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from collector.extension.config import SOURCE, UNKNOWN, Config
from collector.policy.schedule import Permitted
from collector.spool import Line, Spool, SpoolFullError

DAY = 1_795_541_571
TEXT = '{"schedule": {"a": {"query": "select 1"}, "b": {"query": "select 2"}}}'


class Refusing:
    """A policy that takes scheduled queries out."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}

    def __call__(self, text: str) -> Permitted:
        config = json.loads(text)
        refused = {name: self.names[name] for name in config["schedule"] if name in self.names}
        for name in refused:
            del config["schedule"][name]
        return Permitted(json.dumps(config) if refused else text, refused)


class Given:
    """A config plugin on a real spool, with its clock and what it told."""

    def __init__(self, path: Path) -> None:
        self.spool = Spool(path, 10_000_000)
        self.refusing = Refusing()
        self.told: list[Line] = []
        self.now = DAY
        self.again()

    def again(self) -> None:
        """The plugin of another process."""
        self.config = Config(
            self.spool, self.refusing, self._tell, lambda: dict(self.refusing.names), clock=lambda: self.now
        )

    def _tell(self, lines: Iterable[Line]) -> None:
        self.told += lines

    def say(self, text: str) -> None:
        self.spool.keep("config", json.dumps({"type": "config", "hash": "h", "config": text, "queries": []}).encode())

    @property
    def answer(self) -> tuple[int, list[dict[str, str]]]:
        return self.config({"action": "genConfig"})


@pytest.fixture
def given(tmp_path: Path) -> Iterator[Given]:
    one = Given(tmp_path / "spool.db")
    yield one
    one.spool.close()


def test_while_none_is_known_osqueryd_is_told_so(given: Given) -> None:
    assert given.answer == (UNKNOWN, [])


def test_the_config_is_given_byte_by_byte(given: Given) -> None:
    given.say(TEXT)
    assert given.answer == (0, [{SOURCE: TEXT}])
    given.again()
    assert given.answer == (0, [{SOURCE: TEXT}])
    assert given.told == []


def test_what_the_policy_refuses_is_left_out_and_is_an_error_once_a_day(given: Given) -> None:
    given.refusing.names = {"b": "the table shell_history is denied"}
    given.say(TEXT)
    code, rows = given.answer
    assert code == 0
    assert json.loads(rows[0][SOURCE]) == {"schedule": {"a": {"query": "select 1"}}}
    assert given.answer == (code, rows)
    given.again()
    assert given.answer == (code, rows)
    [line] = given.told
    said = json.loads(line.text)
    assert (line.kind, line.at, said["severity"], said["unixTime"]) == ("status", DAY, 2, DAY)
    assert said["message"] == (
        "Error executing scheduled query b: refused by the device's policy: the table shell_history is denied"
    )
    assert said["calendarTime"] == "Tue Nov 24 17:32:51 2026 UTC"
    given.now += 86_400
    assert given.answer == (code, rows)
    assert len(given.told) == 2


def test_another_refusal_on_the_same_day_is_told(given: Given) -> None:
    given.refusing.names = {"b": "why"}
    given.say(TEXT)
    given.config.text()
    given.refusing.names["a"] = "why, too"
    given.config.text()
    assert [json.loads(line.text)["message"].split()[4] for line in given.told] == ["b:", "a:"]


@pytest.mark.parametrize("note", [b"no json", b"{}", b'{"config": "no json"}', b'{"config": "[1]"}', b'{"config": 5}'])
def test_a_note_that_cannot_be_read_takes_nothing_away(given: Given, note: bytes) -> None:
    given.spool.keep("config", note)
    given.refusing = Refusing()
    assert given.answer == (UNKNOWN, [])
    given.say(TEXT)
    assert given.answer == (0, [{SOURCE: TEXT}])
    given.spool.keep("config", note)
    assert given.answer == (0, [{SOURCE: TEXT}])


def test_a_spool_that_cannot_be_read_takes_nothing_away(given: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    given.say(TEXT)
    assert given.answer == (0, [{SOURCE: TEXT}])

    def full(key: str) -> bytes | None:
        raise SpoolFullError("disk")

    monkeypatch.setattr(given.spool, "get", full)
    assert given.answer == (0, [{SOURCE: TEXT}])


def test_news_is_a_config_that_changed_since_it_was_given(given: Given) -> None:
    assert given.config.news() == ""
    given.say(TEXT)
    assert given.config.news() == TEXT
    assert given.config.news() == ""
    assert given.answer == (0, [{SOURCE: TEXT}])
    other = TEXT.replace("select 1", "select 11")
    given.say(other)
    assert given.config.news() == other
    assert given.config.news() == ""
    given.refusing.names = {"b": "why"}
    assert json.loads(given.config.news()) == {"schedule": {"a": {"query": "select 11"}}}
    assert given.config.news() == ""


def test_a_message_that_changed_beside_the_config_is_no_news(given: Given) -> None:
    given.say(TEXT)
    given.config.text()
    given.spool.keep("config", json.dumps({"config": TEXT, "queries": [{"name": "a"}]}).encode())
    assert given.config.news() == ""


def test_a_pack_that_refers_elsewhere_is_empty(given: Given) -> None:
    assert given.config({"action": "genPack", "name": "p", "value": "/x"}) == (0, [{"p": "{}"}])


def test_other_calls_are_no_success(given: Given) -> None:
    assert given.config({"action": "update"})[0] == 1
