"""The posture of a day or a period in numbers, by control, criterion, tag, platform or owner."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from server.catalog.catalog import Catalog
from server.evaluate.verdicts import FAIL
from server.report.asked import Asked, AskedError
from server.report.numbers import Numbers, count_all
from server.store.applications import tags_of
from server.store.driver import Transaction
from server.store.numbers import (
    CONTROL,
    DEVICE,
    Among,
    JudgedControl,
    KnownDevice,
    counted_runs,
    days_judged,
    devices_counted,
    devices_failing,
    devices_of_controls,
    failing_pairs,
    judged_controls,
    known_devices,
    open_failures,
    remedied,
)

Group = tuple[str, ...]
"""A control, a framework and its criterion, a tag, a platform or an owner; empty for what has none."""
_NAMES = {"control": ("control",), "criterion": ("framework", "criterion")}


@dataclass(frozen=True, slots=True)
class Posture:
    """The numbers of every group and of the whole fleet, in which each verdict is counted once."""

    asked: Asked
    days: Mapping[str, bool]
    """The days that were judged, each with whether it is still open."""
    controls: Sequence[JudgedControl]
    fleet: Numbers
    groups: Mapping[Group, Numbers]

    @property
    def provisional(self) -> bool:
        """Whether some day of it may still change without a trace."""
        return any(self.days.values())

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        titles = {one.control: {"title": one.title, "severity": one.severity} for one in self.controls}
        names = _NAMES.get(self.asked.by, (self.asked.by,))
        return {
            "by": self.asked.by,
            "from": self.asked.first,
            "to": self.asked.last,
            "days": len(self.days),
            "provisional": int(self.provisional),
            "fleet": self.fleet.as_dict(),
            "groups": [
                {
                    **dict(zip(names, group or (None,) * len(names), strict=True)),
                    **(titles[group[0]] if self.asked.by == "control" else {}),
                    **numbers.as_dict(),
                }
                for group, numbers in self.groups.items()
            ],
        }


@dataclass(slots=True)
class _Groups:
    """The groups a control or a device is in, by its number and by its name."""

    of: dict[int, list[Group]] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)

    def named(self, name: str) -> list[Group]:
        return self.of.get(self.names.get(name, -1), [])


async def posture(tx: Transaction, catalog: Catalog, asked: Asked) -> Posture:
    """Count what is asked for. Raises ``AskedError`` for a control or device that there never was."""
    await refuse_unknown(tx, catalog, asked.among)
    days = await days_judged(tx, asked.first, asked.last)
    controls = await judged_controls(tx, asked.among, asked.first, asked.last)
    per = CONTROL if asked.by in _NAMES else DEVICE
    groups = _by_control(controls, catalog, asked) if per == CONTROL else await _by_device(tx, asked)
    runs = await counted_runs(tx, asked.among, controls, asked.first, per)
    listed = {group for found in groups.of.values() for group in found} if per == CONTROL else set()
    numbers, fleet = count_all(runs, groups.of, sorted(listed))
    await _devices(tx, asked, controls, groups, numbers, fleet, {run.key for run in runs})
    await _failures(tx, asked, groups, numbers, fleet, per)
    return Posture(asked, days, controls, fleet, dict(sorted(numbers.items(), key=lambda one: (not one[0], one[0]))))


async def refuse_unknown(tx: Transaction, catalog: Catalog, among: Among) -> None:
    """Raise ``AskedError`` for a control or a device that there never was."""
    for control in among.controls or ():
        known = control in catalog.controls or await tx.row(
            "SELECT 1 FROM muster_controls WHERE control = ?", (control,)
        )
        if not known:
            raise AskedError(f"there is no control {control!r}, and never was")
    device = among.device_id
    if device is not None and not await tx.row("SELECT 1 FROM muster_devices WHERE device_id = ?", (device,)):
        raise AskedError(f"there is no device {device!r}")


def _by_control(controls: Iterable[JudgedControl], catalog: Catalog, asked: Asked) -> _Groups:
    found = _Groups()
    for one in controls:
        found.names[one.control] = one.control_no
        if asked.by == "control":
            found.of[one.control_no] = [(one.control,)]
            continue
        found.of[one.control_no] = [
            (framework, name)
            for framework, known in catalog.frameworks.items()
            for name, criterion in known.criteria.items()
            if any(control == one.control for control, _ in criterion.controls)
        ] or [()]
    return found


async def _by_device(tx: Transaction, asked: Asked) -> _Groups:
    found = _Groups()
    for device in await known_devices(tx, asked.among):
        found.names[device.device_id] = device.device_no
        found.of[device.device_no] = _groups_of(device, asked.by)
    return found


def _groups_of(device: KnownDevice, by: str) -> list[Group]:
    if by == "tag":
        return [(tag,) for tag in sorted(tags_of(device.tags))] or [()]
    value = device.platform if by == "platform" else device.owner
    return [(value,) if value else ()]


async def _devices(
    tx: Transaction,
    asked: Asked,
    controls: Sequence[JudgedControl],
    groups: _Groups,
    numbers: Mapping[Group, Numbers],
    fleet: Numbers,
    seen: Iterable[int],
) -> None:
    """Count devices: those with a verdict, and those that failed."""
    fleet.devices = await devices_counted(tx, asked.among, controls, asked.first)
    if asked.by == "control" and asked.first == asked.last:
        fleet.devices_failing = await devices_failing(tx, asked.among, controls, asked.first)
        for found in numbers.values():
            found.devices, found.devices_failing = found.in_scope, found.counts[FAIL]
        return
    pairs = await failing_pairs(tx, asked.among, controls, asked.first)
    fleet.devices_failing = len({device for _, device in pairs})
    place = 0 if asked.by in _NAMES else 1
    failing: dict[Group, set[int]] = {}
    for pair in pairs:
        for group in groups.of.get(pair[place], ()):
            failing.setdefault(group, set()).add(pair[1])
    counted = await _devices_by_group(tx, asked, controls, groups, seen)
    for group, found in numbers.items():
        found.devices, found.devices_failing = counted[group], len(failing.get(group, ()))


async def _devices_by_group(
    tx: Transaction, asked: Asked, controls: Sequence[JudgedControl], groups: _Groups, seen: Iterable[int]
) -> Counter[Group]:
    if asked.by not in _NAMES:
        return Counter(group for device in seen for group in groups.of.get(device, ()))
    complete, others = await devices_of_controls(tx, asked.among, controls, asked.first)
    counted = Counter(dict.fromkeys((group for found in groups.of.values() for group in found), complete))
    for theirs in others.values():
        counted.update({group for control_no in theirs for group in groups.of[control_no]})
    return counted


async def _failures(
    tx: Transaction, asked: Asked, groups: _Groups, numbers: Mapping[Group, Numbers], fleet: Numbers, per: str
) -> None:
    for name, (count, since) in (await open_failures(tx, asked.among, asked.last, per)).items():
        fleet.add_open(count, since)
        for group in groups.named(name):
            if group in numbers:
                numbers[group].add_open(count, since)
    for failure in await remedied(tx, asked.among, asked.first, asked.last):
        fleet.add_remedied(failure)
        for group in groups.named(failure.control if per == CONTROL else failure.device_id):
            if group in numbers:
                numbers[group].add_remedied(failure)
