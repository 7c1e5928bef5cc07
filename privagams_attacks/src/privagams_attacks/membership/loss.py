"""Membership by the training loss: members are the images that a model predicts best."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from attrs import frozen

from privagams.access import Access, Holds, Scores, Target, World
from privagams.errors import NotApplicable
from privagams.oracle import Oracle
from privagams.records import Records
from privagams.roles import Game
from privagams_attacks.membership.patients import distinct, patient_means
from privagams_attacks.membership.settings import LossSettings, ShadowSettings

if TYPE_CHECKING:
    import torch

    from privagams.oracle import Denoiser


@frozen
class Loss:
    """s = −mean over timesteps t and noises ε of ‖ε_θ(√ᾱ_t x_0 + √(1 − ᾱ_t) ε, t) − ε‖² / d.

    Noises are drawn once and used for every image: with one noise the loss says more about the noise than
    about the image. Models that are trained, but no diffusion models, are asked for their training loss.
    Loss threshold: Yeom et al. (2018), arXiv 1709.01604; diffusion: Carlini et al. (2023), arXiv 2301.13188.
    """

    settings: LossSettings
    game: ClassVar[Game] = "membership"
    access: ClassVar[Access] = Access.LOSS
    holds: ClassVar[Holds] = "training images"
    labels: ClassVar[bool] = True
    shadows: ClassVar[int] = 0

    def run(self, target: Target, world: World, rng: np.random.Generator) -> Scores:
        known = distinct(world.candidates, self.settings.images)
        losses = image_losses(target.oracle, known, self.settings, int(rng.integers(2**31)))
        return Scores(patient_means(-losses, known, world.patients))


def image_losses(
    oracle: Oracle, records: Records, settings: LossSettings | ShadowSettings, seed: int
) -> np.ndarray:
    """Mean loss of each record, float64 "n"; equal seeds give equal noises, whatever the model."""
    from privagams_attacks.membership.noise import per_image

    def statistic(denoiser: Denoiser, images: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        return _mean_error(denoiser, images, labels, settings, seed)

    try:
        return per_image(oracle, records, statistic)
    except NotApplicable:
        losses: np.ndarray = oracle.losses(records, settings.noises, seed).mean(axis=1)
        return losses


def _mean_error(
    denoiser: Denoiser,
    images: torch.Tensor,
    labels: torch.Tensor | None,
    settings: LossSettings | ShadowSettings,
    seed: int,
) -> torch.Tensor:
    from privagams_attacks.membership.noise import fixed_noises, noised, timesteps_at

    timesteps = timesteps_at(denoiser, settings.levels)
    total = images.new_zeros(len(images))
    for timestep in timesteps:
        for noise in fixed_noises(settings.noises, images, seed):
            predicted = denoiser.predict(noised(images, noise, denoiser, timestep), timestep, labels)
            total += (predicted - noise).square().flatten(1).mean(1)
    return total / (len(timesteps) * settings.noises)
