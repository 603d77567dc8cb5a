"""What differs between two packs folders."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from server.catalog.compare import Change, compare, counted
from tests.support import packs

LIST = """title: Who may
as_of: "2026-11-24"
columns: {who: text, why: text}
key: [who]
entries: [[ada, one], [bob, two]]
"""
CASES = packs.CONTROL.replace("control.yaml", "cases.yaml")
FRAMEWORK = """title: A standard
edition: "1"
criteria:
  A1: {says: Guests., supports: [no-guests]}
  A2: {says: Doors., none: No device sees one.}
"""
MINIMISE = "rules: [{query: residents, columns: [who], action: truncate, keep: 3, why: Names.}]\n"
FILES: dict[str, str | None] = {
    "lists/may.yaml": LIST,
    "frameworks/std.yaml": FRAMEWORK,
    "minimise.yaml": MINIMISE,
}


def changes(before: Mapping[str, str | None], after: Mapping[str, str | None]) -> list[Change]:
    return compare(packs.content({**FILES, **before}).load(), packs.content({**FILES, **after}).load())


def test_the_same_packs_have_no_changes() -> None:
    assert changes({}, {}) == []
    assert changes({}, {packs.RESIDENTS: "-- Who there is.\nSELECT username AS who, uid FROM users;\n\n"}) == []


def test_a_query_with_another_column_and_cost() -> None:
    sql = "-- Who there is.\n-- cost: 35ms\n-- key: who\nSELECT username AS who,\n  shell FROM users\n"
    found, cases = changes({}, {packs.RESIDENTS: sql})
    assert cases == Change("controls", "no-guests", "changed", ("cases: 3 → 3, some of them other ones",))
    assert (found.sort, found.name, found.how) == ("queries", "residents", "changed")
    assert found.platforms == ("darwin", "linux", "windows")
    assert "answers to the old one are judged no more" in found.facts[0]
    assert found.facts[1:] == (
        "column uid is gone (bigint)",
        "column shell is new (text)",
        "key: none → who",
        "cost: 10 ms → 35 ms",
    )
    assert found.diff == (
        "@@ -1 +1,2 @@",
        "-SELECT username AS who, uid FROM users",
        "+SELECT username AS who,",
        "+  shell FROM users",
    )


def test_a_cost_alone_is_no_new_version() -> None:
    (found,) = changes({}, {packs.RESIDENTS: "-- Who.\n-- cost: 1s\nSELECT username AS who, uid FROM users\n"})
    assert found.facts == ("cost: 10 ms → 1000 ms", "description: Who there is. → Who.")
    assert found.diff == ()


def test_queries_of_single_platforms() -> None:
    both = {
        "queries/kinds.linux.sql": "-- K.\nSELECT shell FROM users\n",
        "queries/kinds.darwin.sql": "-- K.\nSELECT uid FROM users\n",
    }
    other = {**both, "queries/kinds.darwin.sql": "-- K.\nSELECT gid FROM users\n"}
    assert [(one.name, one.how, one.platforms) for one in changes({}, both)] == [
        ("kinds", "added", ("darwin",)),
        ("kinds", "added", ("linux",)),
    ]
    assert [(one.how, one.platforms) for one in changes(both, other)] == [("changed", ("darwin",))]
    assert [(one.how, one.platforms) for one in changes(both, {})] == [("removed", ("darwin", "linux"))]


@pytest.mark.parametrize(
    ("old", "new", "facts"),
    [
        ("severity: low", "severity: high", ("severity: low → high",)),
        ("who = 'guest'", "who = 'ada'", ("linux rule: none who = 'guest' → none who = 'ada'",)),
        ("empty: pass", "empty: fail", ("linux empty: pass → fail",)),
        ("confidence: documented", "confidence: draft", ("linux confidence: documented → draft",)),
        (
            "limits: Whether anybody is at home.",
            "limits: Whether anybody at all is at home, or away.",
            ("limits:\n- Whether anybody is at home.\n+ Whether anybody at all is at home, or away.",),
        ),
    ],
)  # fmt: skip
def test_a_control(old: str, new: str, facts: tuple[str, ...]) -> None:
    text = packs.control("who = 'guest'")
    cases = packs.content().files[CASES]
    changed = {packs.CONTROL: text.replace(old, new), CASES: cases}
    assert changes({}, changed) == [Change("controls", "no-guests", "changed", facts)]


def test_packs_with_their_targets() -> None:
    targets = "{osquery: '5.1', tags: {include: [eng]}, percentage: 25}"
    after = f"title: All of it\ninterval: 600\nqueries: {{residents: {{interval: 60}}}}\ntargets: {targets}\n"
    assert changes({}, {packs.PACK: after}) == [
        Change("packs", "all", "changed", (
            "interval: 3600 s → 600 s",
            "targets: none → osquery 5.1 or later, tagged eng, 25% of devices",
            "control removed: no-guests",
            "residents interval: the pack's → 60 s",
        ))
    ]  # fmt: skip
    (added,) = changes({}, {"more.yaml": "title: More\nqueries: {residents: }\nplatforms: [linux]\n"})
    assert (added.name, added.how) == ("more", "added")
    assert added.facts == ("More: every 3600 s on linux", "query added: residents")


def test_entries_of_lists() -> None:
    new = LIST.replace("[ada, one]", "[ada, three], [eve, four]")
    assert [one.facts for one in changes({}, {"lists/may.yaml": new})] == [
        ("- [ada, one]", "+ [ada, three]", "+ [eve, four]")
    ]
    many = LIST.replace("[[ada, one], [bob, two]]", str([[f"n{number}", "x"] for number in range(30)]))
    (found,) = changes({}, {"lists/may.yaml": many})
    assert len(found.facts) == 11
    assert found.facts[-1] == "and 22 more entries"


def test_minimisation_frameworks_and_settings() -> None:
    found = changes({}, {
        "minimise.yaml": MINIMISE.replace("keep: 3", "keep: 4"),
        "frameworks/std.yaml": FRAMEWORK.replace("none: No device sees one.", "partly: {no-guests: Windows.}"),
        "fleet.yaml": "canary: {cost_factor: 3}\n",
    })  # fmt: skip
    assert [(one.sort, one.name, one.how, one.facts) for one in found] == [
        ("minimisation", "truncate to 3 characters who of residents", "removed", ()),
        ("minimisation", "truncate to 4 characters who of residents", "added", ()),
        ("frameworks", "std", "changed", ("A2: control added: no-guests",)),
        ("settings", "fleet.yaml", "changed", ("canary.cost_factor: 2 → 3.0",)),
    ]
    assert counted(found) == {
        "minimisation": {"added": 1, "removed": 1},
        "frameworks": {"changed": 1},
        "settings": {"changed": 1},
    }
