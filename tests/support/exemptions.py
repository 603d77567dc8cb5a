"""Exemptions as tests of other things need them: asked and approved at once, at any instant."""

from __future__ import annotations

from datetime import date

from server.store.exempting import Asked, By, Terms, grant
from server.store.store import Store


async def exempt_device(
    store: Store, device_id: str, control: str, last_day: str, now: float, *, reason: str = "a test", asked: str = "Ann"
) -> str:
    """Exempt a device from a control from the day of ``now`` to ``last_day``, approved by Bob; returns the id."""
    what = Asked(
        control=control,
        scope="device",
        subject=device_id,
        last_day=date.fromisoformat(last_day),
        reason=reason,
        requested_by=asked,
    )
    return await store.write(lambda tx: grant(tx, what, By("Bob"), Terms((control,), 3660), now))
