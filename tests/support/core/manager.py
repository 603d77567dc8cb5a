"""The handler behind osqueryd's socket: what an extension or a client may call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from osquery.extensions.ExtensionManager import Iface
from osquery.extensions.ttypes import (
    ExtensionResponse,
    ExtensionStatus,
    InternalExtensionInfo,
    InternalOptionInfo,
)

from tests.support.core.wire import PING_MESSAGE, Answer

if TYPE_CHECKING:
    from tests.support.core.daemon import Daemon


class Manager(Iface):  # type: ignore[misc]
    """Answers in thrift's types; everything else is the daemon's."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    def ping(self) -> Any:
        return ExtensionStatus(code=0, message=PING_MESSAGE, uuid=0)

    def extensions(self) -> Any:
        known = self._daemon.extensions.registered()
        return {
            one.uuid: InternalExtensionInfo(
                name=one.name, version=one.version, sdk_version=one.sdk_version, min_sdk_version=one.min_sdk_version
            )
            for one in known
        }

    def options(self) -> Any:
        return {
            name: InternalOptionInfo(value=value, default_value=value, type="string")
            for name, value in self._daemon.flags.given.items()
        }

    def registerExtension(self, info: Any, registry: Any) -> Any:
        code, message, uuid = self._daemon.extensions.register(
            info.name, info.version, info.sdk_version, info.min_sdk_version, registry
        )
        return ExtensionStatus(code=code, message=message, uuid=uuid)

    def deregisterExtension(self, uuid: int) -> Any:
        known = self._daemon.extensions.deregister(uuid)
        return ExtensionStatus(
            code=0 if known else 1, message="OK" if known else "No extension UUID registered", uuid=0
        )

    def query(self, sql: str) -> Any:
        return _response(self._daemon.answer(sql))

    def getQueryColumns(self, sql: str) -> Any:
        return _response(self._daemon.tables.columns(sql))

    def call(self, registry: str, item: str, request: dict[str, str]) -> Any:
        return _response(self._daemon.call(registry, item, request))

    def shutdown(self) -> Any:
        """Core has none; an extension cannot end it."""
        return ExtensionStatus(code=0, message="OK", uuid=0)


def _response(answer: Answer) -> Any:
    return ExtensionResponse(
        status=ExtensionStatus(code=answer.code, message=answer.message, uuid=0), response=answer.rows
    )
