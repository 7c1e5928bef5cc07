"""How members' mean images are asked for under noise, and what the warm-up is shown of them."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from privagams.roles import Batch, Space, Summary, Sums
from privagams_diffusion.settings import DiffusionSettings

_COUNT = 0.3
"""The constant entry of a feature vector, which counts patients: 1/σ² of it and of the pixels add up."""
_HAIR = 1e-6
"""Left to float32 rounding of norms."""
_MOST_PX = 16


class CentralImages:
    """Noisy means of small images over samples of patients, one image per class and sample.

    A record x, averaged down to s px and c channels and clamped to [-1, 1], becomes the vector
    (√(1 − w²) · x / √(c·s²), w) in the block of its class: pixels are measured from mid-grey, a public constant.
    A noisy sum of such vectors over its own last entry is the mean image of the class, whose number of patients
    need not be known. Li et al. (2025), arXiv 2504.01395, call such means central images.

    Guarantee: a vector depends on its record alone and has norm at most 1, whatever the record holds
    (test_vectors_of_central_images_are_bounded_for_any_input,
    test_vectors_of_central_images_treat_each_record_alone).
    """

    def __init__(self, settings: DiffusionSettings, space: Space) -> None:
        self._settings, self._space = settings, space
        self.side = min(settings.central_size or _side(space.size), space.size)
        self._length = math.sqrt((1 - _COUNT**2) / (space.channels * self.side**2)) * (1 - _HAIR)
        self._means: torch.Tensor | None = None

    def sums(self) -> Sums:
        return Sums(
            name="central images",
            features=self.features,
            take=self.take,
            share=self._settings.central_share,
            count=self._settings.central_images,
        )

    def features(self, batch: Batch) -> torch.Tensor:
        """One vector per record, float32 "n d"."""
        pixels = torch.nan_to_num(batch["pixels"].float(), nan=0.0).clamp(-1, 1)
        small = functional.adaptive_avg_pool2d(pixels, self.side).flatten(1)
        constant = small.new_full((len(small), 1), _COUNT * (1 - _HAIR))
        return torch.cat([small * self._length, constant], dim=1)

    def take(self, summary: Summary) -> None:
        """Keep the mean image of each sum and class, "sums blocks c s s".

        Where a class has fewer patients than the noise amounts to, its image fades to mid-grey.
        """
        patients = summary.totals[..., -1:] / (_COUNT * (1 - _HAIR))
        least = max(summary.noise_std / _COUNT, 1e-6)
        pixels = summary.totals[..., :-1] / self._length / patients.clamp(min=least)
        shape = (*pixels.shape[:2], self._space.channels, self.side, self.side)
        self._means = pixels.clamp(-1, 1).reshape(shape)

    def images(self) -> Batch:
        """The mean images at full size, each shifted in every way allowed: "pixels" and, with classes, "labels"."""
        if self._means is None:
            raise RuntimeError("the warm-up was asked for its images before any sum was told")
        sums, blocks = self._means.shape[:2]
        size, shift = self._space.size, self._settings.central_shift
        full = functional.interpolate(
            self._means.flatten(0, 1), (size, size), mode="bilinear", align_corners=False
        )
        wide = functional.pad(full, [shift] * 4, mode="replicate")
        offsets = range(2 * shift + 1)
        pixels = torch.cat([wide[:, :, y : y + size, x : x + size] for y in offsets for x in offsets])
        if not self._space.classes:
            return {"pixels": pixels}
        labels = torch.arange(blocks, device=pixels.device).repeat(sums * len(offsets) ** 2)
        return {"pixels": pixels, "labels": labels}


def _side(size: int) -> int:
    side = size // 2
    while side > _MOST_PX:
        side //= 2
    return max(side, 1)
