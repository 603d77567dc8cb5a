"""What a look found: something that is right, or something to mend."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at.

    Attributes:
        subject: What was looked at: a file, a flag, a setting.
        good: Whether it is as it has to be.
        told: What was found, in words.
        mend: What to do about it; empty where it is good.
    """

    subject: str
    good: bool
    told: str
    mend: str = ""

    def as_json(self) -> dict[str, object]:
        """For ``--json``."""
        return asdict(self)


def good(subject: str, told: str) -> Finding:
    """A finding that needs nothing."""
    return Finding(subject, True, told)


def problem(subject: str, told: str, mend: str) -> Finding:
    """A finding to mend."""
    return Finding(subject, False, told, mend)
