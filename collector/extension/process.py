"""The process ``muster-collector extension``: the logger and the config plugin, attached to osqueryd."""

from __future__ import annotations

import logging
import signal
import threading

from collector.extension.attachment import NAME, Attachment
from collector.extension.config import Config
from collector.extension.holding import RETRY_SECONDS, Holding
from collector.extension.keeping import Keeper, Kept
from collector.extension.logger import Logger
from collector.logs import to_stderr
from collector.osqueryd import Osquery, OsqueryGoneError
from collector.policy import DeviceTables, Policy
from collector.policy.schedule import permitted_config
from collector.settings import Settings
from collector.spool import Spool

_LOG = logging.getLogger(__name__)


class Process:
    """One extension process: its plugins, and what is done beside answering."""

    def __init__(self, settings: Settings) -> None:
        self._spool = Spool(settings.spool_path, settings.spool_bytes)
        self._holding = Holding(self._spool)
        self.logger = Logger(self._holding)
        self.config = Config(self._spool, lambda text: permitted_config(self._policy, text), self._holding.put)
        self._policy = Policy.load(settings.policy_file, DeviceTables(self._spool))
        self._ended = threading.Event()

    def run(self, settings: Settings, *, interval: float, kept: Kept | None, keeper: Keeper) -> int:
        """Stay attached until SIGTERM or, where another process started this one, until both it and osqueryd are gone."""
        attachment = Attachment(
            settings.socket,
            {"logger": {NAME: self.logger}, "config": {NAME: self.config}},
            interval=interval,
            keeper=keeper,
            goes_on=lambda: not keeper.is_gone(),
            attached=self._attached,
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: attachment.end())
        retrying = threading.Thread(target=self._retry, name="retry", daemon=True)
        retrying.start()
        attachment.run(kept, relieve=keeper.is_there)
        self._ended.set()
        retrying.join()
        self._holding.retry()
        self._spool.close()
        return 0

    def _attached(self, osquery: Osquery) -> None:
        try:
            rows = osquery.query("SELECT version FROM osquery_info").rows
        except OsqueryGoneError as error:
            _LOG.debug("osqueryd's version is not known: %s", error)
        else:
            self.logger.version = rows[0].get("version", "") if rows else ""

    def _retry(self) -> None:
        while not self._ended.wait(RETRY_SECONDS):
            self._holding.retry()


def main(
    settings: Settings, *, interval: float, verbose: bool, kept: str | None = None, keeper: int | None = None
) -> int:
    """Run the process; returns its exit code."""
    to_stderr("debug" if verbose else settings.log_level)
    return Process(settings).run(
        settings,
        interval=max(1.0, interval),
        kept=Kept.from_text(kept) if kept else None,
        keeper=Keeper(keeper),
    )
