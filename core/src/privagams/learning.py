"""Whose images a generator would learn from, asked before it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privagams.component import Use
from privagams.errors import ConfigError
from privagams.roles import Space, Summarised
from privagams.stage_inputs import build

if TYPE_CHECKING:
    from privagams.run import Prepared


def refuse_unprotected_learning(prepared: Prepared) -> None:
    """Refuse randomised copies whose generator learns from members unprotected, and protection of nothing.

    Guarantee: a release that carries a claim uses no network that has seen a member past a mechanism
    (test_a_flow_trained_on_members_without_a_mechanism_carries_no_claim).
    """
    problems = []
    for index, release in enumerate(prepared.pipeline.releases):
        protector = release.training if release.randomised else release.mechanism
        if release.generator is None or (protector is None and not release.randomised):
            continue
        if all(prepared.store.has(stage.verb, stage.key) for stage in prepared.plan.of("fit", release.name)):
            continue  # asked when it was trained; its key holds all settings
        learns = _from_members(prepared, release.generator)
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


def _from_members(prepared: Prepared, generator: Use) -> bool:
    tiles = prepared.pipeline.tiles
    space = Space(tiles.size, tiles.channels, prepared.pipeline.classes)
    model = build(prepared.registry, "generators", generator).model(space, prepared.pipeline.seed)
    return isinstance(model, Summarised) or any(phase.data == "members" for phase in model.phases())
