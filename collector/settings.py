"""What the collector is told: a TOML file, and an environment variable for each of its keys, which goes first."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

PREFIX = "MUSTER_COLLECTOR_"
CONFIG_VARIABLE = f"{PREFIX}CONFIG"
LOG_LEVELS = ("debug", "info", "warning", "error")
LEAST_SPOOL_BYTES = 1024 * 1024

_WINDOWS = sys.platform == "win32"
_ETC = Path(os.environ.get("PROGRAMDATA", r"C:\ProgramData"), "muster") if _WINDOWS else Path("/etc/muster")
_RUN = Path("/run" if sys.platform == "linux" else "/var/run")
CONFIG_FILE = _ETC / "collector.toml"
STATE_DIR = _ETC / "state" if _WINDOWS else Path("/var/lib/muster-collector")


class SettingsError(Exception):
    """The settings cannot be used; the message says which one and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting, checked."""

    server: str = ""
    """Where the server is, as https://HOST[:PORT]; only what talks to it asks for one."""
    enroll_secret_path: Path = _ETC / "enroll_secret"
    """The file with the enrol secret; it is read whenever the device enrols."""
    ca_file: Path | None = None
    """Certificates to trust instead of the system's, in PEM."""
    client_cert: Path | None = None
    """The certificate shown to a server or gateway that asks for one, in PEM."""
    client_key: Path | None = None
    """Its private key, where that is not in the same file."""
    proxy: str = ""
    """http://[USER:PASSWORD@]HOST:PORT; empty: as HTTPS_PROXY and NO_PROXY say; "none": no proxy whatever they say."""
    allow_http: bool = False
    """Send evidence and keys in the clear to a server elsewhere: for a trial in a network of one's own only."""
    state_dir: Path = STATE_DIR
    """The spool and the node key; nobody else may look into it."""
    socket: Path = Path(r"\\.\pipe\osquery.em") if _WINDOWS else Path("/var/osquery/osquery.em")
    """osqueryd's extension socket (its flag extensions_socket)."""
    policy_file: Path = _ETC / "policy.toml"
    """What this device refuses to answer."""
    spool_bytes: int = 256 * 1024 * 1024
    """How much may wait on disk for the server."""
    control_socket: Path = _RUN / "muster-collector" / "control.sock"
    """Where the owner's commands reach the uplink; in ``state_dir`` where that is not the usual one."""
    log_level: str = "info"
    """debug, info, warning or error."""

    @property
    def spool_path(self) -> Path:
        """The file of what waits for the server."""
        return self.state_dir / "spool.db"

    @property
    def node_key_path(self) -> Path:
        """The file of the key this device is known by."""
        return self.state_dir / "node_key"


KEYS = tuple(field.name for field in fields(Settings))
_PATHS = frozenset(
    "enroll_secret_path ca_file client_cert client_key state_dir socket policy_file control_socket".split()
)


def load(path: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings of a file, or of the usual one where there is one, and of the environment.

    Raises ``SettingsError``.
    """
    environ = os.environ if environ is None else environ
    named = path or (Path(environ[CONFIG_VARIABLE]) if environ.get(CONFIG_VARIABLE) else None)
    values = _of_file(named or CONFIG_FILE, required=named is not None)
    values |= _of_environment(environ)
    if "state_dir" in values:
        values.setdefault("control_socket", values["state_dir"] / "control.sock")
    settings = Settings(**values)
    _check(settings)
    return settings


def make_state_dir(settings: Settings) -> None:
    """Make the folder of the spool and the node key, and keep others out of it. Raises ``SettingsError``."""
    try:
        settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _WINDOWS and settings.state_dir.stat().st_mode & 0o077:
            settings.state_dir.chmod(0o700)
    except OSError as error:
        raise SettingsError(f"state_dir {settings.state_dir}: {error.strerror}") from error


def _of_file(path: Path, *, required: bool) -> dict[str, Any]:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        if required:
            raise SettingsError(f"{path}: there is no such file") from None
        return {}
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
    import tomllib  # only where there is a file: it costs a megabyte

    try:
        table = tomllib.loads(raw.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: {error}") from error
    return {key: _value(f"{path}: {key}", _known(f"{path}: ", key), value) for key, value in table.items()}


def _of_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for variable, text in environ.items():
        if not variable.startswith(PREFIX) or variable == CONFIG_VARIABLE:
            continue
        key = _known("environment variable ", variable.removeprefix(PREFIX).lower(), variable)
        values[key] = _value(variable, key, _typed(variable, key, text))
    return values


def _typed(variable: str, key: str, text: str) -> str | int | bool:
    """What a variable's text is as a value of TOML."""
    if key == "spool_bytes":
        if not text.strip().isdecimal():
            raise SettingsError(f"{variable}: {text!r} is not a number of bytes")
        return int(text)
    if key == "allow_http":
        if text.lower() not in ("true", "false", "1", "0"):
            raise SettingsError(f"{variable}: {text!r} is neither true nor false")
        return text.lower() in ("true", "1")
    return text


def _known(where: str, key: str, shown: str = "") -> str:
    if key in KEYS:
        return key
    from difflib import get_close_matches

    likely = get_close_matches(key, KEYS, n=1)
    hint = f"; is {PREFIX + likely[0].upper() if shown else likely[0]} meant?" if likely else ""
    raise SettingsError(f"{where}{shown or key} is not known{hint}")


def _value(where: str, key: str, value: Any) -> Any:
    wanted = {"spool_bytes": int, "allow_http": bool}.get(key, str)
    if type(value) is not wanted:  # true is an int, too, and not meant
        kind = {int: "a whole number", bool: "true or false", str: "text"}[wanted]
        raise SettingsError(f"{where} is to be {kind}, not {value!r}")
    if key not in _PATHS:
        return value.strip() if isinstance(value, str) else value
    if not value:
        if key in ("ca_file", "client_cert", "client_key"):
            return None
        raise SettingsError(f"{where} is empty")
    path = Path(str(value))
    if not path.is_absolute() and not str(value).startswith("\\\\"):
        raise SettingsError(f"{where}: {value!r} is not an absolute path")
    return path


def _check(settings: Settings) -> None:
    if settings.log_level not in LOG_LEVELS:
        raise SettingsError(f"log_level is to be one of {', '.join(LOG_LEVELS)}, not {settings.log_level!r}")
    if settings.spool_bytes < LEAST_SPOOL_BYTES:
        raise SettingsError(f"spool_bytes is to be at least {LEAST_SPOOL_BYTES}, not {settings.spool_bytes}")
    if settings.client_key and not settings.client_cert:
        raise SettingsError("client_key is given without client_cert")
    if settings.server:
        check_server(settings.server, allow_http=settings.allow_http)
    if settings.proxy and settings.proxy != "none":
        _check_proxy(settings.proxy)


def check_server(url: str, *, allow_http: bool = False) -> None:
    """Raise ``SettingsError`` for what is no URL of a server, or one that keys and evidence must not be sent to."""
    from urllib.parse import urlsplit

    if not url:
        raise SettingsError("server is not set: where is it, as https://HOST[:PORT]?")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise SettingsError(f"server: {url!r} is no URL: {error}") from error
    if parts.scheme not in ("https", "http") or not host:
        raise SettingsError(f"server: {url!r} is not of the form https://HOST[:PORT]")
    if parts.username or parts.password:
        raise SettingsError("server: no user or password belongs into the URL")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise SettingsError(f"server: {url!r} is to end after the host and its port")
    if parts.scheme == "http" and not (allow_http or _is_loopback(host)):
        raise SettingsError(f"server: {url!r} would send keys and evidence in the clear; it is to begin with https://")


def _is_loopback(host: str) -> bool:
    from ipaddress import ip_address

    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_proxy(url: str) -> None:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        usable = parts.scheme == "http" and bool(parts.hostname) and (parts.port or 80) > 0
    except ValueError:
        usable = False
    if not usable:  # the URL is not shown: it may hold a password
        raise SettingsError('proxy is not of the form http://[USER:PASSWORD@]HOST:PORT, nor "none"')
