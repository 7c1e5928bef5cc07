"""What a plan would spend, priced before anything runs, and the refusal of what goes beyond the budget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from attrs import frozen

from privagams.errors import BudgetError
from privagams.plan import Stage
from privagams.roles import LocalMechanism, Mechanism, Space

if TYPE_CHECKING:
    from privagams.run import Prepared


@frozen
class Forecast:
    """The budget before and after a plan, in words."""

    lines: tuple[str, ...]
    refused: bool


def forecast(prepared: Prepared, missing: Sequence[Stage]) -> Forecast:
    """Price what the missing private trainings would add to the ledger, at the budget's δ."""
    from privagams.ledger.ledger import Ledger

    budget = prepared.pipeline.budget
    if budget is None:
        return Forecast((), False)
    ledger = Ledger(prepared.home.folder, run_folder=prepared.run_folder)
    who = members(prepared)
    before = ledger.total(budget.delta, among=who).epsilon
    events: list[Any] = []
    for stage in missing:
        # What an interrupted stage has reserved is in the ledger already; its whole stays within its target.
        if _charges(stage) and not ledger.spent(fit=stage.key):
            events += planned_events(prepared, stage)
    after = before
    if events:
        after = ledger.would_total([(who, events)], budget.delta, among=who).epsilon
    lines = [
        f"Budget of data set {prepared.pipeline.source.dataset}: ε = {budget.epsilon:g} at δ = {budget.delta:g}; "
        f"spent so far {before:.2f}, after this plan {after:.2f}."
    ]
    if after > budget.epsilon:
        lines.append(
            f"Refused: ε = {after:.2f} is more than the {budget.epsilon:g} of [budget]. Lower a release's epsilon, "
            "leave a release out, or have the data set's owner raise the budget."
        )
    return Forecast(tuple(lines), after > budget.epsilon)


def refuse_beyond_budget(prepared: Prepared, missing: Sequence[Stage]) -> None:
    """Raise `BudgetError` (exit 4) before anything runs, when the plan goes beyond the budget."""
    if not any(_charges(stage) for stage in missing):
        return
    found = forecast(prepared, missing)
    if found.refused:
        raise BudgetError("\n".join(found.lines))


def planned_events(prepared: Prepared, stage: Stage) -> list[Any]:
    """What a training, or the randomising of a patient's images, would cost, as events for the accountant."""
    from privagams.stage_inputs import build

    mechanism = build(prepared.registry, "mechanisms", stage.settings["mechanism"])
    tiles = prepared.pipeline.tiles
    space = Space(tiles.size, tiles.channels, tuple(stage.settings["classes"]))
    if stage.verb == "release":
        return [_randomising(mechanism, space, stage.settings["images_per_patient"])]
    return _training(prepared, stage, mechanism, space)


def _charges(stage: Stage) -> bool:
    protected = stage.verb in ("fit", "release") and stage.settings["mechanism"] is not None
    return protected and bool(stage.settings.get("charged", True))


def _randomising(mechanism: LocalMechanism, space: Space, images: int) -> Any:
    from privagams.coordinates import cost_of_patient, pixel_coordinates

    # Pixels and latents are equally many, and which of them are strongest changes no price.
    randomiser = mechanism.randomiser(pixel_coordinates(space), len(space.classes), images)
    return cost_of_patient(randomiser.event, images)


def _training(prepared: Prepared, stage: Stage, mechanism: Mechanism, space: Space) -> list[Any]:
    from privagams.pipeline import combinations
    from privagams.search import SearchSettings, plan_search
    from privagams.stage_inputs import build
    from privagams.training.noise_plan import learning_of, noisy_stretches, plan_noise

    patients, generator = stage.settings["patients"], stage.settings["generator"]
    if stage.searches:
        asked = stage.settings["search"]
        models = (
            build(prepared.registry, "generators", {**generator, **some}).model(space, stage.seed)
            for some in combinations(asked["over"])
        )
        search = SearchSettings(asked["trials"], asked["distribution"])
        return [plan_search(models, search, mechanism, patients).event]
    model = build(prepared.registry, "generators", generator).model(space, stage.seed)
    doses = plan_noise(mechanism, noisy_stretches(learning_of(model)), patients)
    return [mechanism.event(dose.noise_multiplier, dose.steps, patients) for dose in doses if dose.steps]


def members(prepared: Prepared) -> list[str]:
    """Pseudonyms of the patients who will be members: decided by salt and patient alone, before any reading."""
    from privagams.splits import MEMBER, role_of

    settings, salt = prepared.pipeline.split, prepared.home.salt
    patients = sorted({image.patient for image in prepared.images})
    return [patient for patient in patients if role_of(settings, salt, patient) == MEMBER]
