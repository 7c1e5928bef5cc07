"""What each stage does: loads its inputs, calls one component, writes one artifact."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from privagams.attack_stages import attack, audit, blind, selftest, shadow, world_of
from privagams.context import Context
from privagams.drawing import draw_images
from privagams.duplicates import refuse_shared_pixels
from privagams.errors import StageError
from privagams.plan import Stage
from privagams.plugins import Registry
from privagams.randomise import randomise
from privagams.records import Records
from privagams.records_store import open_records
from privagams.roles import Mechanism, PairedMetric, Phase, Progress, Sums
from privagams.searching import search
from privagams.settings import to_plain
from privagams.splits import AUXILIARY, MAIN, MEMBER, NONMEMBER, REFERENCE, check, split
from privagams.stage_inputs import (
    build,
    copied,
    load_model,
    open_released,
    records_of,
    rng_of,
    space_of,
    table_of,
)
from privagams.store import write_json

if TYPE_CHECKING:
    from privagams.training.ranks import Group

_CHUNK = 1024


def perform(stage: Stage, context: Context, registry: Registry, progress: Progress) -> dict[str, Any]:
    """Run one stage into a new artifact; returns what the report may need to know about it."""
    provenance = {
        "verb": stage.verb, "name": stage.name, "components": dict(stage.components), "seed": stage.seed,
        "settings": stage.settings, "inputs": dict(stage.inputs),
    }  # fmt: skip
    with context.store.writing(stage.verb, stage.key, provenance, stage.resumes) as folder:
        with _blamed(stage):
            facts = _PERFORM[stage.verb](stage, context, registry, folder, progress)
        write_json(folder / "facts.json", facts)
    return facts


def _split(
    stage: Stage, context: Context, registry: Registry, folder: Path, progress: Progress
) -> dict[str, Any]:
    settings = context.pipeline.split
    records = records_of(stage, context)
    table = split(records, settings, context.home.salt)
    refuse_shared_pixels(records)
    check(table, settings, members=2, nonmembers=2, reference=2 if settings.reference else 0)
    table.save(folder / "split.parquet")
    held = {
        (r, p): len(table.patients(r, p)) for r in (MEMBER, NONMEMBER, REFERENCE) for p in (MAIN, AUXILIARY)
    }
    return {"patients": {f"{role} {part}": count for (role, part), count in held.items()}}


def _fit(
    stage: Stage, context: Context, registry: Registry, folder: Path, progress: Progress
) -> dict[str, Any]:
    from functools import partial

    from privagams.ledger.ledger import Ledger
    from privagams.training.noise_plan import asks_members, learning_of
    from privagams.training.ranks import Ranks
    from privagams.training.train import fit

    records, table = records_of(stage, context), table_of(stage, context)
    members = records.take(table.where(MEMBER, MAIN))
    reference = records.take(table.where(REFERENCE, MAIN))
    space = space_of(stage, context)
    model = build(registry, "generators", stage.settings["generator"]).model(space, stage.seed)
    mechanism = account = helpers = None
    if stage.settings["mechanism"] is not None:
        mechanism = build(registry, "mechanisms", stage.settings["mechanism"])
        budget = context.pipeline.budget
        account = Ledger(context.home.folder).account(
            run=context.pipeline.name, release=stage.release, fit=stage.key,
            patients=members.patients.tolist(), budget=budget, run_folder=context.run_folder,
        )  # fmt: skip
        ranks = Ranks.from_environment(context.device)
        helpers = None if ranks is None else partial(ranks.lead, stage.artifact)
    public = reference if len(reference) else None
    more: Mapping[str, Any] = {}
    if stage.searches:
        assert mechanism is not None
        assert account is not None
        won = search(stage, context, registry, members, public, space, mechanism, account, folder, progress)
        model, result, more = won.model, won.result, won.facts
    else:
        result = fit(
            model, members, public, space, mechanism, stage.settings["patients"], stage.seed, folder, account,
            progress, device=context.device, helpers=helpers,
        )  # fmt: skip
    parts = learning_of(model)
    # A search chose by reference patients' images: what it left tells of them as a training on them would.
    seen = stage.searches or any(isinstance(part, Phase) and part.data == "reference" for part in parts)
    return {
        "notes": list(result.notes), "noise_multiplier": result.noise_multiplier, "steps": result.steps,
        "reference": seen,
        "members": any(asks_members(part) for part in parts),
        "noise_to_signal": _noise_to_signal(parts, mechanism, result.noise_multiplier, stage.settings["patients"]),
        **more,
    }  # fmt: skip


def help_fit(stage: Stage, context: Context, registry: Registry, phase: int, group: Group) -> None:
    """Help another process, which performs `stage`, in one phase of its training; writes nothing."""
    from privagams.training.following import follow

    records, table, space = records_of(stage, context), table_of(stage, context), space_of(stage, context)
    model = build(registry, "generators", stage.settings["generator"]).model(space, stage.seed)
    mechanism = build(registry, "mechanisms", stage.settings["mechanism"])
    members = records.take(table.where(MEMBER, MAIN))
    follow(model, members, space, mechanism, stage.settings["patients"], phase, group, context.device)


def _noise_to_signal(
    parts: Sequence[Phase | Sums], mechanism: Mechanism | None, noise: float | None, patients: int
) -> float | None:
    """The noise's norm in a step against q·N patients who all pull the same way: public figures only."""
    phases = [part for part in parts if isinstance(part, Phase) and part.data == "members"]
    if mechanism is None or noise is None or not phases:
        return None
    trained = sum(
        parameter.numel()
        for phase in phases
        for name, parameter in phase.module.named_parameters()
        if phase.trains(name)
    )
    return noise * trained**0.5 / (mechanism.sampling_rate(patients) * patients)


def _release(
    stage: Stage, context: Context, registry: Registry, folder: Path, progress: Progress
) -> dict[str, Any]:
    if stage.settings["mechanism"] is not None:
        return randomise(stage, context, registry, folder, progress)
    if stage.settings["of"] == "members":
        return _copies(stage, context, folder)
    import torch

    settings = {"images": stage.settings["images"], "classes": stage.settings["shares"]}
    model = load_model(stage, context, registry)
    if isinstance(model, torch.nn.Module):
        model.to(context.device)
    return {"images": draw_images(model, settings, [stage.seed, stage.release], folder, progress)}


def _copies(stage: Stage, context: Context, folder: Path) -> dict[str, Any]:
    """Raw copies are a view: which records, and which of them came from one image file."""
    records, table = records_of(stage, context), table_of(stage, context)
    rows = np.flatnonzero(table.where(MEMBER, MAIN))
    _, group = np.unique(records.column("image")[rows].astype(str), return_inverse=True)
    np.save(folder / "rows.npy", rows)
    np.save(folder / "group.npy", group)
    return {"images": len(rows)}


def _embed(
    stage: Stage, context: Context, registry: Registry, folder: Path, progress: Progress
) -> dict[str, Any]:
    embedder = build(registry, "embedders", stage.settings["embedder"])
    records = _whole(open_records(context.store.folder / stage.inputs["records"], stage.inputs["records"]))
    out: np.memmap | None = None
    for chosen, pixels in records.batches(_CHUNK):
        features = np.asarray(embedder.embed(pixels), dtype=np.float32)
        if features.shape[0] != len(pixels) or features.ndim != 2 or not np.isfinite(features).all():
            raise StageError(
                f"embedder {stage.settings['embedder']['use']!r}: expected one finite vector for each of "
                f"{len(pixels)} images, found shape {features.shape}; this is the embedder's fault"
            )
        if out is None:
            shape = (len(records), features.shape[1])
            out = np.lib.format.open_memmap(folder / "features.npy", mode="w+", dtype=np.float32, shape=shape)
        out[chosen] = features
        progress(chosen.stop, len(records))
    if out is not None:
        out.flush()
    return {"images": len(records)}


def _measure(
    stage: Stage, context: Context, registry: Registry, folder: Path, progress: Progress
) -> dict[str, Any]:
    metric = build(registry, "metrics", stage.settings["use"])
    records, table = records_of(stage, context), table_of(stage, context)
    world = world_of(stage, context, registry, "other images", (), trained=False)
    real = records.take(table.where(NONMEMBER))
    released = open_released(context, stage.inputs["release"])
    behind = copied(context, stage.inputs["release"])
    if behind is not None and isinstance(metric, PairedMetric):
        originals = records.take(behind.rows)
        measurements = metric.measure_pairs(real, originals, released, world, rng_of(stage))
    elif isinstance(metric, PairedMetric):
        return {"not_run": "it compares copies with their originals, and drawn images have none"}
    else:
        measurements = metric.measure(real, released, world, rng_of(stage))
    return {"measurements": [to_plain(m) for m in measurements], "better": metric.better}


def _whole(records: Records) -> Records:
    """All rows of the array, the ones left out of the table too, so that features align with `Records.rows`."""
    return Records(records.pixels, {}, np.arange(records.pixels.shape[0]), records.origin)


@contextmanager
def _blamed(stage: Stage) -> Iterator[None]:
    """Note on any error which distributions' code was running, in which stage."""
    try:
        yield
    except Exception as error:
        error.add_note(f"raised by {', '.join(sorted(set(stage.components.values())))} in {stage.name}")
        raise


_PERFORM = {
    "split": _split, "fit": _fit, "release": _release, "embed": _embed, "measure": _measure,
    "attack": attack, "shadow": shadow, "blind": blind, "audit": audit, "selftest": selftest,
}  # fmt: skip
