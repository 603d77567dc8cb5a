"""Which machine a line was made on, as the decorations of our config say, and whether that is the one it should be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from server.normalize.devices import usable_serial, usable_uuid
from server.normalize.text import clean_text

UUID_DECORATION, SERIAL_DECORATION = "muster_uuid", "muster_serial"


class Machine(NamedTuple):
    """A hardware UUID and a serial, as a machine tells them; empty where it does not."""

    uuid: str
    serial: str

    def contradicts(self, other: Machine) -> bool:
        """Whether these are two machines.

        What one of them does not tell, or tells with a placeholder, is no evidence; nor is upper or lower case.
        """
        return any(
            ours and theirs and ours != theirs
            for ours, theirs in (
                (usable_uuid(self.uuid), usable_uuid(other.uuid)),
                (usable_serial(self.serial), usable_serial(other.serial)),
            )
        )

    @property
    def known(self) -> bool:
        """Whether anything told is evidence."""
        return bool(usable_uuid(self.uuid) or usable_serial(self.serial))

    def __str__(self) -> str:
        return f"uuid {self.uuid or 'unknown'}, serial {self.serial or 'unknown'}"


UNKNOWN = Machine("", "")


class Decorated(Protocol):
    """A line of either log."""

    @property
    def decorations(self) -> Mapping[str, Any]:
        """What the config had osquery add to it."""


def all_from(lines: Iterable[Decorated], own: Machine) -> bool:
    """Whether every line names ``own``, letter by letter, or no machine at all; the usual case, and quickly told."""
    try:
        said = {(line.decorations.get(UUID_DECORATION), line.decorations.get(SERIAL_DECORATION)) for line in lines}
    except TypeError:  # not texts but lists or the like
        return False
    return said <= {(own.uuid, own.serial), (None, None)}


def machine_of(line: Decorated) -> Machine:
    """The machine that a line names."""
    return Machine(_text(line, UUID_DECORATION), _text(line, SERIAL_DECORATION))


def _text(line: Decorated, decoration: str) -> str:
    said = line.decorations.get(decoration)
    return clean_text(said).strip()[:255] if isinstance(said, str) else ""
