"""The verdicts a fair judge would reach, from what the simulator itself knows was true. Knows no rule and no row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from server.catalog.catalog import Catalog, LoadedControl
from server.catalog.packs import Pack
from server.catalog.targets import TargetedDevice
from server.simulate import areas, company
from server.simulate.company import Company
from server.simulate.device import Device
from server.simulate.judging import ERROR, EXEMPT, FAIL, NO_DATA, NOT_APPLICABLE, STALE, Finding
from server.simulate.ledger import ANSWERED, DENIED, FAILED, Ledger, Word
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


JUDGED = frozenset(areas.JUDGES) | frozenset(company.JUDGES)
"""The controls with an expectation."""


class Judge:
    """Expects verdicts for every day from ``first`` to ``last``, days counted since 1970 in UTC.

    ``wrote`` is what the company has written down of the fleet.
    """

    def __init__(
        self, catalog: Catalog, wrote: Company, first: int, last: int, exempted: tuple[Exempted, ...] = ()
    ) -> None:
        self._catalog = catalog
        self._wrote = wrote
        self._days = [(day, date_of(day)) for day in range(first, last + 1)]
        self._exempted = exempted

    def expected(self, device: Device, ledger: Ledger, controls: Collection[str] = JUDGED) -> Iterator[Expected]:
        """The verdicts a device deserves on some controls."""
        reaching = self._reaching(device, ledger)
        for loaded in self._catalog.judged():
            control = loaded.control_id
            if control not in controls or control not in JUDGED:
                continue
            reached = any(control in pack.controls for pack in reaching)
            exempted = [one for one in self._exempted if (one.hostname, one.control) == (device.hostname, control)]
            for day, date_ in self._days:
                status, why = self._verdict(device, ledger, loaded, day) if reached else _NOT_REACHED
                if status != NOT_APPLICABLE and any(one.first_day <= date_ <= one.last_day for one in exempted):
                    status, why = EXEMPT, f"exempted; it would be {status}: {why}"
                yield Expected(
                    device=device.hostname,
                    hardware_uuid=device.hardware_uuid,
                    control=control,
                    day=date_.isoformat(),
                    status=status,
                    why=why,
                )

    def _reaching(self, device: Device, ledger: Ledger) -> list[Pack]:
        """The packs that reach a device: by platform, by tags, and by the version of osquery it has in the end.

        A percentage of devices goes by an id that only the server knows, so such a pack would be expected at random.
        """
        words = [max(days.values(), key=lambda word: word.at) for days in ledger.words.values()]
        last = max(words, key=lambda word: word.at, default=None)
        version = last.state.agent if last else ""
        known = TargetedDevice(device.hostname, device.platform, version, self._wrote.tags(device))
        return [pack for pack_id, pack in self._catalog.packs.items() if pack.reaches(pack_id, known)]

    def _verdict(self, device: Device, ledger: Ledger, loaded: LoadedControl, day: int) -> Finding:
        if ledger.first_at is None or ledger.first_at // DAY > day:
            return NOT_APPLICABLE, "the device had not joined the fleet yet"
        rule = loaded.control.judging_rule(device.platform)
        if rule is None:
            return NOT_APPLICABLE, "the control says nothing of this platform"
        oldest = day - loaded.control.fresh_within_days
        found = [(name, _last_word(ledger.words.get(name, {}), day, oldest)) for name in rule.queries]
        silences = [_silence(ledger.words.get(name, {}), name, day) for name, word in found if word is None]
        if silences:
            return min(silences, key=lambda silence: silence[0] != NO_DATA)
        words = [(name, word) for name, word in found if word is not None]
        for kind, said in _NO_ANSWERS.items():
            if failed := next((name for name, word in words if word.kind == kind), None):
                return ERROR, said.format(failed)
        # Of several queries the one that was answered last; what they are of changes between days.
        state = max((word for _, word in words), key=lambda word: word.at).state
        if loaded.control_id in company.JUDGES:
            return company.JUDGES[loaded.control_id](state, self._wrote, day)
        return areas.JUDGES[loaded.control_id](state)


_NO_ANSWERS = {FAILED: "{} failed when it last ran that day", DENIED: "osquery has denylisted {}"}


def _last_word(words: Mapping[int, Word], day: int, oldest: int) -> Word | None:
    return next((words[back] for back in range(day, oldest, -1) if back in words), None)


_NOT_REACHED: Finding = NOT_APPLICABLE, "no pack brings the control to the device"


def _silence(words: Mapping[int, Word], query: str, day: int) -> tuple[str, str]:
    """A query whose every earlier answer was lost to a failure never answered; so did one that was never scheduled."""
    if any(past < day and word.kind == ANSWERED for past, word in words.items()):
        return STALE, "the device was not awake that day"
    return NO_DATA, f"the device never answered {query}"


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
