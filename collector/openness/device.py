"""What osqueryd says of itself: whether it answers, what it runs, and where it sends that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from collector.openness.sources import OSQUERY_SECONDS, Sources

FLAGS = (
    "logger_plugin config_plugin distributed_plugin disable_distributed disable_logging tls_hostname disable_tables"
    " logger_tls_period"
).split()
_FLAGS_SQL = f"SELECT name, value FROM osquery_flags WHERE name IN ({', '.join(repr(flag) for flag in FLAGS)})"
_SCHEDULE_SQL = "SELECT name, query, interval, executions, last_executed, denylisted FROM osquery_schedule"
_VERSION_SQL = "SELECT version FROM osquery_info"


@dataclass(frozen=True, slots=True)
class Osqueryd:
    """osqueryd as it is now; without a ``version`` it does not answer, and ``problem`` says why."""

    version: str = ""
    problem: str = ""
    flags: Mapping[str, str] = field(default_factory=dict)
    schedule: tuple[Mapping[str, str], ...] = ()

    def plugs(self, flag: str, plugin: str) -> bool:
        """Whether a plugin is among those of a flag."""
        return plugin in [one.strip() for one in self.flags.get(flag, "").split(",")]

    @property
    def fetches_config(self) -> bool:
        """Whether it fetches its config from a server itself, so that this device's policy has no say in it."""
        return self.plugs("config_plugin", "tls")

    @property
    def takes_questions(self) -> bool:
        """Whether it takes live questions from a server itself."""
        return self.flags.get("disable_distributed") == "false" and self.plugs("distributed_plugin", "tls")

    @property
    def sends(self) -> bool:
        """Whether it sends the answers of its schedule to a server itself."""
        return self._logs and self.plugs("logger_plugin", "tls")

    @property
    def hands_over(self) -> bool:
        """Whether it gives the answers of its schedule to the collector."""
        return self._logs and self.plugs("logger_plugin", "muster")

    @property
    def _logs(self) -> bool:
        return self.flags.get("disable_logging") != "true"


def ask_osqueryd(sources: Sources, *, schedule: bool = False) -> Osqueryd:
    """Ask it; never raises. With ``schedule`` what it runs is asked, too. Blocks for some seconds at most."""
    connection = None
    try:
        connection = sources.osquery(OSQUERY_SECONDS)
        version = _rows(connection, _VERSION_SQL)
        flags = {row.get("name", ""): row.get("value", "") for row in _rows(connection, _FLAGS_SQL)}
        scheduled = _rows(connection, _SCHEDULE_SQL) if schedule else []
    except Exception as error:  # the owner is told, whatever it is
        return Osqueryd(problem=str(error) or type(error).__name__)
    finally:
        if connection is not None:
            connection.close()
    return Osqueryd(version[0].get("version", "") if version else "?", "", flags, tuple(scheduled))


def _rows(connection: Any, sql: str) -> list[Mapping[str, str]]:
    answer = connection.query(sql)
    if answer.code != 0:
        raise ValueError(answer.message)
    return list(answer.rows)
