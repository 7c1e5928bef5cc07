"""The one-shot mechanism: a single noisy sum over all patients, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from dp_accounting import DpEvent, GaussianDpEvent, SelfComposedDpEvent

from privagams_dp.noisy_sum import GaussianSum

if TYPE_CHECKING:
    from privagams.roles import NoisySum
    from privagams_dp.settings import NoisySumSettings


class OneSum:
    """The Gaussian mechanism on one sum of per-patient mean features (`roles.Mechanism`).

    Every patient takes part (q = 1) with a vector of norm at most 1; the sum gets noise N(0, z²) per entry.

    Guarantee: one sum costs one Gaussian mechanism of multiplier z, for zeroing out one patient
    (test_zeroing_out_one_patient_moves_the_sum_by_at_most_the_clip_norm).
    """

    kind: ClassVar[Literal["gradients", "summary"]] = "summary"
    adjacency: ClassVar[str] = "zero-out"
    protects: ClassVar[str] = "everything that one patient's images and labels add to the release"
    clip_norm = 1.0
    tiles_per_step = 1
    noise_draws = 1
    physical_patients = 1

    def __init__(self, settings: NoisySumSettings) -> None:
        self.epsilon = settings.epsilon
        self.delta = settings.delta

    def sampling_rate(self, patients: int) -> float:
        return 1.0

    def event(self, noise_multiplier: float, steps: int, patients: int) -> DpEvent:
        one = GaussianDpEvent(noise_multiplier)
        return one if steps == 1 else SelfComposedDpEvent(one, steps)

    def noisy_sum(self, like: Sequence[torch.Tensor], noise_multiplier: float, patients: int) -> NoisySum:
        return GaussianSum(like, self.clip_norm, noise_multiplier, self.sampling_rate(patients))
