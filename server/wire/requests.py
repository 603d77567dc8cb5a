"""Reading the small requests: enrolment, and those that carry a node key and little else."""

from __future__ import annotations

from typing import Any

from server.wire.body import BadBodyError, decode
from server.wire.log import text_of
from server.wire.messages import Enrollment, Row


def parse_object(raw: bytes) -> dict[str, Any]:
    """Return the JSON object of ``raw``; raises ``BadBodyError`` for any other value."""
    value = decode(raw)
    if not isinstance(value, dict):
        raise BadBodyError("body is not a JSON object")
    return value


def parse_enrollment(raw: bytes) -> Enrollment:
    """Read an enrolment. Tables osquery left out, or that are no object, are simply not there."""
    return _enrollment(parse_object(raw))


def parse_collector_enrollment(raw: bytes) -> tuple[Enrollment, str]:
    """Read a collector's enrolment and its version. Raises ``BadBodyError`` for one that tells of no machine."""
    value = parse_object(raw)
    enrollment = _enrollment(value)
    if not enrollment.host_details.get("system_info") and not enrollment.host_details.get("osquery_info"):
        raise BadBodyError("host_details tell neither system_info nor osquery_info")
    return enrollment, text_of(value.get("collector"))


def _enrollment(value: dict[str, Any]) -> Enrollment:
    details = value.get("host_details")
    tables: dict[str, Row] = {}
    if isinstance(details, dict):
        tables = {name: row for name, row in details.items() if isinstance(row, dict)}
    return Enrollment(
        secret=text_of(value.get("enroll_secret")),
        host_identifier=text_of(value.get("host_identifier")),
        platform_type=str(value.get("platform_type", "")),
        host_details=tables,
    )


def node_key_of(headers_authorization: str, body: dict[str, Any]) -> str:
    """The node key of a request: the body's, else that of ``Authorization: NodeKey …`` (sent since osquery 5.23)."""
    return text_of(body.get("node_key")) or node_key_of_header(headers_authorization)


def node_key_of_header(authorization: str) -> str:
    """The key in an ``Authorization: NodeKey …`` header, or an empty string."""
    scheme, _, key = authorization.strip().partition(" ")
    return key.strip() if scheme.lower() == "nodekey" else ""
