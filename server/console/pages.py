"""Templates into pages. Everything is escaped unless a template says otherwise, and none does."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from server.console.assets import Assets
from server.evaluate.verdicts import STATUSES
from server.report import words

_FOLDER = Path(__file__).parent / "templates"


class Pages:
    """The templates, ready to be filled."""

    def __init__(self, assets: Assets) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(_FOLDER),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.filters |= {
            "number": lambda count: f"{count:,}",
            "reason": words.reason_text,
            "platform": words.platform_name,
            "long_day": words.long_day,
            "short_day": words.short_day,
            "dated": words.dated,
            "moment": words.moment,
            "ago": words.ago,
            "plural": words.plural,
            "printable": words.printable,
            "part": lambda text: quote(str(text), safe=""),
            "query": query_string,
            "cost": words.cost_text,
        }
        self._environment.globals |= {
            "asset": assets.address,
            "STATUSES": STATUSES,
            "LABELS": words.LABELS,
            "MEANINGS": words.MEANINGS,
            "COVERAGE": words.COVERAGE,
            "PHASES": words.PHASES,
            "OUTCOMES": words.OUTCOMES,
        }

    def render(self, template: str, **context: object) -> str:
        """A page's HTML."""
        return self._environment.get_template(template).render(**context)


def query_string(values: dict[str, object]) -> str:
    """``?name=value`` for those that are given; empty where none is."""
    given = {name: str(value) for name, value in values.items() if value not in (None, "")}
    return f"?{urlencode(given)}" if given else ""
