"""Whose node key it is, remembered: a device shows its key with every request, and hardly ever gets another."""

from __future__ import annotations

import time
from functools import partial

from server.store import devices
from server.store.driver import Driver, Transaction

STALE_SECONDS = 2.0
"""A revocation by whatever process takes effect everywhere within this time."""


class Keyring:
    """The node keys in use, as far as they have been shown to this process."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._devices: dict[str, devices.Device] = {}
        self._version: str | None = None
        self._good_until = 0.0

    async def device_of(self, node_key: str) -> devices.Device | None:
        """Whose node key it is; None for one that is unknown, revoked, or whose device has retired."""
        if not node_key:
            return None
        if time.monotonic() > self._good_until:
            await self._look()
        device = self._devices.get(node_key)
        if device is None:
            version, device = await self._driver.read(partial(_found, node_key))
            if device is not None and version == self._version:  # else it may have been revoked since that was read
                self._devices[node_key] = device
        return device

    def forget(self) -> None:
        """Look at every key anew."""
        self._devices.clear()

    async def _look(self) -> None:
        """Forget the keys if any has been taken out of use since the last look."""
        looked = time.monotonic()
        version = await self._driver.read(devices.keys_version)
        if version != self._version:
            self._devices.clear()
            self._version = version
        self._good_until = looked + STALE_SECONDS


async def _found(node_key: str, tx: Transaction) -> tuple[str, devices.Device | None]:
    return await devices.keys_version(tx), await devices.device_of_key(tx, node_key)
