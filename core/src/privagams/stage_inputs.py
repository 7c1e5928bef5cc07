"""What stages read: components from their references, records, splits, releases and models from the store."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import frozen

from privagams.component import Use
from privagams.context import Context
from privagams.errors import StageError
from privagams.plan import Stage
from privagams.plugins import Registry
from privagams.records import Records
from privagams.records_store import PIXELS, open_records
from privagams.settings import structure
from privagams.splits import SplitTable
from privagams.store import digest

if TYPE_CHECKING:
    from privagams.roles import Model, Space


def build(registry: Registry, role: str, use: Use | Mapping[str, Any]) -> Any:
    """Make a component's object from its reference."""
    if not isinstance(use, Use):
        use = Use(use["use"], {k: v for k, v in use.items() if k != "use"})
    component = registry.get(role, use.name).component
    settings = None if component.settings is None else structure(dict(use.settings), component.settings)
    return component.build(settings)


def rng_of(stage: Stage) -> np.random.Generator:
    """Randomness for evaluation, fixed by the pipeline's seed and the stage's inputs."""
    return np.random.default_rng(int(digest([stage.seed, stage.key]), 16))


def load_model(stage: Stage, context: Context, registry: Registry) -> Model:
    """The fitted model behind a release, on the CPU."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = context.store.folder / stage.inputs["fit"]
    verb, key = stage.inputs["fit"].split("-", 1)
    if damaged := context.store.damaged(verb, key):
        raise StageError(
            f"{folder}: expected the files that were written here, found others or none: {', '.join(damaged)}; "
            "restore them. Removing the folder trains anew, and what was paid for this training stays paid"
        )
    # What a search chose stands beside the weights, and takes the place of what was set.
    chosen = json.loads((folder / "facts.json").read_text()).get("chosen", {})
    generator = {**stage.settings["generator"], **chosen}
    model: Model = build(registry, "generators", generator).model(space_of(stage, context), stage.seed)
    try:
        state = load_file(folder / "weights.safetensors")
    except SafetensorError as error:
        raise StageError(f"{folder / 'weights.safetensors'}: not readable as safetensors: {error}") from error
    model.load_state_dict(state)
    if isinstance(model, torch.nn.Module):
        model.eval()  # a model with dropout would answer an attack at random
    return model


def space_of(stage: Stage, context: Context) -> Space:
    """The images that a generator of this stage learns and draws."""
    from privagams.roles import Space

    records = records_of(stage, context)
    return Space(records.shape[0], records.shape[2], tuple(stage.settings["classes"]))


def open_released(context: Context, artifact: str) -> Records:
    """A release as an attack may see it: no patient, no slide; `group` where items have one true patient."""
    folder = context.store.folder / artifact
    if not (folder / PIXELS).exists():  # raw copies
        inputs = json.loads((folder / "manifest.json").read_text())["inputs"]
        records = open_records(context.store.folder / inputs["records"], inputs["records"])
        rows = np.load(folder / "rows.npy")
        table = {"group": np.load(folder / "group.npy"), "label": records.column("label")[rows]}
        return Records(records.pixels, table, records.rows[rows], records.origin)
    return open_records(folder, artifact)


@frozen(eq=False)
class Copied:
    """Which records a release of copies shows; only the judge may ask."""

    rows: np.ndarray
    """Row of each released record in the table of tiles, int64 "n"."""
    group: np.ndarray
    """The group of each released record: the image file it is of, int64 "n"."""


def copied(context: Context, artifact: str) -> Copied | None:
    """What lies behind a release of copies; None for drawn images."""
    folder = context.store.folder / artifact
    if not (folder / "rows.npy").is_file():
        return None
    return Copied(np.load(folder / "rows.npy"), np.load(folder / "group.npy"))


def release_stage(context: Context, stage: Stage) -> Stage:
    """The stage that drew this release, from its manifest."""
    manifest = json.loads((context.store.folder / stage.inputs["release"] / "manifest.json").read_text())
    return Stage("release", manifest["name"], manifest["settings"], manifest["components"], manifest["seed"],
                 manifest["inputs"], stage.release)  # fmt: skip


def records_of(stage: Stage, context: Context) -> Records:
    return open_records(context.store.folder / stage.inputs["records"], stage.inputs["records"])


def table_of(stage: Stage, context: Context) -> SplitTable:
    return SplitTable.load(context.store.folder / stage.inputs["split"] / "split.parquet")
