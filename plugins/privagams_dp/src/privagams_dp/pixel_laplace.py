"""Local differential privacy of the pixels themselves: the baseline that latent mechanisms are compared to."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from privagams_dp.clipped_laplace import ClippedLaplace
from privagams_dp.local_labels import protection
from privagams_dp.local_randomiser import Budget, ImageRandomiser
from privagams_dp.opendp_noise import stated_by

if TYPE_CHECKING:
    from privagams.roles import Coordinates, Randomiser
    from privagams_dp.local_settings import PixelLaplaceSettings


class PixelLaplace:
    """The Laplace mechanism on pixels, the baseline of Shibata et al. (2023), arXiv 2212.10688.

    x̃ = clip(clip(x, ±1) + Lap(b)^d, ±1), with b = 2·d / ε for an ε of the whole image, or b = 2 / ε₁ for an ε₁ of
    one pixel and channel (`roles.LocalMechanism`). The outer clip, back to what an image can hold, is
    post-processing.

    Guarantee: all images and labels of one patient cost at most `epsilon`, when it is replaced by any other
    (test_the_worst_pair_is_told_apart_no_better_than_claimed, test_all_images_of_a_patient_are_paid_for).
    """

    kind: ClassVar[Literal["latents", "pixels"]] = "pixels"
    adjacency: ClassVar[str] = "replace-one"

    def __init__(self, settings: PixelLaplaceSettings) -> None:
        self._settings = settings
        self.protects = protection("pixels", settings.label_epsilon)
        self.stated_by = stated_by()

    def randomiser(self, coordinates: Coordinates, classes: int, images: int) -> Randomiser:
        asked, size = self._settings, coordinates.size
        budget = Budget("pixel-laplace", asked.epsilon, asked.label_epsilon)
        if asked.per_element_epsilon is None:
            noise = ClippedLaplace.of_vector(size, 1.0, budget.of_image(images))
        else:
            noise = ClippedLaplace.of_elements(size, 1.0, asked.per_element_epsilon)
        return ImageRandomiser(size, noise, budget.response(classes), within_scale)


def within_scale(noisy: np.ndarray) -> np.ndarray:
    inside: np.ndarray = np.clip(noisy, -1.0, 1.0)
    return inside
