"""Membership by the exact likelihood, for models that know it."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from attrs import frozen

from privagams.access import Access, Holds, Scores, Target, World
from privagams.roles import Game
from privagams_attacks.membership.patients import distinct, patient_means


@frozen
class Likelihood:
    """s = ln p_θ(x), nat. Only where the model gives its likelihood itself, such as a normalising flow."""

    game: ClassVar[Game] = "membership"
    access: ClassVar[Access] = Access.LOSS
    holds: ClassVar[Holds] = "training images"
    labels: ClassVar[bool] = True
    shadows: ClassVar[int] = 0

    def run(self, target: Target, world: World, rng: np.random.Generator) -> Scores:
        """Draws nothing from `rng`."""
        known = distinct(world.candidates)
        return Scores(patient_means(target.oracle.log_prob(known), known, world.patients))
