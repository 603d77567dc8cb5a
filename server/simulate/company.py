"""What the company behind a fleet has written down: its roster, its asset register, and the tags in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from server.catalog.assets import Asset
from server.catalog.people import Person, key_digest
from server.simulate.areas.credentials import ROOT_KEY
from server.simulate.device import PARTS, PLACEHOLDER_SERIAL, Device
from server.simulate.judging import ERROR, FAIL, NOT_APPLICABLE, PASS, Finding
from server.simulate.presence import Span, date_of, window
from server.simulate.state import State

LISTS_TAG, SERVER_TAG = "company-lists", "server"
_LISTS_EVERY, _UNREGISTERED_EVERY = 5, 13
"""Of so many devices one is held to the company's own lists (of the first ones most), and is not in the register."""
_LEAVERS = ("departed", "lost_answers", "clock_ahead")
"""Parts of laptops whose owners leave."""


@dataclass(frozen=True, slots=True)
class Company:
    """What was imported of a fleet's people and machines; nothing if ``devices`` are none."""

    devices: tuple[Device, ...] = ()
    last_days: Mapping[str, int] = field(default_factory=dict)
    """The last days, since 1970, of the owners who have left or will."""

    serials: frozenset[str] = frozenset()
    """Of the devices in the register."""

    @property
    def wrote(self) -> bool:
        """Whether anything was imported."""
        return bool(self.devices)

    def tags(self, device: Device) -> frozenset[str]:
        """The tags the register gives a device."""
        if not (self.wrote and _registered(device)):
            return frozenset()
        found = [SERVER_TAG] if device.kind == "server" else []
        place = device.index % _LISTS_EVERY
        if place == 1 or (place and device.index < len(PARTS)):
            found.append(LISTS_TAG)
        return frozenset(found)

    @property
    def key_owner(self) -> str:
        """Whose the key is that opens the root account of a few servers; nobody's if none has left."""
        return min(self.last_days, default="")

    def holds(self, serial: str) -> bool:
        """Whether the register has a device."""
        return serial in self.serials

    def left(self, owner: str, day: int) -> bool:
        """Whether an owner's last day was before a day."""
        return owner in self.last_days and self.last_days[owner] < day

    def assets(self) -> Iterator[Asset]:
        """The register's entries."""
        for device in self.devices:
            if _registered(device):
                yield Asset(
                    serial=device.serial.lower(),
                    shown=device.serial,
                    hostname=device.hostname,
                    platform=device.platform,
                    model=device.model.model,
                    owner=_address(device.owner) if device.kind == "laptop" else "operations",
                    tags=",".join(sorted(self.tags(device))),
                )

    def people(self) -> Iterator[Person]:
        """The roster's entries: every laptop's owner."""
        for owner in sorted({device.owner for device in self.devices if device.kind == "laptop"}):
            last = self.last_days.get(owner)
            yield Person(
                person=owner,
                name=owner.replace(".", " ").title(),
                email=_address(owner),
                last_day=None if last is None else date_of(last).isoformat(),
                accounts=(owner,),
                keys={key_digest(ROOT_KEY): "root's"} if owner == self.key_owner else {},
            )


def company_of(devices: Iterable[Device], span: Span) -> Company:
    """The company of a fleet. Owners of devices that fall silent for good have left, and of a few that do not."""
    fleet = tuple(devices)
    last_days = {
        device.owner: window(device, span)[0] - 1
        for device in fleet
        if device.kind == "laptop" and device.part in _LEAVERS
    }
    return Company(fleet, last_days, frozenset(device.serial for device in fleet if _registered(device)))


def _address(owner: str) -> str:
    return f"{owner}@example.com"


def _registered(device: Device) -> bool:
    return device.serial != PLACEHOLDER_SERIAL and device.index % _UNREGISTERED_EVERY != 6


def _account(state: State, company: Company, day: int) -> Finding:
    if not company.wrote:
        return NOT_APPLICABLE, "nobody said who has left"
    if state.kind == "server" or not company.left(state.owner, day):
        return PASS, "nobody who left has an account"
    if state.platform == "linux" and state["empty_passwords"] == "unread":
        return ERROR, "nobody can say whether an account has expired"
    return FAIL, f"{state.owner} has left and has an account"


def _session(state: State, company: Company, day: int) -> Finding:
    if not company.wrote:
        return NOT_APPLICABLE, "nobody said who has left"
    if state.kind == "laptop" and company.left(state.owner, day):
        return FAIL, f"{state.owner} has left and is logged in"
    return PASS, "nobody who left is logged in"


def _keys(state: State, company: Company, day: int) -> Finding:
    if not company.wrote:
        return NOT_APPLICABLE, "nobody said who has left"
    if state["root_key"] == "unknown" and company.left(company.key_owner, day):
        return FAIL, f"{company.key_owner} has left, and a key of theirs opens root's account"
    return PASS, "no key of anybody who left opens an account"


def _returned(state: State, company: Company, day: int) -> Finding:
    if state.serial == PLACEHOLDER_SERIAL:
        return ERROR, "the serial number is a placeholder"
    if not company.wrote:
        return NOT_APPLICABLE, "nobody said who has left"
    if state.kind == "laptop" and company.holds(state.serial) and company.left(state.owner, day):
        return FAIL, f"{state.owner} has left and the device is in use"
    return PASS, "the device is nobody's who left"


def _register(state: State, company: Company, _day: int) -> Finding:
    if state.serial == PLACEHOLDER_SERIAL:
        return ERROR, "the serial number is a placeholder"
    if not company.wrote:
        return NOT_APPLICABLE, "there is no register"
    known = company.holds(state.serial)
    return (PASS, "the register has the device") if known else (FAIL, "the register does not have the device")


JUDGES = {
    "departed-user-account-absent": _account,
    "departed-user-session-absent": _session,
    "departed-user-ssh-keys-absent": _keys,
    "departed-device-returned": _returned,
    "departed-device-not-checking-in": _returned,
    "asset-register-match": _register,
}
"""By control: what it means in terms of the company's files as of a day and a device's facts."""
