"""The version of a rule: a digest of everything that a verdict depends on but the rows. Pure."""

from __future__ import annotations

import hashlib

from server.catalog.catalog import Catalog, LoadedControl
from server.evaluate.rules import lists_named

ENGINE = "1"
"""Grows when the same rule and rows would be judged otherwise than before."""


def rule_version(catalog: Catalog, loaded: LoadedControl) -> str:
    """A digest of everything a verdict of this control depends on but the rows."""
    parts = [ENGINE, str(loaded.control.fresh_within_days)]
    for platform, rule in sorted(loaded.control.platforms.items()):
        queries = " ".join(f"{name}@{catalog.queries[name, platform].version}" for name in rule.queries)
        parts.append(f"{platform} {queries} {rule.quantifier} {rule.predicate}")
        parts.append(f"{rule.undecided} {rule.empty} {rule.confidence}")
        parts += [f"applies_when {rule.applies_when}"] if rule.applies_when else []
        named = lists_named(rule)
        parts += [f"list {name}@{found.digest}" for name, found in sorted(catalog.lists.items()) if name in named]
    grace = catalog.fleet.new_device_grace_days
    parts += [f"grace {grace}"] if grace else []
    parts += _targets(catalog, loaded.control_id)
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=8).hexdigest()


def _targets(catalog: Catalog, control: str) -> list[str]:
    """Which devices the packs bring a control to, where that is not to all of all platforms."""
    bringing = {name: pack for name, pack in sorted(catalog.packs.items()) if control in pack.controls}
    if not any(pack.targets for pack in bringing.values()):
        return []
    return [
        f"pack {name} {sorted(pack.platforms)} {pack.targets.model_dump_json() if pack.targets else ''}"
        for name, pack in bringing.items()
    ]
