"""The commands ``status``, ``disclose`` and ``sync``: asked of the uplink, or answered from what it left behind."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from collector.openness.protocol import ControlError, NotRunningError, ask
from collector.openness.words import count, paragraph
from collector.settings import Settings, SettingsError, load

EXIT_OK, EXIT_FAILED, EXIT_PROBLEMS = 0, 1, 3


def status_command(settings: Settings, *, as_json: bool) -> int:
    """Tell how the device fares."""
    from collector.openness.status_words import status_text

    found = _found(settings, "status")
    if found is None:
        return EXIT_FAILED
    _print(json.dumps(found, indent=2) if as_json else status_text(found, time.time()))
    return EXIT_PROBLEMS if found["problems"] else EXIT_OK


def disclose_command(settings: Settings, *, as_json: bool, sql: bool) -> int:
    """Tell what is collected."""
    from collector.openness.disclose_words import disclosure_text

    found = _found(settings, "disclose")
    if found is None:
        return EXIT_FAILED
    _print(json.dumps(found, indent=2) if as_json else disclosure_text(found, time.time(), sql=sql))
    return EXIT_OK


def sync_command(settings: Settings, *, as_json: bool, wait: float) -> int:
    """Send, look and fetch now."""
    shown = sys.stderr.isatty() and not as_json

    def progress(text: str) -> None:
        if shown:
            print(f"{text} …", file=sys.stderr, flush=True)  # noqa: T201 - it is a command

    try:
        found = ask(settings.control_socket, {"do": "sync", "wait": wait}, progress)
    except NotRunningError:
        return _failed(f"{_absent(settings)} Nothing can be sent before it runs again.")
    except ControlError as error:
        return _failed(str(error))
    _print(json.dumps(found, indent=2) if as_json else sync_text(found))
    if found["problem"]:
        return EXIT_FAILED
    return EXIT_PROBLEMS if found["left"] else EXIT_OK


def sync_text(found: Mapping[str, Any]) -> str:
    """What a sync did."""
    lines = [paragraph(f"Evidence of the day: {found['evidence']}.")]
    if found["problem"]:
        lines.append(paragraph(f"Nothing more can be sent just now: {found['problem']}."))
    if found["left"]:
        one = found["left"] == 1
        lines.append(
            f"{count(found['left'], 'answer')} still {'waits' if one else 'wait'} and {'is' if one else 'are'} sent as"
            " soon as the server takes them."
        )
    elif not found["problem"]:
        lines.append("Everything is sent: nothing waits any more.")
    posture = found["posture"]
    if found["verdicts"] and not posture:
        lines.append("The server has no verdicts on this device yet; what was just sent is judged within a minute.")
    elif found["verdicts"]:
        good, bad = posture.get("pass", 0), sum(posture.get(one, 0) for one in ("fail", "error", "stale"))
        lines.append(
            f"The server's verdicts: {good:,} of {count(sum(posture.values()), 'control')} fine, {bad:,} to look at"
            " ('muster-collector status' says which). What was just sent is judged within a minute."
        )
    else:
        lines.append("The server's verdicts were not fetched.")
    return "\n".join(paragraph(line) for line in lines)


def _found(settings: Settings, deed: str) -> dict[str, Any] | None:
    """What the uplink says; where it does not run, what it left behind. None, with a word why, if there is nothing."""
    try:
        return ask(settings.control_socket, {"do": deed})
    except ControlError as error:
        _failed(str(error))
        return None
    except NotRunningError:
        pass
    if not os.access(settings.state_dir, os.R_OK | os.X_OK):
        there = settings.state_dir.exists()
        hint = f" Only root may read what it knew: sudo muster-collector {deed}" if there else ""
        _failed(_absent(settings) + hint)
        return None
    if not settings.spool_path.exists():
        _failed(f"{_absent(settings)} It has never run: there is nothing in {settings.state_dir} yet.")
        return None
    print(f"muster-collector: {_absent(settings)}", file=sys.stderr)  # noqa: T201
    return _left_behind(settings, _work(deed))


def _work(deed: str) -> Callable[[Any], dict[str, Any]]:
    if deed == "status":
        from collector.openness.status import status

        return status
    from collector.openness.disclosure import disclosure

    return disclosure


def _left_behind(settings: Settings, work: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    from collector.openness.sources import OSQUERY_SECONDS, Sources
    from collector.osqueryd import Osquery
    from collector.policy import DeviceTables, Policy
    from collector.spool import Spool

    def asked(sql: str) -> Any:
        with Osquery(settings.socket, OSQUERY_SECONDS) as connection:
            return connection.query(sql)

    with closing(Spool(settings.spool_path, settings.spool_bytes)) as spool:
        policy = Policy.load(settings.policy_file, DeviceTables(spool, asked))
        return work(Sources(settings, spool, policy, lambda seconds: Osquery(settings.socket, seconds)))


def _absent(settings: Settings) -> str:
    return f"the collector does not run: nobody listens on {settings.control_socket}."


def _failed(text: str) -> int:
    print(f"muster-collector: {text}", file=sys.stderr)  # noqa: T201
    return EXIT_FAILED


def _print(text: str) -> None:
    try:
        print(text, flush=True)  # noqa: T201
    except BrokenPipeError:  # head, or less that was left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def owner_settings(path: Path | None) -> Settings:
    """The settings; the usual ones where an ordinary user may not read the file, since the socket is all it takes."""
    try:
        return load(path)
    except SettingsError as error:
        if path is None and isinstance(error.__cause__, PermissionError):
            return Settings()
        raise
