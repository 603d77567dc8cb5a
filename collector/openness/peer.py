"""Who is at the other end of a Unix socket."""

from __future__ import annotations

import socket
import struct
import sys


def peer_uid(connection: socket.socket) -> int | None:
    """The user that connected, as the kernel says; None where it does not."""
    try:
        if sys.platform == "darwin":  # LOCAL_PEERCRED of SOL_LOCAL: struct xucred
            version, uid = struct.unpack_from("=II", connection.getsockopt(0, 1, 76))
            return int(uid) if version == 0 else None
        if hasattr(socket, "SO_PEERCRED"):
            raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("=iii"))
            return int(struct.unpack("=iii", raw)[1])
    except (OSError, struct.error):
        return None
    return None
