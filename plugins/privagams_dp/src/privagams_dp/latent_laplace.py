"""Local differential privacy of a flow's latent vectors by Laplace noise on every coordinate."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from privagams_dp.clipped_laplace import ClippedLaplace
from privagams_dp.local_labels import protection
from privagams_dp.local_randomiser import Budget, ImageRandomiser, Shrink
from privagams_dp.opendp_noise import stated_by

if TYPE_CHECKING:
    from privagams.roles import Coordinates, Randomiser
    from privagams_dp.local_settings import LatentLaplaceSettings


class LatentLaplace:
    """The Laplace mechanism on latents of a flow, as in Shibata et al. (2023), arXiv 2212.10688, at its true cost.

    z̃ = (clip(z, ±c) + Lap(b)^d) / √(1 + 2b²), with b = 2·c·d / ε for an ε of the whole vector, or b = 2·c / ε₁ for
    an ε₁ of one coordinate, whose whole vector costs d·ε₁ (`roles.LocalMechanism`). The division is
    post-processing: a clean latent coordinate has unit variance, and so has then the noisy one.

    Guarantee: all images and labels of one patient cost at most `epsilon`, when it is replaced by any other
    (test_the_worst_pair_is_told_apart_no_better_than_claimed, test_all_images_of_a_patient_are_paid_for).
    """

    kind: ClassVar[Literal["latents", "pixels"]] = "latents"
    adjacency: ClassVar[str] = "replace-one"

    def __init__(self, settings: LatentLaplaceSettings) -> None:
        self._settings = settings
        self.protects = protection("latent vectors", settings.label_epsilon)
        self.stated_by = stated_by()

    def randomiser(self, coordinates: Coordinates, classes: int, images: int) -> Randomiser:
        asked, size = self._settings, coordinates.size
        budget = Budget("latent-laplace", asked.epsilon, asked.label_epsilon)
        if asked.per_element_epsilon is None:
            noise = ClippedLaplace.of_vector(size, asked.clip, budget.of_image(images))
        else:
            noise = ClippedLaplace.of_elements(size, asked.clip, asked.per_element_epsilon)
        return ImageRandomiser(size, noise, budget.response(classes), Shrink.of(noise, asked.shrink))
