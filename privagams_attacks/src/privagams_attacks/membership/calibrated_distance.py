"""Membership by distance: is the release nearer to this patient than other people's images are?"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from attrs import frozen

from privagams.access import Access, Holds, Scores, Target, World
from privagams.roles import Game
from privagams_attacks.membership.patients import patient_means
from privagams_attacks.membership.settings import DistanceSettings
from privagams_attacks.membership.space import Space, space_of
from privagams_attacks.nearest import nearest_distance, nearest_distance_to_others


@frozen
class CalibratedDistance:
    """s = −(min_{r∈R} d(x, r) − min_{q∈Q} d(x, q)), R the released and Q the reference images.

    The second term takes away that an ordinary image lies near to everything. Without a reference, Q are the
    other candidates' images; with one candidate only it is left out.
    GAN-Leaks (Chen et al. 2020, arXiv 1909.03935) with the reference itself in place of images drawn from a
    second model, which asks less of the adversary, and with −d where it has exp(−d²), which underflows.
    """

    settings: DistanceSettings
    game: ClassVar[Game] = "membership"
    access: ClassVar[Access] = Access.RELEASED
    holds: ClassVar[Holds] = "training images"
    labels: ClassVar[bool] = False
    shadows: ClassVar[int] = 0

    def run(self, target: Target, world: World, rng: np.random.Generator) -> Scores:
        """Draws nothing from `rng`."""
        space = space_of(world, self.settings.embedder, self.settings.standardise)
        nearness = _usual_distance(space) - nearest_distance(space.known, space.released(target))
        return Scores(patient_means(nearness, space.records, world.patients))


def _usual_distance(space: Space) -> np.ndarray:
    if space.reference is not None:
        return nearest_distance(space.known, space.reference)
    if len(space.world.patients) < 2:
        return np.zeros(len(space.known))
    return nearest_distance_to_others(space.known, space.owner)
