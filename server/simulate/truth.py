"""The verdicts a fair judge would reach, from what the simulator itself knows was true. Knows no rule and no row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from server.catalog.catalog import Catalog
from server.simulate.areas import JUDGES
from server.simulate.device import Device
from server.simulate.judging import ERROR, EXEMPT, FAIL, NO_DATA, NOT_APPLICABLE, STALE, Judge
from server.simulate.ledger import ANSWERED, FAILED, Ledger, Word
from server.simulate.presence import DAY, date_of

EXEMPTIONS = {
    "system-volume-encrypted": "The disk is encrypted by the host of this virtual machine, out of the system's sight.",
    "release-supported": "Support beyond the release's end was bought until the laboratory's instrument is replaced.",
}
"""Controls that one failing device each is exempted from, with the reason given."""


@dataclass(frozen=True, slots=True)
class Exempted:
    """An exemption that was granted; both days are included."""

    hostname: str
    control: str
    first_day: date
    last_day: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """The verdict a device deserves on a control and day, and why."""

    device: str
    hardware_uuid: str
    control: str
    day: str
    status: str
    why: str

    def as_dict(self) -> dict[str, str]:
        """For ``--truth``: one JSON object a line."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def expected(
    catalog: Catalog, device: Device, ledger: Ledger, first: int, last: int, exempted: tuple[Exempted, ...] = ()
) -> Iterator[Expected]:
    """The verdicts of a device for every day from ``first`` to ``last``, days counted since 1970 in UTC."""
    for loaded in catalog.judged():
        judge = JUDGES.get(loaded.control_id)
        if judge is None:
            continue
        rule = loaded.control.platforms.get(device.platform)  # type: ignore[call-overload]
        query = rule.query if rule and rule.confidence != "draft" else None
        for day in range(first, last + 1):
            status, why = _verdict(ledger, query, judge, day, loaded.control.fresh_within_days)
            if status != NOT_APPLICABLE and _is_exempted(exempted, device, loaded.control_id, day):
                status, why = EXEMPT, f"exempted; it would be {status}: {why}"
            yield Expected(
                device=device.hostname,
                hardware_uuid=device.hardware_uuid,
                control=loaded.control_id,
                day=date_of(day).isoformat(),
                status=status,
                why=why,
            )


def _verdict(
    ledger: Ledger, query: str | None, judge: Judge, day: int, fresh_days: int
) -> tuple[str, str]:
    if ledger.first_at is None or ledger.first_at // DAY > day:
        return NOT_APPLICABLE, "the device had not joined the fleet yet"
    if query is None:
        return NOT_APPLICABLE, "the control says nothing of this platform"
    words = ledger.words.get(query, {})
    word = next((words[back] for back in range(day, day - fresh_days, -1) if back in words), None)
    if word is None:
        return _silence(words, query, day)
    if word.kind == ANSWERED:
        return judge(word.state)
    if word.kind == FAILED:
        return ERROR, f"{query} failed when it last ran that day"
    return ERROR, f"osquery has denylisted {query}"


def _silence(words: Mapping[int, Word], query: str, day: int) -> tuple[str, str]:
    """A query whose every earlier answer was lost to a failure never answered; so did one that was never scheduled."""
    if any(past < day and word.kind == ANSWERED for past, word in words.items()):
        return STALE, "the device was not awake that day"
    return NO_DATA, f"the device never answered {query}"


def _is_exempted(exempted: tuple[Exempted, ...], device: Device, control: str, day: int) -> bool:
    today = date_of(day)
    return any(
        entry.hostname == device.hostname and entry.control == control and entry.first_day <= today <= entry.last_day
        for entry in exempted
    )


def worth_exempting(
    truth: Sequence[Expected], controls: Sequence[str], first: date, last: date
) -> tuple[Exempted, ...]:
    """For each control the device that fails it on most days from ``first`` on, exempted until ``last``."""
    chosen = []
    for control in controls:
        fails = Counter(
            entry.device
            for entry in truth
            if (entry.control, entry.status) == (control, FAIL) and date.fromisoformat(entry.day) >= first
        )
        if fails:
            device = max(sorted(fails), key=lambda name: fails[name])
            chosen.append(Exempted(device, control, first, last))
    return tuple(chosen)
