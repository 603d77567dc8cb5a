"""Looking at our own settings: the files they name, and whether osqueryd answers."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from collector.checks.finding import Finding, good, problem
from collector.settings import Settings, SettingsError, check_server

SECONDS = 5.0


def settings_findings(settings: Settings) -> list[Finding]:
    """Look at everything the settings name."""
    return [*_server(settings), *_secret(settings), *_certificates(settings), *_policy(settings), *_osqueryd(settings)]


def _server(settings: Settings) -> Iterator[Finding]:
    try:
        check_server(settings.server, allow_http=settings.allow_http)
    except SettingsError as error:
        yield problem("server", str(error), 'write server = "https://HOST" into the settings')
    else:
        yield good("server", settings.server)


def _secret(settings: Settings) -> Iterator[Finding]:
    path = settings.enroll_secret_path
    if settings.node_key_path.exists():
        yield from _private(settings.node_key_path, "the device has enrolled; its key")
        return
    if not path.exists():
        yield problem(
            str(path), "there is no enrol secret", "put it there: 'muster secret add' on the server makes one"
        )
        return
    yield from _private(path, "the enrol secret")


def _private(path: Path, what: str) -> Iterator[Finding]:
    if os.name == "posix" and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield problem(str(path), f"others than its owner may use {what}", f"chmod 0600 {path}")
    elif not os.access(path, os.R_OK):
        yield problem(str(path), f"{what} cannot be read by this user", "run it as root")
    else:
        yield good(str(path), f"{what} is there, and nobody else may read it")


def _certificates(settings: Settings) -> Iterator[Finding]:
    for name in ("ca_file", "client_cert", "client_key"):
        path = getattr(settings, name)
        if path is not None and not os.access(path, os.R_OK):
            yield problem(name, f"{path} cannot be read", "name a file in PEM that is there")
            return
    if settings.ca_file is not None or settings.client_cert is not None:
        from collector.uplink.tls import Tls

        try:
            Tls(settings)
        except SettingsError as error:
            yield problem("certificates", str(error), "put the right file in PEM there")


def _policy(settings: Settings) -> Iterator[Finding]:
    from collector.policy.file import load_file

    loaded = load_file(settings.policy_file)
    if loaded.problem:
        yield problem(str(settings.policy_file), loaded.problem, "until then every question is refused")
    else:
        told = "the device's own policy is in force" if loaded.exists else "there is none: nothing is refused here"
        yield good(str(settings.policy_file), told)


def _osqueryd(settings: Settings) -> Iterator[Finding]:
    from collector.osqueryd import Osquery, OsqueryGoneError

    osquery = Osquery(settings.socket, SECONDS)
    try:
        answer = osquery.query("SELECT version FROM osquery_info")
    except OsqueryGoneError as error:
        yield problem(str(settings.socket), f"osqueryd does not answer there: {error}", "start osqueryd, or set socket")
    else:
        version = answer.rows[0].get("version", "") if answer.rows else ""
        yield good(str(settings.socket), f"osqueryd {version} answers".replace("  ", " "))
    finally:
        osquery.close()
