"""Local differential privacy of the few latent coordinates that matter, the rest drawn from the flow's prior."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import torch
from attrs import frozen

from privagams.errors import ConfigError, PluginError
from privagams_dp import entropy
from privagams_dp.ball_gaussian import BallGaussian, multiplier_for
from privagams_dp.clipped_laplace import ClippedLaplace
from privagams_dp.local_labels import protection
from privagams_dp.local_randomiser import Budget, ImageRandomiser, Shrink, VectorNoise
from privagams_dp.opendp_noise import stated_by

if TYPE_CHECKING:
    from privagams.roles import Coordinates, Randomiser
    from privagams_dp.local_settings import LatentTopkSettings

_BALL, _BOX = 1.05, 3.0
"""Default clips of Gaussian and of Laplace noise, as in their own mechanisms."""


class LatentTopk:
    """Noise on k coarse latent coordinates, chosen without data; the other d − k are drawn anew from N(0, 1).

    The k coordinates are randomised as `latent-gaussian` or `latent-laplace` would a vector of k, so ε is spent on
    what shapes an image most (`roles.LocalMechanism`). What is drawn anew depends on nobody.

    Guarantee: no other coordinate of an image has any influence
    (test_coordinates_that_are_not_chosen_have_no_influence), and all images and labels of one patient cost at most
    `epsilon` at `delta` (test_the_worst_pair_is_told_apart_no_better_than_claimed,
    test_all_images_of_a_patient_are_paid_for).
    """

    kind: ClassVar[Literal["latents", "pixels"]] = "latents"
    adjacency: ClassVar[str] = "replace-one"

    def __init__(self, settings: LatentTopkSettings) -> None:
        self._settings = settings
        self.protects = protection("latent vectors", settings.label_epsilon)
        self.stated_by = stated_by()

    def randomiser(self, coordinates: Coordinates, classes: int, images: int) -> Randomiser:
        asked, size = self._settings, coordinates.size
        if asked.k > size:
            raise ConfigError(
                f"latent-topk: expected k to be at most the {size} coordinates that an image has, found {asked.k}; "
                "lower k"
            )
        budget = Budget("latent-topk", asked.epsilon, asked.label_epsilon)
        noise = self._noise(budget, images)
        places = _checked(coordinates.strongest(asked.k), asked.k, size)
        finish = AmongDrawn(size, places, Shrink.of(noise, asked.shrink))
        return ImageRandomiser(size, noise, budget.response(classes), finish, places)

    def _noise(self, budget: Budget, images: int) -> VectorNoise:
        asked = self._settings
        if asked.noise == "laplace":
            return ClippedLaplace.of_vector(asked.k, asked.clip or _BOX, budget.of_image(images))
        assert asked.delta is not None  # settings say so
        radius = (asked.clip or _BALL) * math.sqrt(asked.k)
        multiplier = multiplier_for(budget.of_vectors(images), asked.delta, images)
        return BallGaussian.with_multiplier(asked.k, radius, multiplier)


@frozen(eq=False)
class AmongDrawn:
    """Puts randomised coordinates in their places among fresh standard normal ones."""

    size: int
    places: np.ndarray
    shrink: Shrink

    def __call__(self, noisy: np.ndarray) -> np.ndarray:
        # From the operating system's entropy too: a seed would let these be subtracted.
        drawn = entropy.gaussian(torch.Size((len(noisy), self.size)), 1.0).numpy()
        drawn[:, self.places] = self.shrink(noisy)
        return drawn


def _checked(places: np.ndarray, k: int, size: int) -> np.ndarray:
    found = np.asarray(places)
    sound = found.shape == (k,) and found.dtype.kind == "i" and len(np.unique(found)) == k
    if not (sound and found.min() >= 0 and found.max() < size):
        raise PluginError(
            f"strongest: expected {k} different positions below {size}, found {found.shape} of {found.dtype}; "
            "this is the fault of whoever made these coordinates"
        )
    return found.astype(np.int64)
