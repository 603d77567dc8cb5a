"""The gate in front of bodies: first come, first served, as long as they fit, and not for ever."""

from __future__ import annotations

import asyncio

import pytest

from server.api.gate import BusyError, Gate


async def test_bodies_wait_for_room_in_the_order_they_came() -> None:
    gate = Gate(capacity=10, seconds=60)
    served: list[str] = []

    async def body(name: str, size: int, until: asyncio.Event) -> None:
        async with gate.place(size):
            served.append(name)
            await until.wait()

    first, later = asyncio.Event(), asyncio.Event()
    later.set()
    tasks = [asyncio.create_task(body("a", 8, first))]
    tasks += [asyncio.create_task(body(name, size, later)) for name, size in (("b", 5), ("c", 1))]
    await asyncio.sleep(0)
    assert served == ["a"]  # c would fit, but b came before
    first.set()
    await asyncio.gather(*tasks)
    assert served == ["a", "b", "c"]


async def test_a_body_larger_than_the_gate_goes_alone() -> None:
    gate = Gate(capacity=10, seconds=0.01)
    async with gate.place(10**9):
        with pytest.raises(BusyError):
            async with gate.place(1):
                pass
    await asyncio.wait_for(gate.enter(10), 1)


async def test_who_gives_up_or_is_turned_away_leaves_no_trace() -> None:
    gate = Gate(capacity=10, seconds=0.01)
    async with gate.place(10):
        for _ in range(3):
            with pytest.raises(BusyError):
                await gate.enter(4)
        waiting = asyncio.create_task(gate.enter(4))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    await gate.enter(10)
    gate.leave(10)
