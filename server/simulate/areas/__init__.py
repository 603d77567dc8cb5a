"""The areas of a device's life: what may be odd in them, the rows that tell of it, and what it means for controls.

Every module has ``TRAITS``, makers of rows for ``facts.FACTS``, and ``JUDGES``.
"""

from __future__ import annotations

from server.simulate.areas import (
    accounts,
    agent,
    credentials,
    detection,
    disk,
    integrity,
    malware,
    network,
    ports,
    session,
    software,
    system,
    updates,
)
from server.simulate.judging import Judges
from server.simulate.traits import Trait

_AREAS = (
    accounts, agent, credentials, detection, disk, integrity, malware, network, ports, session, software, system,
    updates,
)  # fmt: skip

TRAITS: tuple[Trait, ...] = tuple(trait for area in _AREAS for trait in area.TRAITS)
"""Every trait a device may have."""
JUDGES: Judges = {control: judge for area in _AREAS for control, judge in area.JUDGES.items()}
"""By control; one that is not here has no expected verdicts."""
