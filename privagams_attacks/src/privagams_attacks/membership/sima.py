"""Membership by the size of the noise that a model sees in the clean image."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from attrs import frozen

from privagams.access import Access, Holds, Scores, Target, World
from privagams.roles import Game
from privagams_attacks.membership.patients import distinct, patient_means
from privagams_attacks.membership.settings import SimaSettings

if TYPE_CHECKING:
    import torch

    from privagams.oracle import Denoiser


@frozen
class Sima:
    """s = −‖ε_θ(x_0, t)‖_p^p / d: one query, the image itself in place of a noised one.

    Rao, Qiao and Gupta (2025), "Score-based membership inference on diffusion models".
    """

    settings: SimaSettings
    game: ClassVar[Game] = "membership"
    access: ClassVar[Access] = Access.LOSS
    holds: ClassVar[Holds] = "training images"
    labels: ClassVar[bool] = True
    shadows: ClassVar[int] = 0

    def run(self, target: Target, world: World, rng: np.random.Generator) -> Scores:
        """Draws nothing from `rng`."""
        from privagams_attacks.membership.noise import per_image

        known = distinct(world.candidates, self.settings.images)
        size = per_image(target.oracle, known, self._size)
        return Scores(patient_means(-size, known, world.patients))

    def _size(self, denoiser: Denoiser, images: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        from privagams_attacks.membership.noise import timestep_at

        predicted = denoiser.predict(images, timestep_at(denoiser, self.settings.level), labels)
        return predicted.abs().pow(self.settings.power).flatten(1).mean(1)
