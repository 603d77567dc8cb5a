"""The process ``muster-collector extension``: the logger and the config plugin, attached to osqueryd."""

from __future__ import annotations

import logging
import signal
import threading
import time

from collector.extension.attachment import NAME, Attachment
from collector.extension.config import SOURCE, Config
from collector.extension.holding import RETRY_SECONDS, Holding
from collector.extension.keeping import Keeper, Kept
from collector.extension.logger import Logger
from collector.logs import to_stderr
from collector.osqueryd import Osquery
from collector.policy import DeviceTables, Policy
from collector.policy.schedule import permitted_config
from collector.settings import Settings
from collector.spool import Spool, SpoolFullError

NEWS_SECONDS = 5.0
"""Between looks at whether the config changed."""

_LOG = logging.getLogger(__name__)


class Process:
    """One extension process: its plugins, and what is done beside answering."""

    def __init__(self, settings: Settings) -> None:
        self._spool = Spool(settings.spool_path, settings.spool_bytes)
        self._holding = Holding(self._spool)
        self.logger = Logger(self._holding)
        self._tables = DeviceTables(self._spool)
        self._policy = Policy.load(settings.policy_file, self._tables)
        self.config = Config(
            self._spool, lambda text: permitted_config(self._policy, text), self._holding.put, self._policy_state
        )
        self._uuid = 0
        self._gives_config = False
        self._next_news = 0.0
        self._ended = threading.Event()

    def run(self, settings: Settings, *, interval: float, kept: Kept | None, keeper: Keeper) -> int:
        """Stay attached until SIGTERM or, if another process started this one, until both it and osqueryd are gone."""
        attachment = Attachment(
            settings.socket,
            {"logger": {NAME: self.logger}, "config": {NAME: self.config}},
            interval=interval,
            keeper=keeper,
            goes_on=lambda: not keeper.is_gone(),
            looked=self._looked,
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

    def _looked(self, osquery: Osquery, uuid: int) -> None:
        if uuid != self._uuid:
            self._uuid = uuid
            rows = osquery.query("SELECT version FROM osquery_info").rows
            self.logger.version = rows[0].get("version", "") if rows else ""
            if self._policy.rules.reads:
                # Not asked for while osqueryd waits for its config: it may not be able to answer then.
                DeviceTables(self._spool, osquery.query).refresh()
            # It need not have asked this process: the one before may have answered.
            self._gives_config = NAME in osquery.options().get("config_plugin", "").split(",")
        if self._gives_config and time.monotonic() >= self._next_news:
            self._next_news = time.monotonic() + NEWS_SECONDS
            self._push(osquery)

    def _push(self, osquery: Osquery) -> None:
        """Give osqueryd a new config now: it may ask for it in hours, or never again."""
        try:
            text = self.config.news()
        except SpoolFullError as error:
            _LOG.debug("whether there is a new config cannot be read: %s", error)
            return
        if text:
            problem = osquery.update_config(SOURCE, text)
            if problem:
                _LOG.error("osqueryd does not take the new config: %s", problem)
            else:
                _LOG.info("osqueryd has the new config")

    def _policy_state(self) -> object:
        return (
            self._policy.problem,
            self._policy.rules,
            self._tables.tables() is None if self._policy.rules.reads else None,
        )

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
