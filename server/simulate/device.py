"""One device of the fleet: what never changes about it, and the part it plays."""

from __future__ import annotations

from dataclasses import dataclass

from server.simulate.dice import Dice
from server.simulate.models import FIRST_NAMES, LAST_NAMES, MODELS, SITES, Model, Site

PARTS: dict[str, tuple[str, ...]] = {
    "unencrypted": ("darwin", "windows", "linux"),
    "encrypted_later": ("darwin", "windows", "linux"),
    "decrypted": ("darwin", "windows", "linux"),
    "unsupported": ("darwin", "windows", "linux"),
    "upgraded_late": ("darwin", "windows", "linux"),
    "old_agent": ("darwin", "windows", "linux"),
    "agent_updated": ("darwin", "windows", "linux"),
    "guest_on": ("darwin", "windows"),
    "guest_unset": ("darwin",),
    "second_root": ("darwin", "linux"),
    "telnet": ("darwin", "windows", "linux"),
    "prohibited": ("darwin", "windows", "linux"),
    "departed": ("darwin", "windows", "linux"),
    "failing": ("darwin", "windows", "linux"),
    "denylisted": ("darwin", "windows", "linux"),
    "old_config": ("darwin", "windows", "linux"),
    "holiday": ("darwin", "windows", "linux"),
    "offline": ("darwin", "windows", "linux"),
    "clock_ahead": ("darwin", "windows", "linux"),
    "clock_behind": ("darwin", "windows", "linux"),
    "clone": ("windows",),
    "clone_too": ("windows",),
    "lost_answers": ("darwin", "windows", "linux"),
    "joined_late": ("darwin", "windows", "linux"),
    "plain": ("darwin", "windows", "linux"),
    "plain_server": ("linux", "windows"),
}
"""The parts devices play, with the platforms each can be played on."""
PLAIN = ("plain", "plain_server")
LAPTOP_ONLY = ("departed", "holiday", "offline", "guest_on", "prohibited", "encrypted_later")

PLACEHOLDER_UUID = "03000200-0400-0500-0006-000700080009"
PLACEHOLDER_SERIAL = "To be filled by O.E.M."
SKEW_SECONDS = 240


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A simulated device. ``index`` counts from 0; ``skew`` is how far its clock is ahead, in seconds."""

    index: int
    part: str
    platform: str
    kind: str
    hostname: str
    hardware_uuid: str
    serial: str
    owner: str
    site: Site
    model: Model
    skew: int
    seed: int

    @property
    def dice(self) -> Dice:
        """This device's own chances."""
        return Dice(self.seed, "device", self.index)


def make_device(seed: int, index: int) -> Device:
    """The device of that index in the fleet of that seed."""
    dice = Dice(seed, "device", index)
    part = part_of(seed, index)
    platform = _platform(dice, part, index)
    kind = _kind(dice, part, platform)
    site = dice.pick(SITES, "site")
    clone = part.startswith("clone")
    prefix = {"darwin": "mac", "windows": "win", "linux": "lin"}[platform]
    return Device(
        index=index,
        part=part,
        platform=platform,
        kind=kind,
        hostname=f"{site.name}-{prefix}-{'srv' if kind == 'server' else 'lt'}-{index + 1:04}",
        hardware_uuid=PLACEHOLDER_UUID if clone else dice.uuid("hardware").upper(),
        serial=PLACEHOLDER_SERIAL if clone else dice.hexadecimal(10, "serial").upper(),
        owner=f"{dice.pick(FIRST_NAMES, 'first')}.{dice.pick(LAST_NAMES, 'last')}",
        site=site,
        model=dice.pick(MODELS[platform, kind], "model"),
        skew={"clock_ahead": SKEW_SECONDS, "clock_behind": -SKEW_SECONDS}.get(part, 0),
        seed=seed,
    )


def part_of(seed: int, index: int) -> str:
    """The part a device plays: all of them among the first devices, from then on every other device is a plain one."""
    parts = list(PARTS)
    block, place = (0, index) if index < len(parts) else divmod(index - len(parts), 2 * len(parts))
    if index >= len(parts):
        parts += [PLAIN[at % len(PLAIN)] if at % 4 == 0 else PLAIN[0] for at in range(len(parts))]
        block += 1
    return Dice(seed, "parts", block).shuffled(parts)[place]


def _platform(dice: Dice, part: str, index: int) -> str:
    """The first devices, which show every part, are as many of each platform as their parts allow."""
    wanted = (index % 3 + 0.5) / 3 if index < len(PARTS) else dice.share("platform")
    platform = "darwin" if wanted < 0.45 else "windows" if wanted < 0.75 else "linux"
    return platform if platform in PARTS[part] else dice.pick(PARTS[part], "other platform")


def _kind(dice: Dice, part: str, platform: str) -> str:
    if part == "plain_server":
        return "server"
    if part in LAPTOP_ONLY:
        return "laptop"
    return "server" if dice.chance({"darwin": 0.05, "windows": 0.25, "linux": 0.7}[platform], "kind") else "laptop"
