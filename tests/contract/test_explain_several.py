"""Explanations of a rule of several queries: its evidence, every query's answer, and the one that is missing."""

from __future__ import annotations

from pathlib import Path

from server.evaluate.evidence import Evidence
from server.report import explanation as words
from tests.contract.test_explain import says, text, told
from tests.contract.test_judge import fleet
from tests.support.stores import add_device

CONTROL = "daily-work-without-admin-rights"
BOTH, ANN, BOB = {"account": "ann", "through": "sudo"}, {"account": "ann"}, {"account": "bob"}


def shown(evidence: Evidence | None) -> list[dict[str, object]]:
    assert evidence is not None
    return [{cell.column: cell.value for cell in row.cells} for row in evidence.rows]


async def test_a_rule_of_several_queries(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        await says(f, laptop, "local_admins", 8, BOTH)
        await says(f, laptop, "accounts_in_use", 9, ANN)
        await says(f, laptop, "accounts_in_use", 11, BOB)
        await says(f, laptop, "local_admins", 32, BOTH)
        await says(f, laptop, "accounts_in_use", 33, ANN)
        await says(f, laptop, "local_admins", 56, BOTH)
        await f.judge(0, 1, 2)

        lapsed = await told(f, 0, control=CONTROL)
        assert (lapsed.verdict.status, lapsed.verdict.lapsed, lapsed.as_stored_now) == ("pass", 1, None)
        (lapse,) = lapsed.lapses
        assert (lapse.at, lapse.until) == ("2026-09-01T09:00:00Z", "2026-09-01T11:00:00Z")
        assert shown(lapse.evidence) == [{"account": "ann", "through": "sudo"}]

        failed = await told(f, 1, control=CONTROL)
        assert (failed.verdict.status, failed.verdict.reason, failed.as_stored_now) == ("fail", "rule_not_met", None)
        assert shown(failed.evidence) == [{"account": "ann", "through": "sudo"}]
        assert [said.query.query for said in failed.observations] == [one.query for one in failed.rule.queries]  # type: ignore[union-attr]
        assert words.rows_heading(failed).startswith("1 row of ")
        assert "accounts_in_use: 2 Sep 2026, 09:00 UTC: answered." in text(failed)

        stale = await told(f, 2, control=CONTROL)
        assert (stale.verdict.reason, stale.as_stored_now) == ("too_old", None)
        assert stale.missing is not None
        assert [one.query.query for one in stale.missing.answers] == ["accounts_in_use"]
