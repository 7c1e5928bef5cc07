"""The stages that play the adversary: attacks, their shadow models, and what calibrates them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import evolve

from privagams.access import Access, Holds, Scores, Shadow, Target, World
from privagams.component import Use
from privagams.context import Context
from privagams.coordinates import pixel_coordinates
from privagams.drawing import draw_images
from privagams.errors import NotApplicable, PluginError, StageError
from privagams.plan import Stage, filled
from privagams.plugins import Registry
from privagams.records import Records
from privagams.records_store import open_records
from privagams.roles import Progress
from privagams.searching import once_more
from privagams.splits import AUXILIARY, MAIN, MEMBER, NONMEMBER, REFERENCE, shadow_half
from privagams.stage_inputs import (
    build,
    load_model,
    open_released,
    records_of,
    release_stage,
    rng_of,
    space_of,
    table_of,
)
from privagams.store import digest

_ATTRIBUTES = ("label", "sex", "age", "site", "scanner")
"""Columns that an attack on an attribute may be out to guess; it sees none of them of its candidates."""
_PARTS: dict[Holds, tuple[str, ...]] = {
    "other images": (AUXILIARY,), "training images": (MAIN,), "all images": (MAIN, AUXILIARY),
}  # fmt: skip


def attack(
    stage: Stage, context: Context, registry: Registry, folder: Path, progress: Progress
) -> dict[str, Any]:
    """Run one attack on one release; keeps its scores, or the reason why it could not be run."""
    made = build(registry, "attacks", stage.settings["use"])
    released = open_released(context, stage.inputs["release"])
    copies = "group" in released.table
    source = release_stage(context, stage)
    modelled = "fit" in source.inputs
    if made.access > Access.RELEASED and not modelled:
        return {"not_run": "it needs a model, and these copies of real images were made without one"}
    if copies and made.shadows:
        return {"not_run": "it needs shadow models, and copies of real images have none"}
    hidden = _ATTRIBUTES if made.game == "attribute" else () if made.labels else ("label",)
    world = world_of(stage, context, registry, made.holds, hidden, trained=not copies)
    if len(world.patients) == 0:
        return {"not_run": "no patient has an image that the adversary could hold; see [split] auxiliary"}
    world = evolve(world, shadows=_shadows(stage, context, registry, made, world.patients))
    if copies:  # in an order of their own: that of the table would say who is who
        released = released.take(np.random.default_rng(stage.seed).permutation(len(released)))
    target = Target(
        _read_only(released), made.access, int(released.table["group"].max()) + 1 if copies else None,
        (lambda: load_model(source, context, registry)) if modelled else None,
        world.classes,
    )  # fmt: skip
    try:
        scores = made.run(target, world, rng_of(stage))
    except NotApplicable as error:
        return {"not_run": str(error)}
    if not isinstance(scores, Scores):
        raise PluginError(
            f"attack {stage.settings['use']['use']!r}: expected Scores, found {type(scores).__name__}; "
            "return privagams.access.Scores(values)"
        )
    np.save(folder / "patients.npy", world.patients.astype(str))
    return {
        "game": made.game, "access": made.access.name.lower(), "holds": made.holds, "shadows": made.shadows,
        "scores": save_scores(scores, folder),
    }  # fmt: skip


def save_scores(scores: Scores, folder: Path) -> dict[str, Any]:
    """Write arrays beside the facts, which hold the rest."""
    arrays = {"values": scores.values, "by_image": scores.by_image, "named": scores.patients}
    for name, array in arrays.items():
        if array is not None:
            kept = np.asarray(array)
            np.save(folder / f"{name}.npy", kept.astype(str) if name == "named" else kept.astype(np.float64))
    return {
        "threshold": scores.threshold,
        "attribute": scores.attribute,
        "options": [str(option) for option in scores.options],
    }


def load_scores(folder: Path, facts: dict[str, Any]) -> Scores:
    """Read what `save_scores` wrote."""
    found = {
        name: np.load(folder / f"{name}.npy") if (folder / f"{name}.npy").is_file() else None
        for name in ("values", "by_image", "named")
    }
    values = found["values"]
    assert values is not None
    return Scores(
        values, facts["threshold"], found["named"], facts["attribute"], tuple(facts["options"]),
        found["by_image"],
    )  # fmt: skip


def shadow(
    stage: Stage, context: Context, registry: Registry, folder: Path, progress: Progress
) -> dict[str, Any]:
    """Make the whole release once more from another half of members and non-members. It never leaves."""
    from privagams.ledger.uncharged import Uncharged
    from privagams.training.train import fit

    records, table = records_of(stage, context), table_of(stage, context)
    chosen = shadow_half(table, context.home.salt, stage.settings["shadow"])
    trained = records.take(table.where(part=MAIN) & np.isin(table.patient, chosen))
    reference = records.take(table.where(REFERENCE, MAIN))
    space = space_of(stage, context)
    seed = int(digest([stage.seed, "shadow", stage.settings["shadow"]]), 16) % 2**31
    generator, mechanism = once_more(stage, context, registry)
    model = build(registry, "generators", generator).model(space, seed)
    account = None if mechanism is None else Uncharged()
    fit(
        model, trained, reference if len(reference) else None, space, mechanism, stage.settings["patients"],
        seed, folder, account, progress, device=context.device, watch=False,
    )  # fmt: skip
    images = draw_images(
        model, {**stage.settings, "classes": stage.settings["shares"]}, [seed], folder, lambda *_: None
    )
    np.save(folder / "trained.npy", chosen)
    searched = {
        name: generator[name]
        for name in generator
        if generator[name] != stage.settings["generator"].get(name)
    }
    return {"images": images, **({"chosen": searched} if searched else {})}


def blind(
    stage: Stage, context: Context, registry: Registry, folder: Path, progress: Progress
) -> dict[str, Any]:
    """Whether members can be told from non-members without looking at any release."""
    from privagams.judge.blind import blind_baseline, plain_features
    from privagams.settings import to_plain

    trained = bool(stage.settings["trained"])
    world = world_of(stage, context, registry, stage.settings["holds"], (), trained)
    table = table_of(stage, context)
    member = np.isin(world.patients, table.patients(MEMBER))
    if member.all() or not member.any():
        return {"not_run": "it takes members and non-members with such images"}
    features = np.concatenate([plain_features(pixels) for _, pixels in world.candidates.batches(256)])
    owner = np.searchsorted(world.patients, world.candidates.patient.astype(str))
    found = blind_baseline(features, owner, member, rng_of(stage))
    return {"measurement": to_plain(found.measurement), "p_value": found.p_value}


def audit(
    stage: Stage, context: Context, registry: Registry, folder: Path, progress: Progress
) -> dict[str, Any]:
    """Train once more with planted canaries, or randomise invented vectors, and keep what they score.

    On invented patients: its figures may be published, and reference patients of the private source would lose
    by that what no claim counts.
    """
    from privagams.audit import audit_local, audit_mechanism

    if stage.settings["local"]:
        space = space_of(stage, context)
        return audit_local(
            build(registry, "mechanisms", stage.settings["mechanism"]), pixel_coordinates(space).size,
            len(space.classes), stage.settings["images_per_patient"], stage.settings["canaries"], stage.seed,
            progress,
        ).to_facts()  # fmt: skip
    generator, mechanism = once_more(stage, context, registry)
    assert mechanism is not None
    found = audit_mechanism(
        build(registry, "generators", generator), mechanism,
        space_of(stage, context), stage.settings["patients"], None, stage.settings["canaries"], stage.seed,
        folder, progress,
    )  # fmt: skip
    return found.to_facts()


def selftest(
    stage: Stage, context: Context, registry: Registry, folder: Path, progress: Progress
) -> dict[str, Any]:
    """Run the known-answer suite on the judge and on the very attacks and mechanisms of this run."""
    from privagams.selftest import run_selftest

    taking_part = set(stage.components)
    offers = tuple(o for o in registry.offers if f"{o.role}:{o.component.name}" in taking_part)
    return run_selftest(evolve(registry, offers=offers), progress).to_json()


def world_of(
    stage: Stage, context: Context, registry: Registry, holds: Holds, hidden: Sequence[str], trained: bool
) -> World:
    """What the adversary knows: images by `holds`, without the `hidden` columns; no shadows yet.

    `trained`: the release was made by a generator, which leaves out images without one of the classes; then
    patients without such an image are no candidates, and the images left out are no training images.
    """
    records, table = records_of(stage, context), table_of(stage, context)
    classes = context.pipeline.classes
    wanted = np.isin(table.role, (MEMBER, NONMEMBER)) & np.isin(table.part, _PARTS[holds])
    if trained and classes:
        known = records.label_index(classes) >= 0
        # A patient without such an image was not trained on, and the same goes for its like among the others.
        wanted &= np.isin(table.patient, table.patient[known & (table.part == MAIN)])
        wanted &= known | (table.part != MAIN)
    candidates = records.take(wanted)
    shown = {name: column for name, column in candidates.table.items() if name not in hidden}
    reference = records.take(table.where(REFERENCE))

    def features(use: Use, asked: Records) -> np.ndarray:
        name = digest({"use": filled(use, registry).name, **filled(use, registry).settings})
        artifact = stage.inputs.get(f"embed:{name}:{asked.origin}")
        if artifact is None:
            raise StageError(
                f"features: no embedding of these records with {use.name!r} was planned; give the settings class "
                'a field `embedder: Use = uses("embedders", …)` and pass records of target or world'
            )
        loaded = np.load(context.store.folder / artifact / "features.npy", mmap_mode="r")
        return np.asarray(loaded[asked.rows])

    return World(
        _read_only(evolve(candidates, table=shown)), candidates.patients.astype(str),
        _read_only(reference) if len(reference) else None, (), features, classes,
    )  # fmt: skip


def _shadows(
    stage: Stage, context: Context, registry: Registry, made: Any, patients: np.ndarray
) -> list[Shadow]:
    artifacts = [stage.inputs[f"shadow:{i}"] for i in range(made.shadows) if f"shadow:{i}" in stage.inputs]
    if len(artifacts) < made.shadows:
        raise PluginError(
            f"attack {stage.settings['use']['use']!r}: needs {made.shadows} shadow models, but its settings asked "
            f"for {len(artifacts)}; give its settings class a field `shadows: int` and take the number from there"
        )
    return [_shadow_of(artifact, context, registry, made.access, patients) for artifact in artifacts]


def _shadow_of(
    artifact: str, context: Context, registry: Registry, access: Access, patients: np.ndarray
) -> Shadow:
    folder = context.store.folder / artifact
    manifest = context.store.manifest(*artifact.split("-", 1))
    made = Stage(
        "shadow", manifest["name"], manifest["settings"], manifest["components"], manifest["seed"],
        {**manifest["inputs"], "fit": artifact},
    )  # fmt: skip
    return Shadow(
        _read_only(open_records(folder, artifact)), np.isin(patients, np.load(folder / "trained.npy")), access,
        lambda: load_model(made, context, registry), context.pipeline.classes,
    )  # fmt: skip


def _read_only(records: Records) -> Records:
    """The same records; writing into their table is an error in the one who tries."""
    for column in records.table.values():
        column.flags.writeable = False
    return records
