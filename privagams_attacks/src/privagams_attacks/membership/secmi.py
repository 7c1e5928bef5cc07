"""Membership by the error of one deterministic step up in noise and back again."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from attrs import frozen

from privagams.access import Access, Holds, Scores, Target, World
from privagams.roles import Game
from privagams_attacks.membership.patients import distinct, patient_means
from privagams_attacks.membership.settings import SecmiSettings

if TYPE_CHECKING:
    import torch

    from privagams.oracle import Denoiser


@frozen
class Secmi:
    """s = −‖x̃_t − x_t‖² / d: x_t by deterministic steps from the image up to t, x̃_t by one more and one back.

    A step from t to s: x̂_0 = (x_t − √(1 − ᾱ_t) ε_θ(x_t, t)) / √ᾱ_t; x_s = √ᾱ_s x̂_0 + √(1 − ᾱ_s) ε_θ(x_t, t).
    This is SecMI_stat of Duan et al. (2023), arXiv 2302.01316. Their SecMI_NNs learns from labelled members.
    Small models trained until they repeat their images have turned this round, members scoring lowest, where
    the loss told them all: a low AUC here is no sign of safety.
    """

    settings: SecmiSettings
    game: ClassVar[Game] = "membership"
    access: ClassVar[Access] = Access.LOSS
    holds: ClassVar[Holds] = "training images"
    labels: ClassVar[bool] = True
    shadows: ClassVar[int] = 0

    def run(self, target: Target, world: World, rng: np.random.Generator) -> Scores:
        """Draws nothing from `rng`."""
        from privagams_attacks.membership.noise import per_image

        known = distinct(world.candidates, self.settings.images)
        errors = per_image(target.oracle, known, self._error)
        return Scores(patient_means(-errors, known, world.patients))

    def _error(self, denoiser: Denoiser, images: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        *way, last, beyond = self._timesteps(denoiser)
        x = images
        for start, end in zip(way, [*way[1:], last], strict=True):
            x = _step(denoiser, x, start, end, labels)
        back = _step(denoiser, _step(denoiser, x, last, beyond, labels), beyond, last, labels)
        return (back - x).square().flatten(1).mean(1)

    def _timesteps(self, denoiser: Denoiser) -> list[int]:
        """From 0 to the stated level in steps of equal length, and one step beyond."""
        from privagams_attacks.membership.noise import timestep_at

        last = min(timestep_at(denoiser, self.settings.level), len(denoiser.levels) - 2)
        steps = np.unique(np.rint(np.linspace(0, last, self.settings.steps + 1)).astype(int))
        stride = max(1, round(last / self.settings.steps))
        return [*steps.tolist(), min(last + stride, len(denoiser.levels) - 1)]


def _step(
    denoiser: Denoiser, x: torch.Tensor, start: int, end: int, labels: torch.Tensor | None
) -> torch.Tensor:
    from privagams_attacks.membership.noise import noised

    level = denoiser.levels[start]
    noise = denoiser.predict(x, start, labels)
    image = (x - (1 - level).sqrt() * noise) / level.sqrt()
    return noised(image, noise, denoiser, end)
