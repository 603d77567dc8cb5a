"""What this device refuses to answer: a file of its owner's, held against every statement before it runs."""

from __future__ import annotations

from collector.policy.policy import Policy
from collector.policy.tables import DeviceTables, Tables

__all__ = ["DeviceTables", "Policy", "Tables"]
