"""What attacks with shadow models compare: one figure per patient, of the target and of every shadow alike."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from attrs import frozen

from privagams.access import Shadow, Target, World
from privagams.errors import NotApplicable
from privagams.records import Records
from privagams_attacks.membership.loss import image_losses
from privagams_attacks.membership.patients import distinct, patient_means
from privagams_attacks.membership.settings import ShadowSettings
from privagams_attacks.membership.space import space_of
from privagams_attacks.nearest import nearest_distance

Side = Target | Shadow
_Ask = Callable[[Side], tuple[np.ndarray, np.ndarray]]
"""Target or shadow → one figure per image of candidates and of the reference; higher = better known to it."""


@frozen(eq=False)
class Signals:
    """Signals of the target and its shadows, by the same images, timesteps and noises."""

    target: np.ndarray
    """Of candidate patients, float64 "k"."""
    shadows: np.ndarray
    """Float64 "s k"."""
    member: np.ndarray
    """Whether the shadow was trained on the patient, bool "s k"."""
    target_reference: np.ndarray
    """Of reference patients, whom no model was trained on, float64 "m"; m = 0 without a reference."""
    shadow_reference: np.ndarray
    """Float64 "s m"."""


def signals(
    settings: ShadowSettings,
    target: Target,
    world: World,
    rng: np.random.Generator,
    strangers: Records | None = None,
) -> Signals:
    """Ask target and shadows the same; a patient's signal is the mean over at most `images` of its distinct images.

    `strangers`: images of reference patients, where their signals are wanted too. "auto": the loss where the
    target's model has one, else the distance to the release.
    """
    if not world.shadows:
        raise NotApplicable("there are no shadow models")
    candidates = distinct(world.candidates, settings.images)
    reference = None if strangers is None else distinct(strangers, settings.images)
    if settings.signal != "distance":
        seed = int(rng.integers(2**31))
        try:
            by_loss = _by_loss(settings, candidates, reference, seed)
            return _collect(by_loss, target, world, candidates, reference)
        except NotApplicable:
            if settings.signal == "loss":
                raise
    by_distance = _by_distance(settings, world, candidates, reference)
    return _collect(by_distance, target, world, candidates, reference)


def _collect(
    ask: _Ask, target: Target, world: World, candidates: Records, reference: Records | None
) -> Signals:
    sides: list[Side] = [target, *world.shadows]
    found = [ask(side) for side in sides]
    known = patient_means(np.array([c for c, _ in found]), candidates, world.patients)
    strangers = np.empty((len(found), 0))
    if reference is not None:
        strangers = patient_means(np.array([r for _, r in found]), reference, reference.patients)
    member = np.array([shadow.member for shadow in world.shadows], dtype=bool)
    return Signals(known[0], known[1:], member, strangers[0], strangers[1:])


def _by_loss(settings: ShadowSettings, candidates: Records, reference: Records | None, seed: int) -> _Ask:
    def ask(side: Side) -> tuple[np.ndarray, np.ndarray]:
        losses = image_losses(side.oracle, candidates, settings, seed)
        if reference is None:
            return -losses, np.empty(0)
        return -losses, -image_losses(side.oracle, reference, settings, seed)

    return ask


def _by_distance(
    settings: ShadowSettings, world: World, candidates: Records, reference: Records | None
) -> _Ask:
    space = space_of(world, settings.embedder, standardise=True, candidates=candidates)
    strangers = np.empty((0, space.known.shape[1])) if reference is None else space.features(reference)

    def ask(side: Side) -> tuple[np.ndarray, np.ndarray]:
        released = space.released(side)
        return -nearest_distance(space.known, released), -nearest_distance(strangers, released)

    return ask
