"""Which devices and controls a page is of: the filter that pages of posture share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aiohttp import web

from server.catalog.catalog import Catalog
from server.catalog.schema import PLATFORMS
from server.report.asked import NONE, AskedError, among
from server.store.applications import tags_of
from server.store.driver import Transaction
from server.store.numbers import Among

NAMES = ("platform", "tag", "owner", "criterion")
MOST_TAGS = 200


@dataclass(frozen=True, slots=True)
class Filter:
    """What is asked for, as it stands in addresses."""

    values: Mapping[str, str]
    among: Among

    @property
    def of_devices(self) -> Mapping[str, str]:
        """The part that says which devices, for the page of one control."""
        return {name: value for name, value in self.values.items() if name != "criterion"}


@dataclass(frozen=True, slots=True)
class Choices:
    """What the filter can be set to. The tags are those that devices have now."""

    platforms: Sequence[str]
    tags: Sequence[str]
    criteria: Mapping[str, Sequence[str]]
    """The criteria that some control answers to, by framework."""


def filter_of(request: web.Request, catalog: Catalog) -> Filter:
    """The filter of a request. Raises ``HTTPBadRequest`` for a platform or criterion that there is not."""
    values = {name: value for name in NAMES if (value := request.query.get(name, "").strip())}
    try:
        return Filter(values, among(values, catalog))
    except AskedError as error:
        raise web.HTTPBadRequest(reason=f"{str(error)[:1].upper()}{str(error)[1:]}.") from error


async def choices(tx: Transaction, catalog: Catalog) -> Choices:
    """What to choose from."""
    given = await tx.rows("SELECT DISTINCT d.tags FROM muster_devices d WHERE d.tags <> '' AND d.retired_at IS NULL")
    tags = sorted({tag for (text,) in given for tag in tags_of(text)})
    criteria = {
        framework: [name for name, criterion in known.criteria.items() if criterion.controls]
        for framework, known in catalog.frameworks.items()
    }
    return Choices(PLATFORMS, [*tags[:MOST_TAGS], NONE] if tags else [], criteria)


async def control_titles(tx: Transaction) -> dict[str, str]:
    """The title of each control that ever was."""
    return dict(await tx.rows("SELECT control, title FROM muster_controls"))
