"""Whom we trust and what we show of ourselves, from files that may change while we run."""

from __future__ import annotations

import logging
import os
import ssl
from pathlib import Path

from collector.settings import Settings, SettingsError

BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Where systems keep what they trust, for a Python that was built to look elsewhere."""

log = logging.getLogger("uplink.tls")

_State = tuple[tuple[int, int] | None, ...]


class Tls:
    """The context for connections to the server."""

    def __init__(self, settings: Settings) -> None:
        """Raises ``SettingsError`` for files that cannot be used."""
        self._settings = settings
        self._files = tuple(filter(None, (settings.ca_file, settings.client_cert, settings.client_key)))
        self._state = self._looked_at()
        self._context = None if settings.server.startswith("http://") else _made(settings)
        self.anonymous = self._context is not None and settings.client_cert is None
        """Over TLS, but without a certificate of our own."""

    def context(self) -> ssl.SSLContext | bool:
        """That of the files as they are; the one before where they cannot be used now (half written, mostly)."""
        if self._context is None:
            return True
        state = self._looked_at()
        if state != self._state:
            self._state = state
            try:
                self._context = _made(self._settings)
                log.info("certificates were read again")
            except SettingsError as error:
                log.error("certificates changed and cannot be used, the former ones go on: %s", error)
        return self._context

    def _looked_at(self) -> _State:
        return tuple(_state(path) for path in self._files)


def _state(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _made(settings: Settings) -> ssl.SSLContext:
    trusted = settings.ca_file or _system_bundle()
    folder = None if trusted else _hashed_folder()
    try:
        context = ssl.create_default_context(cafile=trusted, capath=folder)
    except OSError as error:  # an SSLError is one
        raise SettingsError(f"ca_file {trusted} cannot be used: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.client_cert:
        try:
            context.load_cert_chain(settings.client_cert, settings.client_key, password=_no_password)
        except (OSError, ValueError) as error:
            raise SettingsError(f"client_cert {settings.client_cert} cannot be used: {error}") from error
    return context


def _system_bundle() -> Path | None:
    """None where OpenSSL finds what the system trusts by itself."""
    found = ssl.get_default_verify_paths()
    if any((found.cafile, found.capath)):
        return None
    return next((path for path in map(Path, BUNDLES) if path.is_file()), None)


def _hashed_folder() -> str | None:
    """Where OpenSSL finds each authority by itself when it needs it, and does not read them all (2 MB)."""
    found = ssl.get_default_verify_paths()
    if not found.capath or found.openssl_cafile_env in os.environ:
        return None
    with os.scandir(found.capath) as entries:
        return found.capath if any(entry.name.endswith(".0") for entry in entries) else None


def _no_password() -> str:
    raise ValueError("its key has a password, and nobody is there to type it")
