"""The flags of the stand-in: osqueryd's own names, so that a test can start either with the same list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Flags:
    """What was given. ``--name=value`` and bare ``--name`` (true) as osqueryd takes them; unknown ones are kept.

    The stand-in's own: ``--control`` (socket of the controlling protocol), ``--journal`` (file), ``--tables`` (JSON
    file), ``--tick`` (seconds that a second of the schedule and of ``config_refresh`` takes, 1), ``--watch=manual``
    (nothing is pinged or restarted unless told), ``--ping_lag`` (seconds by which pings come after restarts, 0.2).
    """

    given: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> Flags:
        given = {}
        for argument in arguments:
            name, sign, value = argument.lstrip("-").partition("=")
            given[name] = value if sign else "true"
        return cls(given)

    def on(self, name: str, default: bool = False) -> bool:
        return self.given.get(name, str(default)).lower() in ("true", "1", "t", "yes")

    def seconds(self, name: str, default: float) -> float:
        return float(self.given.get(name, default))

    @property
    def socket(self) -> str:
        return self.given["extensions_socket"]

    @property
    def autoload(self) -> str:
        return self.given.get("extensions_autoload", "")

    @property
    def require(self) -> list[str]:
        return [name for name in self.given.get("extensions_require", "").split(",") if name]

    @property
    def extensions_timeout(self) -> float:
        return self.seconds("extensions_timeout", 3)

    @property
    def interval(self) -> float:
        """Seconds between pings."""
        return self.seconds("extensions_interval", 3)

    @property
    def thrift_timeout(self) -> float:
        return self.seconds("thrift_timeout", 300)

    @property
    def loggers(self) -> list[str]:
        return [name for name in self.given.get("logger_plugin", "filesystem").split(",") if name]

    @property
    def config_plugin(self) -> str:
        return self.given.get("config_plugin", "filesystem")

    @property
    def tick(self) -> float:
        return self.seconds("tick", 1)

    def path(self, name: str) -> Path | None:
        return Path(self.given[name]) if self.given.get(name) else None
