"""Several that judge one database at once come to what one would come to."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from server.evaluate import judge, prepared
from server.evaluate.judge import evaluate
from server.evaluate.prepared import BrokenOffError, Judging
from server.evaluate.record import Change, Grounds
from server.evaluate.revisit import judge_news
from server.normalize.times import iso
from server.store.lease import lease
from server.store.turns import JUDGING, NEXT, TURN_SECONDS, TurnLostError, Turns
from tests.contract.test_judge import CONTROL, FIRST, ROOT, TOOR, Fleet, fleet
from tests.support.stores import add_device, rows

Written = Mapping[int, int]


async def waits(f: Fleet, task: asyncio.Task[Any]) -> None:
    """Until somebody waits for a turn, or is done without."""
    while not task.done() and await f.store.read(lambda tx: lease(tx, NEXT)) is None:  # noqa: ASYNC110 - in the database
        await asyncio.sleep(0.01)


async def test_an_older_view_does_not_win_over_what_was_judged_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        await f.users(laptop, 0, 9, ROOT)
        write = judge._write
        other: list[asyncio.Task[bool]] = []

        async def later(judging: Judging, day: str, part: Sequence[Change], grounds: Grounds) -> Written:
            if not other:
                await f.users(laptop, 0, 12, ROOT, TOOR)
                other.append(asyncio.create_task(judge_news(f.store)))
                await waits(f, other[0])
            return await write(judging, day, part, grounds)

        monkeypatch.setattr(judge, "_write", later)
        await evaluate(f.store, FIRST, FIRST)
        assert await other[0]
        assert await rows(f.store, "SELECT COUNT(*) FROM muster_news") == [(0,)]
        assert (await f.verdicts(laptop))[0][0] == "fail"
        assert await rows(f.store, "SELECT name FROM muster_leases") == [], "turns are given up"


async def test_who_waits_comes_before_the_next_day_of_who_judges(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        first, second = Turns(f.store.write), Turns(f.store.write)
        had: list[str] = []

        async def take(turns: Turns, name: str) -> None:
            async with turns.one(lambda: True) as mine:
                assert mine
                had.append(name)

        async with first.one(lambda: True):
            waiting = asyncio.create_task(take(second, "second"))
            await waits(f, waiting)
        await take(first, "first")
        await waiting
        assert had == ["second", "first"]


async def test_nobody_waits_longer_than_it_should_go_on(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f, Turns(f.store.write).one(lambda: True):
        assert not await judge_news(f.store, going_on=lambda: False)
        assert await evaluate(f.store, FIRST, FIRST, going_on=lambda: False) == []
        judging = await prepared.begin(f.store, lambda: False)
        with pytest.raises(BrokenOffError):
            async with judging.turn():
                pytest.fail("it is another's turn")


async def test_who_gave_no_sign_of_life_is_followed_by_another_and_writes_no_more(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        await f.users(laptop, 0, 9, ROOT)
        gone, comes = Turns(f.store.write), Turns(f.store.write)
        async with gone.one(lambda: True):
            async with comes.one(lambda: False) as had:
                assert not had
            long_ago = (iso(0), iso(TURN_SECONDS), JUDGING)
            await f.store.write(
                lambda tx: tx.run("UPDATE muster_leases SET acquired_at = ?, expires_at = ? WHERE name = ?", long_ago)
            )
            await gone.write(lambda tx: tx.run("DELETE FROM muster_news"))  # nobody has followed yet
            async with comes.one(lambda: True) as had:
                assert had
                with pytest.raises(TurnLostError):
                    await gone.write(lambda tx: tx.run("DELETE FROM muster_devices"))
                gone._renew_at = 0.0
                with pytest.raises(TurnLostError):
                    await gone.keep()
        await f.judge(0)
        assert (await f.verdicts(laptop))[0][0] == "pass"
        assert await rows(f.store, "SELECT COUNT(*) FROM posture WHERE control = ?", (CONTROL,)) == [(1,)]
