"""An extension on stock osquery-python that answers as the recorded ones did; what it is to do comes as JSON.

``python -m tests.support.core.scripted '{"plugin": "logger", "features": 1, "fail_from": 4, "fail_to": 6}' --socket …``

For a logger: ``stock`` (init, features and status are answered by osquery-python itself), ``features``, and by the
number of the line counted from 1: ``fail_from``/``fail_to`` (up to but not with), ``raise_at``, ``return_none_at``,
``sleep_from``/``sleep_to`` with ``sleep``; ``snapshot_fail``. For a config: ``content``. For a table: rows by ``rows``.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import osquery
from osquery.extensions.ttypes import ExtensionResponse, ExtensionStatus

OK = ExtensionStatus(code=0, message="OK")
Mode = dict[str, Any]


def logger(mode: Mode) -> Any:
    class Logger(osquery.LoggerPlugin):  # type: ignore[misc]
        lines = 0

        def name(self) -> str:
            return "my_logger"

        def call(self, context: dict[str, str]) -> Any:
            if not mode.get("stock"):
                if context.get("action") == "features":
                    status = ExtensionStatus(code=mode.get("features", 1), message="OK")
                    return ExtensionResponse(status=status, response=[])
                if "init" in context or "status" in context:
                    return ExtensionResponse(status=OK, response=[])
            response = super().call(context)
            # The recorded ones wrote down every code, so that a status of None raised here.
            assert response.status.code is not None
            return response

        def log_string(self, value: str) -> Any:
            self.lines += 1
            if mode.get("sleep_from", 0) <= self.lines < mode.get("sleep_to", 0):
                time.sleep(mode["sleep"])
            if self.lines == mode.get("raise_at"):
                raise RuntimeError("made-up exception in log_string")
            if self.lines == mode.get("return_none_at"):
                return None
            if mode.get("fail_from", 0) <= self.lines < mode.get("fail_to", 0):
                return ExtensionStatus(code=1, message="made-up failure")
            return OK

        def log_snapshot(self, value: str) -> Any:
            if mode.get("snapshot_fail"):
                return ExtensionStatus(code=1, message="made-up snapshot failure")
            return OK

    return Logger


def config(mode: Mode) -> Any:
    class Config(osquery.ConfigPlugin):  # type: ignore[misc]
        def name(self) -> str:
            return "my_config"

        def content(self) -> Any:
            return [mode["content"]]

    return Config


def table(mode: Mode) -> Any:
    class Table(osquery.TablePlugin):  # type: ignore[misc]
        def name(self) -> str:
            return "my_table"

        def columns(self) -> Any:
            return [osquery.TableColumn(name="name", type=osquery.STRING)]

        def generate(self, context: Any) -> Any:
            if "raise" in json.dumps(context):
                raise RuntimeError("made-up exception in generate")
            return list(mode["rows"])

    return Table


PLUGINS = {"logger": logger, "config": config, "table": table}

if __name__ == "__main__":
    asked: Mode = json.loads(sys.argv.pop(1))
    osquery.register_plugin(PLUGINS[asked["plugin"]](asked))
    osquery.start_extension(name=f"my_{asked['plugin']}_ext", version="1.2.3")
