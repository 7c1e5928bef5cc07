"""DP-SGD over patients: what one step samples, clips and costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from dp_accounting import DpEvent, GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent

from privagams_dp.noisy_sum import GaussianSum

if TYPE_CHECKING:
    from privagams.roles import NoisySum
    from privagams_dp.settings import DpSgdSettings


class DpSgd:
    """Abadi et al. (2016), arXiv 1607.00133, with the patient as the unit (`roles.Mechanism`).

    Each of N patients (N public) takes part in a step with probability q = patients_per_step / N, by its own
    coin; the patient's one gradient is clipped to `clip_norm`; the sum gets noise N(0, (z · clip_norm)²).

    Guarantee: `steps` sums cost `steps` Poisson-sampled Gaussian mechanisms of multiplier z, for zeroing out
    one patient (test_zeroing_out_one_patient_moves_the_sum_by_at_most_the_clip_norm,
    test_each_patient_takes_part_with_the_claimed_probability,
    test_noise_has_the_claimed_size_even_in_an_empty_batch).
    """

    kind: ClassVar[Literal["gradients", "summary"]] = "gradients"
    adjacency: ClassVar[str] = "zero-out"
    protects: ClassVar[str] = "everything that one patient's images and labels add to the release"

    def __init__(self, settings: DpSgdSettings) -> None:
        self.epsilon = settings.epsilon
        self.delta = settings.delta
        self.clip_norm = settings.clip_norm
        self.tiles_per_step = settings.tiles_per_step
        self.noise_draws = settings.noise_draws
        self.physical_patients = settings.physical_patients
        self._patients_per_step = settings.patients_per_step

    def sampling_rate(self, patients: int) -> float:
        return min(1.0, self._patients_per_step / patients)

    def event(self, noise_multiplier: float, steps: int, patients: int) -> DpEvent:
        one: DpEvent = GaussianDpEvent(noise_multiplier)
        rate = self.sampling_rate(patients)
        if rate < 1.0:
            one = PoissonSampledDpEvent(rate, one)
        return SelfComposedDpEvent(one, steps)

    def noisy_sum(self, like: Sequence[torch.Tensor], noise_multiplier: float, patients: int) -> NoisySum:
        return GaussianSum(like, self.clip_norm, noise_multiplier, self.sampling_rate(patients))
