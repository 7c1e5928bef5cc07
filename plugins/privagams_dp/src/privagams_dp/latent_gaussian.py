"""Local differential privacy of a flow's latent vectors by Gaussian noise on the vector as a whole."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from privagams_dp.ball_gaussian import BallGaussian, multiplier_for
from privagams_dp.local_labels import protection
from privagams_dp.local_randomiser import Budget, ImageRandomiser, Shrink
from privagams_dp.opendp_noise import stated_by

if TYPE_CHECKING:
    from privagams.roles import Coordinates, Randomiser
    from privagams_dp.local_settings import LatentGaussianSettings


class LatentGaussian:
    """The analytic Gaussian mechanism on latents of a flow: Balle and Wang (2018), arXiv 1805.06530.

    z̃ = (z · min(1, R / |z|) + N(0, σ²)^d) / √(1 + σ²), with R = clip·√d fixed beforehand, since the length of a
    vector of d standard normal coordinates is near √d, and σ = 2·R·m, where k images of multiplier m cost (ε, δ)
    together (`roles.LocalMechanism`). The division is post-processing, for unit variance.

    Guarantee: all images and labels of one patient cost at most `epsilon` at `delta`, when it is replaced by any
    other (test_the_worst_pair_is_told_apart_no_better_than_claimed, test_all_images_of_a_patient_are_paid_for).
    """

    kind: ClassVar[Literal["latents", "pixels"]] = "latents"
    adjacency: ClassVar[str] = "replace-one"

    def __init__(self, settings: LatentGaussianSettings) -> None:
        self._settings = settings
        self.protects = protection("latent vectors", settings.label_epsilon)
        self.stated_by = stated_by()

    def randomiser(self, coordinates: Coordinates, classes: int, images: int) -> Randomiser:
        asked, size = self._settings, coordinates.size
        budget = Budget("latent-gaussian", asked.epsilon, asked.label_epsilon)
        multiplier = multiplier_for(budget.of_vectors(images), asked.delta, images)
        noise = BallGaussian.with_multiplier(size, asked.clip * math.sqrt(size), multiplier)
        return ImageRandomiser(size, noise, budget.response(classes), Shrink.of(noise, asked.shrink))
