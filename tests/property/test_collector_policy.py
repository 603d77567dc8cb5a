"""A refusal depends on what a statement reads, never on how it is written."""

from __future__ import annotations

import os
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.policy import Policy
from collector.policy.tables import GivenTables
from tests.support.osquery_tables import osquery_tables

STATEMENTS = {
    "SELECT command FROM shell_history WHERE uid = 0 ORDER BY time": True,
    "SELECT count ( * ) FROM users NATURAL JOIN ( SELECT '/root' AS directory )": True,
    "WITH h AS ( SELECT uid FROM shell_history ) SELECT users . uid FROM users JOIN h USING ( uid )": True,
    "SELECT directory FROM main . users": True,
    "SELECT uid , username FROM users WHERE uid > 0": False,
    "SELECT directory FROM file WHERE path = '/etc/shell_history'": False,
}
NAMES = frozenset("command shell_history uid time users directory h main file path username".split())
SPACE = st.sampled_from([" ", "\t", "\n", "\r\n", "\f", "/**/", "/* FROM users */", "--\n", "-- shell_history ' \n"])


@st.composite
def written(draw: st.DrawFn) -> tuple[str, bool]:
    statement = draw(st.sampled_from(sorted(STATEMENTS)))
    parts = []
    for token in statement.split(" "):
        parts += [draw(SPACE), _spelled(draw, token)]
    return "".join(parts) + draw(st.sampled_from(["", ";", " ; ", ";-- x", "/* x"])), STATEMENTS[statement]


def _spelled(draw: st.DrawFn, token: str) -> str:
    if not re.fullmatch(r"\w+", token):
        return token
    token = "".join(draw(st.sampled_from([one.lower(), one.upper()])) for one in token)
    if token.lower() not in NAMES:
        return token
    return draw(st.sampled_from(["{}", '"{}"', "[{}]", "`{}`"])).format(token)


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    path = tmp_path_factory.mktemp("policy") / "policy.toml"
    path.write_text('deny_tables = ["shell_history"]\ndeny_columns = ["users.directory"]')
    return Policy.load(path, GivenTables(osquery_tables()), owner=os.getuid())


@settings(max_examples=300, deadline=None)
@given(case=written())
def test_how_it_is_written_changes_nothing(policy: Policy, case: tuple[str, bool]) -> None:
    sql, refused = case
    reason = policy.check(sql, live=True)
    assert (reason is not None and "is denied" in reason) is refused, reason


@settings(max_examples=500, deadline=None)
@given(text=st.text(max_size=60), cut=st.integers(0, 80), statement=st.sampled_from(sorted(STATEMENTS)))
def test_no_text_makes_it_fail(policy: Policy, text: str, cut: int, statement: str) -> None:
    """Anything is either judged or refused; a statement that is cut or has something put into it is no exception."""
    reason = policy.check(statement[:cut] + text + statement[cut:], live=True)
    assert reason is None or reason.startswith(("it reads the ", "it cannot be told"))
    assert "its log says how" not in (reason or "")
