"""A local mechanism bound to vectors of one size: noise and label response put together, and what they cost."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Protocol

import numpy as np
from attrs import frozen
from dp_accounting import ComposedDpEvent, DpEvent

from privagams.errors import ConfigError, StageError
from privagams.ledger.events import pure
from privagams_dp.local_labels import Response, response


class VectorNoise(Protocol):
    """Bounds vectors and adds noise; whatever comes in, as long as it is a number, is within `event`."""

    @property
    def event(self) -> DpEvent: ...

    @property
    def per_element_epsilon(self) -> float | None: ...

    @property
    def variance(self) -> float:
        """Of the noise on one coordinate."""
        ...

    def add_to(self, vectors: np.ndarray) -> np.ndarray: ...


class PostProcessing(Protocol):
    """What is done to noisy vectors; it sees nothing else."""

    def __call__(self, noisy: np.ndarray) -> np.ndarray: ...


@frozen(eq=False)
class ImageRandomiser:
    """One image's vector and label, each randomised on its own (`roles.Randomiser`)."""

    size: int
    noise: VectorNoise
    response: Response | None
    finish: PostProcessing
    selected: np.ndarray | None = None
    """Positions of the coordinates that are used at all, int64; None for all of them."""

    @property
    def event(self) -> DpEvent:
        """The vector's cost and the label's, composed."""
        if self.response is None:
            return self.noise.event
        return ComposedDpEvent([self.noise.event, pure(self.response.epsilon)])

    @property
    def per_element_epsilon(self) -> float | None:
        return self.noise.per_element_epsilon

    def randomise(self, vectors: np.ndarray) -> np.ndarray:
        """See `roles.Randomiser`."""
        if vectors.ndim != 2 or vectors.shape[1] != self.size:
            raise StageError(
                f"vectors: expected {self.size} coordinates in each row, found an array of {vectors.shape}; "
                "encode images of the size that the mechanism was made for"
            )
        lost = np.flatnonzero(np.isnan(vectors).any(axis=1))
        if len(lost):
            raise StageError(
                f"vectors, row {lost[0]}: expected numbers, found NaN ({len(lost)} rows of {len(vectors)}); "
                "see whether the image is readable and the encoder sound"
            )
        used = vectors if self.selected is None else vectors[:, self.selected]
        return self.finish(self.noise.add_to(used))

    def labels(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """See `roles.Randomiser`. `rng` is not used: it may be seeded, and then its draws can be undone."""
        if self.response is None:
            return np.full(len(labels), -1, dtype=np.int64)
        return self.response.of(labels)


@frozen
class Budget:
    """ε of one patient in total, or of one coordinate, and what of it each label takes."""

    name: str
    """The mechanism's, for messages."""
    epsilon: float | None
    label_epsilon: float

    def of_image(self, images: int) -> float:
        """What is left for the vector of one of `images` images, in pure ε."""
        total = Fraction(self._total(images))
        left = self.of_vectors(images) / images
        while images * (Fraction(left) + Fraction(self.label_epsilon)) > total:
            left = math.nextafter(left, 0.0)
        return left

    def of_vectors(self, images: int) -> float:
        """What is left for the vectors of `images` images together."""
        left = self._total(images) - images * self.label_epsilon
        if left <= 0:
            raise ConfigError(
                f"{self.name}: expected epsilon to be above {images} × label_epsilon = "
                f"{images * self.label_epsilon:g}, so that something is left for the images; found "
                f"{self.epsilon:g}; raise epsilon, or lower label_epsilon or images_per_patient"
            )
        return left if self.label_epsilon == 0 else math.nextafter(left, 0.0)

    def _total(self, images: int) -> float:
        if images < 1 or self.epsilon is None:
            raise ConfigError(
                f"{self.name}: expected a total epsilon and at least one image, found {self.epsilon} and {images}"
            )
        return self.epsilon

    def response(self, classes: int) -> Response | None:
        return response(classes, self.label_epsilon)


@frozen
class Shrink:
    """Noisy vectors of unit-variance signals, scaled back to unit variance: x / √(1 + s²), s² the noise's."""

    factor: float

    @classmethod
    def of(cls, noise: VectorNoise, wanted: bool) -> Shrink:
        return cls(1 / math.sqrt(1 + noise.variance) if wanted else 1.0)

    def __call__(self, noisy: np.ndarray) -> np.ndarray:
        return noisy * self.factor
