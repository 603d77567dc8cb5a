"""A control's folder, read for a trial: what it would say of stored answers before anybody applies it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from server.catalog.catalog import Catalog, LoadedControl, load_catalog
from server.catalog.controls import Control
from server.catalog.packs import Pack
from server.catalog.problems import CatalogError, Problem
from server.catalog.references import check_references
from server.catalog.schema import TABLES
from server.catalog.yaml_files import read_model

FILE = "control.yaml"
TRIAL_PACK = "what-if"
"""The pack that stands for all devices, where no pack asks for the control."""


@dataclass(frozen=True)
class Trial:
    """A control to be tried, in a catalog that has no other; ``folder`` has its packs, None where they are in force.

    ``asked`` tells whether some pack asks for it, and so whom it is for; else it is tried on every device.
    """

    catalog: Catalog
    control_id: str
    folder: Path | None
    asked: bool


def read_trial(directory: Path, others: Catalog, packs: Path | None = None) -> Trial:
    """Read a control's folder, with the queries, lists and packs of the packs folder it lies in.

    Where it lies in none, with those of ``others``, which come from ``packs`` or are in force. Raises ``CatalogError``.
    """
    directory = directory.resolve()
    if not (directory / FILE).is_file():
        raise CatalogError([Problem(str(directory), 1, f"there is no {FILE}", "give the folder of one control")])
    folder = _packs_folder(directory)
    control_id = directory.name
    if folder is not None:
        catalog = load_catalog(folder)
        return trial_of(catalog, catalog.controls[control_id], folder)
    problems: list[Problem] = []
    control = read_model(directory / FILE, FILE, Control, problems)
    if control is None or problems:
        raise CatalogError(problems)
    loaded = LoadedControl(control_id, directory.parent.name, control, (), FILE)
    trial = trial_of(replace(others, root=directory), loaded, packs)
    if problems := list(check_references(replace(trial.catalog, packs={}))):
        raise CatalogError(problems)
    return trial


def _packs_folder(directory: Path) -> Path | None:
    """The packs folder that has a control's folder in it, where one has."""
    above = list(directory.parents)
    if len(above) > 2 and above[1].name == "controls" and (above[2] / TABLES).is_file():
        return above[2]
    return None


def trial_of(catalog: Catalog, loaded: LoadedControl, folder: Path | None) -> Trial:
    """The catalog with this control only, and the packs that ask for it or one for all devices."""
    control_id = loaded.control_id
    asking = {
        pack_id: pack.model_copy(update={"controls": [control_id]})
        for pack_id, pack in catalog.packs.items()
        if control_id in pack.controls
    }
    packs = asking or {TRIAL_PACK: Pack(title="What if", controls=[control_id])}
    alone = replace(catalog, controls={control_id: loaded}, packs=packs, frameworks={})
    return Trial(alone, control_id, folder, bool(asking))
