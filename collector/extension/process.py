"""The process ``muster-collector extension``: the logger and the config plugin, attached to osqueryd."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from collector.extension.attachment import NAME, Attachment
from collector.extension.config import Config
from collector.extension.holding import RETRY_SECONDS, Holding
from collector.extension.keeping import Keeper, Kept
from collector.extension.logger import Logger
from collector.osqueryd import Osquery, OsqueryGoneError
from collector.settings import Settings
from collector.spool import Spool

AUTOLOADED = "OSQUERY_EXTENSION"
"""osqueryd sets it for the extensions it starts itself."""

_LOG = logging.getLogger(__name__)


class Process:
    """One extension process: its plugins, and what is done beside answering."""

    def __init__(self, settings: Settings) -> None:
        self._spool = Spool(settings.spool_path, settings.spool_bytes)
        self._holding = Holding(self._spool)
        self.logger = Logger(self._holding)
        self.config = Config(self._spool, self._permit, self._holding.put)
        self._policy_file = settings.policy_file
        self._ended = threading.Event()

    def run(self, settings: Settings, *, interval: float, kept: Kept | None, keeper: Keeper, autoloaded: bool) -> int:
        """Stay attached until SIGTERM or, when osqueryd started this process, until that one is gone."""
        parent = os.getppid()

        def goes_on() -> bool:
            if keeper.is_gone():
                return False
            return not autoloaded or os.getppid() == parent

        attachment = Attachment(
            settings.socket,
            {"logger": {NAME: self.logger}, "config": {NAME: self.config}},
            interval=interval,
            keeper=keeper,
            goes_on=goes_on,
            attached=self._attached,
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: attachment.end())
        retrying = threading.Thread(target=self._retry, name="retry", daemon=True)
        retrying.start()
        attachment.run(kept, relieve=autoloaded)
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
