"""What each stage does: loads its inputs, calls one component, writes one artifact."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from privagams.access import Access, Target, World
from privagams.component import Use
from privagams.context import Context
from privagams.errors import StageError
from privagams.plan import Stage, filled
from privagams.plugins import Registry
from privagams.records import Records
from privagams.records_store import open_records, write_records
from privagams.roles import Mechanism, Phase, Progress, Trained
from privagams.settings import structure, to_plain
from privagams.splits import AUXILIARY, MAIN, MEMBER, NONMEMBER, REFERENCE, SplitTable, check, split
from privagams.store import digest, write_json

if TYPE_CHECKING:
    from privagams.roles import Model

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


def _split(
    stage: Stage, context: Context, registry: Registry, folder: Path, progress: Progress
) -> dict[str, Any]:
    settings = context.pipeline.split
    table = split(_records(stage, context), settings, context.home.salt)
    check(table, settings, members=2, nonmembers=2, reference=2 if settings.reference else 0)
    table.save(folder / "split.parquet")
    held = {
        (r, p): len(table.patients(r, p)) for r in (MEMBER, NONMEMBER, REFERENCE) for p in (MAIN, AUXILIARY)
    }
    return {"patients": {f"{role} {part}": count for (role, part), count in held.items()}}


def _fit(
    stage: Stage, context: Context, registry: Registry, folder: Path, progress: Progress
) -> dict[str, Any]:
    from privagams.ledger.ledger import Ledger
    from privagams.roles import Space
    from privagams.training.train import fit

    records, table = _records(stage, context), _table(stage, context)
    members = records.take(table.where(MEMBER, MAIN))
    reference = records.take(table.where(REFERENCE, MAIN))
    space = Space(records.shape[0], records.shape[2], tuple(stage.settings["classes"]))
    model = build(registry, "generators", stage.settings["generator"]).model(space, stage.seed)
    mechanism = account = None
    if stage.settings["mechanism"] is not None:
        mechanism = build(registry, "mechanisms", stage.settings["mechanism"])
        budget = context.pipeline.budget
        account = Ledger(context.home.folder).account(
            run=context.pipeline.name, release=stage.release, fit=stage.key,
            patients=members.patients.tolist(), budget=budget, run_folder=context.run_folder,
        )  # fmt: skip
    result = fit(
        model, members, reference if len(reference) else None, space, mechanism, stage.settings["patients"],
        stage.seed, folder, account, progress,
    )  # fmt: skip
    phases = model.phases() if isinstance(model, Trained) else ()
    return {
        "notes": list(result.notes), "noise_multiplier": result.noise_multiplier, "steps": result.steps,
        "reference": any(phase.data == "reference" for phase in phases),
        "noise_to_signal": _noise_to_signal(phases, mechanism, result.noise_multiplier, stage.settings["patients"]),
    }  # fmt: skip


def _noise_to_signal(
    phases: Sequence[Phase], mechanism: Mechanism | None, noise: float | None, patients: int
) -> float | None:
    """The noise's norm in a step against q·N patients who all pull the same way: public figures only."""
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
    if stage.settings["of"] == "members":
        return _copies(stage, context, folder)
    import torch

    model = load_model(stage, context, registry)
    labels = _labels(stage)
    # Not from the stage's key: that goes back to the images, and would make pixels depend on them past the noise.
    rng = torch.Generator().manual_seed(int(digest([stage.seed, stage.release]), 16) % 2**63)
    pixels = model.sample(labels, rng, progress)
    classes = list(stage.settings["classes"])
    named = (
        np.array([classes[i] for i in labels], dtype=str) if classes else np.full(len(labels), "", dtype=str)
    )
    write_records(folder, pixels, {"label": named})
    return {"images": len(labels)}


def _copies(stage: Stage, context: Context, folder: Path) -> dict[str, Any]:
    """Raw copies are a view: which records, and which of them came from one image file."""
    records, table = _records(stage, context), _table(stage, context)
    rows = np.flatnonzero(table.where(MEMBER, MAIN))
    _, group = np.unique(records.column("image")[rows].astype(str), return_inverse=True)
    np.save(folder / "rows.npy", rows)
    np.save(folder / "group.npy", group)
    return {"images": len(rows)}


def load_model(stage: Stage, context: Context, registry: Registry) -> Model:
    """The fitted model behind a release, on the CPU."""
    from safetensors.torch import load_file

    from privagams.roles import Space

    folder = context.store.folder / stage.inputs["fit"]
    records = _records(stage, context)
    space = Space(records.shape[0], records.shape[2], tuple(stage.settings["classes"]))
    model: Model = build(registry, "generators", stage.settings["generator"]).model(space, stage.seed)
    model.load_state_dict(load_file(folder / "weights.safetensors"))
    return model


def open_released(context: Context, artifact: str) -> Records:
    """A release as an attack may see it: no patient, no slide; `group` where items have one true patient."""
    folder = context.store.folder / artifact
    if (folder / "rows.npy").is_file():
        inputs = json.loads((folder / "manifest.json").read_text())["inputs"]
        records = open_records(context.store.folder / inputs["records"], inputs["records"])
        rows = np.load(folder / "rows.npy")
        table = {"group": np.load(folder / "group.npy"), "label": records.column("label")[rows]}
        return Records(records.pixels, table, records.rows[rows], records.origin)
    return open_records(folder, artifact)


def true_patients(context: Context, artifact: str) -> np.ndarray | None:
    """The patient behind each group of a release of copies, "groups"; only the judge may ask."""
    folder = context.store.folder / artifact
    if not (folder / "rows.npy").is_file():
        return None
    inputs = json.loads((folder / "manifest.json").read_text())["inputs"]
    patient = open_records(context.store.folder / inputs["records"], inputs["records"]).patient
    _, first = np.unique(np.load(folder / "group.npy"), return_index=True)
    return patient[np.load(folder / "rows.npy")[first]].astype(str)


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


def _attack(
    stage: Stage, context: Context, registry: Registry, folder: Path, progress: Progress
) -> dict[str, Any]:
    attack = build(registry, "attacks", stage.settings["use"])
    released = open_released(context, stage.inputs["release"])
    copies = "group" in released.table
    records, table = _records(stage, context), _table(stage, context)
    world = _world(stage, context, registry, records, table)
    if attack.access > Access.RELEASED and copies:
        return {"not_run": f"it needs access {attack.access.name.lower()!r} to a model, and copies have none"}
    if attack.shadows:
        return {"not_run": f"it needs {attack.shadows} shadow models, which this version does not train"}
    if len(world.patients) == 0:
        return {"not_run": "no patient has an image that the adversary could hold; see [split] auxiliary"}
    target = Target(
        released, attack.access, int(released.table["group"].max()) + 1 if copies else None,
        lambda: load_model(_release_stage(context, stage), context, registry),
    )  # fmt: skip
    scores = attack.run(target, world, rng_of(stage))
    np.save(folder / "scores.npy", scores.values)
    np.save(folder / "patients.npy", world.patients.astype(str))
    return {"game": attack.game, "access": attack.access.name.lower()}


def _measure(
    stage: Stage, context: Context, registry: Registry, folder: Path, progress: Progress
) -> dict[str, Any]:
    metric = build(registry, "metrics", stage.settings["use"])
    records, table = _records(stage, context), _table(stage, context)
    world = _world(stage, context, registry, records, table)
    real = records.take(table.where(NONMEMBER))
    measurements = metric.measure(real, open_released(context, stage.inputs["release"]), world, rng_of(stage))
    return {"measurements": [to_plain(m) for m in measurements], "better": metric.better}


def _world(stage: Stage, context: Context, registry: Registry, records: Records, table: SplitTable) -> World:
    candidates = records.take(table.where(MEMBER, AUXILIARY) | table.where(NONMEMBER, AUXILIARY))
    reference = records.take(table.where(REFERENCE))

    def features(use: Use, wanted: Records) -> np.ndarray:
        name = digest({"use": filled(use, registry).name, **filled(use, registry).settings})
        artifact = stage.inputs.get(f"embed:{name}:{wanted.origin}")
        if artifact is None:
            raise StageError(
                f"features: no embedding of these records with {use.name!r} was planned; give the settings class "
                'a field `embedder: Use = uses("embedders", …)` and pass records of target or world'
            )
        loaded = np.load(context.store.folder / artifact / "features.npy", mmap_mode="r")
        return np.asarray(loaded[wanted.rows])

    return World(candidates, candidates.patients, reference if len(reference) else None, (), features)


def _labels(stage: Stage) -> np.ndarray:
    """Labels to draw, in the public shares, spread evenly so that any first part has them too."""
    images, shares = stage.settings["images"], list(stage.settings["classes"].values())
    if not shares:
        return np.zeros(images, dtype=np.int64)
    due = np.outer(np.arange(1, images + 1), shares)
    counts, labels = np.zeros(len(shares)), np.empty(images, dtype=np.int64)
    for i in range(images):
        labels[i] = np.argmax(due[i] - counts)
        counts[labels[i]] += 1
    return labels


def _release_stage(context: Context, stage: Stage) -> Stage:
    """The stage that drew this release, from its manifest."""
    manifest = json.loads((context.store.folder / stage.inputs["release"] / "manifest.json").read_text())
    return Stage("release", manifest["name"], manifest["settings"], manifest["components"], manifest["seed"],
                 manifest["inputs"], stage.release)  # fmt: skip


def _records(stage: Stage, context: Context) -> Records:
    return open_records(context.store.folder / stage.inputs["records"], stage.inputs["records"])


def _whole(records: Records) -> Records:
    """All rows of the array, the ones left out of the table too, so that features align with `Records.rows`."""
    return Records(records.pixels, {}, np.arange(records.pixels.shape[0]), records.origin)


def _table(stage: Stage, context: Context) -> SplitTable:
    return SplitTable.load(context.store.folder / stage.inputs["split"] / "split.parquet")


@contextmanager
def _blamed(stage: Stage) -> Iterator[None]:
    """Note on any error which distributions' code was running, in which stage."""
    try:
        yield
    except Exception as error:
        error.add_note(f"raised by {', '.join(sorted(set(stage.components.values())))} in {stage.name}")
        raise


_PERFORM = {
    "split": _split, "fit": _fit, "release": _release, "embed": _embed, "attack": _attack, "measure": _measure,
}  # fmt: skip
