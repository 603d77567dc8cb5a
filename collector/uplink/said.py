"""What went wrong on the way to the server, in words that name what a person can mend."""

from __future__ import annotations

import os
import ssl

import aiohttp

_CERTIFICATE_WANTED = ("CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE")
_CERTIFICATE_REFUSED = ("UNKNOWN_CA", "BAD_CERTIFICATE", "CERTIFICATE_EXPIRED", "CERTIFICATE_UNKNOWN", "ACCESS_DENIED")
_HINTS = {
    9: "is this device's clock right?",
    10: "the server needs a new one, or this device's clock is wrong",
    62: "setting server",
    64: "setting server",
}
"""What to look at, by OpenSSL's number: not yet valid, expired, another name, another address."""
BROKEN = "the connection broke before there was an answer"


def plain(error: BaseException, seconds: float = 0) -> str:
    """Say what failed; ``seconds`` is how long was waited. Nothing secret is in it: no key, no URL of a proxy."""
    tls = _tls_error(error)
    if tls is not None:
        return _said_of_tls(tls)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        wanted = ": it wants a user and password that it knows" if error.status == 407 else f" {error.message}"
        return f"the proxy refused with {error.status}{wanted.rstrip()}"
    if isinstance(error, TimeoutError):
        return f"no answer within {seconds:.0f} s" if seconds else "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorError):
        whom = "the proxy" if isinstance(error, aiohttp.ClientProxyConnectionError) else "the server"
        if isinstance(error, aiohttp.ClientConnectorDNSError):
            return f"the name {error.host} cannot be looked up"
        number = error.os_error.errno
        # asyncio puts the address where the reason stands: the number is what tells.
        reason = os.strerror(number) if number and number > 0 else error.os_error.strerror
        return f"{whom} cannot be reached: {reason or type(error.os_error).__name__}"
    if isinstance(error, aiohttp.WSServerHandshakeError):
        return f"the server answered {error.status} instead of opening a channel"
    if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientPayloadError | ConnectionError):
        return BROKEN
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"what came is no HTTP of the server's ({type(error).__name__})"


def _tls_error(error: BaseException) -> ssl.SSLError | None:
    seen: BaseException | None = error
    for _ in range(5):
        # aiohttp's own are SSLErrors, too, but empty ones.
        if isinstance(seen, aiohttp.ClientConnectorCertificateError):
            seen = seen.certificate_error
        elif isinstance(seen, aiohttp.ClientConnectorError):
            seen = seen.os_error
        elif isinstance(seen, ssl.SSLError):
            return seen
        elif seen is not None:
            seen = seen.__cause__ or seen.__context__
    return None


def _said_of_tls(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        hint = _HINTS.get(error.verify_code, "setting ca_file")
        return f"the server's certificate is not accepted: {error.verify_message.rstrip('.')} ({hint})"
    reason = str(getattr(error, "reason", None) or error)
    if any(word in reason.upper() for word in _CERTIFICATE_WANTED):
        return "the server asks for a client certificate (settings client_cert and client_key)"
    if any(word in reason.upper() for word in _CERTIFICATE_REFUSED):
        return "the server does not accept the client certificate (setting client_cert)"
    return f"no TLS with the server: {reason.replace('_', ' ').lower()}"
