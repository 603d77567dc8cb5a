"""The verdicts a fair judge would reach, from what the simulator itself knows was true. Knows no rule and no row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from server.catalog.catalog import Catalog, LoadedControl
from server.catalog.targets import TargetedDevice
from server.simulate import areas, company
from server.simulate.company import Company
from server.simulate.device import Device
from server.simulate.judging import ERROR, EXEMPT, FAIL, NO_DATA, NOT_APPLICABLE, STALE, Finding
from server.simulate.ledger import ANSWERED, FAILED, Ledger, Word
from server.simulate.presence import DAY, date_of

EXEMPTIONS = {
    "system-volume-encrypted": "The disk is encrypted by the host of this virtual machine, out of the system's sight.",
    "release-supported": "Support beyond the release's end was bought until the laboratory's instrument is replaced.",
}
"""Controls that one failing device each is exempted from, with the reason given."""


_NOBODY = Company()


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


JUDGED = frozenset(areas.JUDGES) | frozenset(company.JUDGES)
"""The controls with an expectation."""


def expected(
    catalog: Catalog,
    device: Device,
    ledger: Ledger,
    first: int,
    last: int,
    exempted: tuple[Exempted, ...] = (),
    wrote: Company = _NOBODY,
) -> Iterator[Expected]:
    """The verdicts of a device for every day from ``first`` to ``last``, days counted since 1970 in UTC.

    ``wrote`` is what the company has written down of the fleet.
    """
    for loaded in catalog.judged():
        if loaded.control_id not in JUDGED:
            continue
        rule = loaded.control.platforms.get(device.platform)  # type: ignore[call-overload]
        query = rule.query if rule and rule.confidence != "draft" else None
        reached = _reached(catalog, loaded.control_id, device, ledger, wrote)
        for day in range(first, last + 1):
            if not reached:
                status, why = NOT_APPLICABLE, "no pack brings the control to the device"
            else:
                status, why = _verdict(ledger, query, loaded, day, wrote)
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


def _reached(catalog: Catalog, control_id: str, device: Device, ledger: Ledger, wrote: Company) -> bool:
    """Whether a pack that reaches the device asks for the control.

    Packs may go by tags and osquery's version; the share of a percentage goes by an id that only the server knows.
    """
    last = max((word for days in ledger.words.values() for word in days.values()), key=lambda word: word.at, default=None)
    known = TargetedDevice(device.hostname, device.platform, last.state.agent if last else "", wrote.tags(device))
    return any(
        control_id in pack.controls and pack.reaches(pack_id, known)
        for pack_id, pack in catalog.packs.items()
    )


def _verdict(ledger: Ledger, query: str | None, loaded: LoadedControl, day: int, wrote: Company) -> Finding:
    if ledger.first_at is None or ledger.first_at // DAY > day:
        return NOT_APPLICABLE, "the device had not joined the fleet yet"
    if query is None:
        return NOT_APPLICABLE, "the control says nothing of this platform"
    words = ledger.words.get(query, {})
    word = next((words[back] for back in range(day, day - loaded.control.fresh_within_days, -1) if back in words), None)
    if word is None:
        return _silence(words, query, day)
    if word.kind == ANSWERED:
        if loaded.control_id in company.JUDGES:
            return company.JUDGES[loaded.control_id](word.state, wrote, day)
        return areas.JUDGES[loaded.control_id](word.state)
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
