"""Membership by how many released images lie near."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from attrs import frozen

from privagams.access import Access, Holds, Scores, Target, World
from privagams.roles import Game
from privagams_attacks.membership.patients import patient_means
from privagams_attacks.membership.settings import DistanceSettings
from privagams_attacks.membership.space import space_of
from privagams_attacks.nearest import distance_rows, nearest_distance


@frozen
class MonteCarlo:
    """s = average rank of |{r ∈ R : d(x, r) ≤ ε}| / |R| among the candidates' images; ε = median of min_r d(x, r).

    Ties are heavy, as half of the images have nothing within ε: they share the mean of their ranks, from 0 to 1.
    Hilprecht, Härterich and Bernau (2019), "Monte Carlo and reconstruction membership inference attacks
    against generative models".
    """

    settings: DistanceSettings
    game: ClassVar[Game] = "membership"
    access: ClassVar[Access] = Access.RELEASED
    holds: ClassVar[Holds] = "training images"
    labels: ClassVar[bool] = False
    shadows: ClassVar[int] = 0

    def run(self, target: Target, world: World, rng: np.random.Generator) -> Scores:
        """Draws nothing from `rng`."""
        from scipy.stats import rankdata

        space = space_of(world, self.settings.embedder, self.settings.standardise)
        released = space.released(target)
        near = float(np.median(nearest_distance(space.known, released)))
        count = np.empty(len(space.known))
        for rows, distances in distance_rows(space.known, released):
            count[rows] = (distances <= near).sum(axis=1)
        ranks = (rankdata(count) - 0.5) / len(count)
        return Scores(patient_means(ranks, space.records, world.patients))
