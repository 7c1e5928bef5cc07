"""What a run refuses before anything is learnt, randomised or paid for."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from privagams.component import Use
from privagams.errors import ConfigError, PluginError, StageError
from privagams.pipeline import Pipeline, ReleaseSettings
from privagams.plugins import Registry
from privagams.roles import Space
from privagams.search_beforehand import search_faults
from privagams.stage_inputs import build

if TYPE_CHECKING:
    from privagams.run import Prepared


def refuse_what_cannot_be_made(pipeline: Pipeline, registry: Registry) -> None:
    """Build the flow and bind the mechanism of every release of randomised copies, and all that a search would try.

    Faults by TOML path. Loads torch and the noise library, and only where there is such a release.
    """
    problems: list[str] = []
    for index, release in enumerate(pipeline.releases):
        problems += search_faults(pipeline, registry, release, f"releases[{index}]")
        if not release.randomised:
            continue
        for name, attempt in (("generator", _flow), ("mechanism", _bound)):
            text = _refused(attempt, pipeline, registry, release)
            problems += [f"releases[{index}].{name}: {text}"] if text else []
    if problems:
        raise ConfigError(problems)


def refuse_unprotected_learning(prepared: Prepared) -> None:
    """Refuse a claim on a generator that learns from members unprotected, and protection of nobody.

    Guarantee: a release that carries a claim uses no network that has seen a member past a mechanism
    (test_a_flow_trained_on_members_without_a_mechanism_carries_no_claim,
    test_a_yardsticks_flow_does_not_become_a_claims).
    """
    problems = []
    for index, release in enumerate(prepared.pipeline.releases):
        protector = release.training if release.randomised else release.mechanism
        if release.generator is None or (protector is None and not release.randomised):
            continue
        learns = _from_members(prepared, release)
        if protector is None and learns and not release.yardstick:
            problems.append(
                f"releases[{index}].training: {release.generator.name!r} learns from members, and nothing would "
                'protect them: let it learn from reference patients (train_on = "reference"), add a mechanism as '
                "`training`, or set yardstick = true"
            )
        if protector is not None and not learns:
            where = "training" if release.randomised else "mechanism"
            problems.append(
                f"releases[{index}].{where}: {release.generator.name!r} learns from reference patients only, so "
                f'{protector.name!r} would protect nobody; remove it, or set train_on = "members"'
            )
    if problems:
        raise ConfigError(problems)


def refuse_two_searches(prepared: Prepared) -> None:
    """Refuse a run with more than one search to do.

    Guarantee: no search begins where another one ends, as the ledger's record of its beginning would then tell
    how long the other took (test_two_searches_in_one_run_are_refused).
    """
    left = [stage.name for stage in prepared.plan.missing(prepared.store) if stage.searches]
    if len(left) > 1:
        raise ConfigError(
            f"releases: expected at most one search to do in a run, found {len(left)} ({', '.join(left)}): the second "
            "would begin when the first ends, which tells how long that took. Run them by themselves, on different "
            "days: leave one out until the other is done, or name another file"
        )


def refuse_missing_reference(prepared: Prepared) -> None:
    """Refuse a generator that learns from reference patients where the split makes none."""
    from privagams.roles import Phase
    from privagams.training.noise_plan import learning_of

    if prepared.pipeline.split.reference > 0:
        return
    problems = []
    for index, release in enumerate(prepared.pipeline.releases):
        stages = prepared.plan.of("fit", release.name)
        if release.generator is None or all(prepared.store.has(s.verb, s.key) for s in stages):
            continue
        parts = learning_of(_model(prepared.pipeline, prepared.registry, release.generator))
        if any(isinstance(part, Phase) and part.data == "reference" for part in parts):
            problems.append(
                f"releases[{index}].generator: {release.generator.name!r} learns from reference patients as set here, "
                "expected some, found none; set [split] reference, such as 0.2, or let it learn from members alone"
            )
    if problems:
        raise ConfigError(problems)


def refuse_members_without_images(prepared: Prepared) -> None:
    """Refuse randomised copies of a data set of which some member has no usable image.

    Guarantee: how many copies leave is the number of members in the source's table, whatever their images show
    (test_a_member_whose_images_cannot_be_used_stops_randomised_copies). Replacing one patient's images must not
    change it.
    """
    from privagams.ledger.budget import members
    from privagams.records_store import open_records

    if not any(release.randomised for release in prepared.pipeline.releases):
        return
    tile = prepared.plan.of("tile")[0].artifact
    usable = set(open_records(prepared.store.folder / tile, tile).patients.tolist())
    lost = [name for name in members(prepared) if name not in usable]
    if lost:
        raise StageError(
            f"randomised copies: expected a usable image of every member, found none of {len(lost)} of them (not "
            "readable, or without tissue; private/failed.csv names files that failed): how many copies leave must not "
            "depend on what an image shows. Take these patients out of the source's table, or lower [tiles] tissue"
        )


def _from_members(prepared: Prepared, release: ReleaseSettings) -> bool:
    from privagams.training.noise_plan import asks_members, learning_of

    stage = prepared.plan.of("fit", release.name)[0]
    if prepared.store.has(stage.verb, stage.key):
        facts = json.loads((prepared.store.path(stage.verb, stage.key) / "facts.json").read_text())
        return bool(facts["members"])
    assert release.generator is not None
    model = _model(prepared.pipeline, prepared.registry, release.generator)
    return any(asks_members(part) for part in learning_of(model))


def _flow(pipeline: Pipeline, registry: Registry, release: ReleaseSettings) -> None:
    if release.generator is not None:
        _model(pipeline, registry, release.generator)


def _bound(pipeline: Pipeline, registry: Registry, release: ReleaseSettings) -> None:
    from privagams.coordinates import pixel_coordinates

    assert release.mechanism is not None
    space = _space(pipeline)
    mechanism = build(registry, "mechanisms", release.mechanism)
    # Pixels and latents are equally many.
    mechanism.randomiser(pixel_coordinates(space), len(space.classes), release.images_per_patient or 1)


def _refused(
    attempt: Callable[[Pipeline, Registry, ReleaseSettings], None],
    pipeline: Pipeline,
    registry: Registry,
    release: ReleaseSettings,
) -> str:
    try:
        attempt(pipeline, registry, release)
    except (ConfigError, PluginError, StageError) as error:
        return str(error)
    return ""


def _model(pipeline: Pipeline, registry: Registry, generator: Use) -> Any:
    return build(registry, "generators", generator).model(_space(pipeline), pipeline.seed)


def _space(pipeline: Pipeline) -> Space:
    return Space(pipeline.tiles.size, pipeline.tiles.channels, pipeline.classes)
