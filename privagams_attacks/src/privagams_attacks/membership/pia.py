"""Membership by how far the noise prediction moves between an image and its own noised version."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from attrs import frozen

from privagams.access import Access, Holds, Scores, Target, World
from privagams.roles import Game
from privagams_attacks.membership.patients import distinct, patient_means
from privagams_attacks.membership.settings import PiaSettings

if TYPE_CHECKING:
    import torch

    from privagams.oracle import Denoiser


@frozen
class Pia:
    """s = −‖ε_0 − ε_θ(√ᾱ_t x_0 + √(1 − ᾱ_t) ε_0, t)‖_p^p / d with ε_0 = ε_θ(x_0, 0). Two queries, no noise.

    Kong et al. (2023), arXiv 2305.18355.
    """

    settings: PiaSettings
    game: ClassVar[Game] = "membership"
    access: ClassVar[Access] = Access.LOSS
    holds: ClassVar[Holds] = "training images"
    labels: ClassVar[bool] = True
    shadows: ClassVar[int] = 0

    def run(self, target: Target, world: World, rng: np.random.Generator) -> Scores:
        """Draws nothing from `rng`."""
        from privagams_attacks.membership.noise import per_image

        known = distinct(world.candidates, self.settings.images)
        moved = per_image(target.oracle, known, self._movement)
        return Scores(patient_means(-moved, known, world.patients))

    def _movement(
        self, denoiser: Denoiser, images: torch.Tensor, labels: torch.Tensor | None
    ) -> torch.Tensor:
        from privagams_attacks.membership.noise import noised, timestep_at

        timestep = timestep_at(denoiser, self.settings.level)
        own = denoiser.predict(images, 0, labels)
        again = denoiser.predict(noised(images, own, denoiser, timestep), timestep, labels)
        return (own - again).abs().pow(self.settings.power).flatten(1).mean(1)
