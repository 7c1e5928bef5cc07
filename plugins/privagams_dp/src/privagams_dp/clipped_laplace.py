"""A vector of bounded coordinates with Laplace noise: how much noise, and what it costs."""

from __future__ import annotations

import math

import numpy as np
from attrs import field, frozen
from dp_accounting import DpEvent

from privagams.errors import ConfigError
from privagams.ledger.events import pure
from privagams_dp.opendp_noise import GridNoise, grid_for, laplace

_LARGEST = 2.0**60


@frozen(eq=False)
class ClippedLaplace:
    """Each of d coordinates clipped to ±c, plus Laplace noise of scale b (Dwork et al. 2006).

    Two vectors are at most 2·c·d apart in L1 norm, so that one vector costs ε = 2·c·d / b in total, d times what
    one of its coordinates costs: that these are independent helps nobody, as all of them are of one patient.

    Values are rounded to a grid of 2⁻²⁰ of c or b, whichever is less, before they are clipped, in whole steps:
    what is said of distances holds exactly, and the discrete noise on the grid is ε-DP without any remainder.

    Guarantee: any two vectors, infinite ones too, are told apart with at most `epsilon`
    (test_the_worst_pair_is_told_apart_no_better_than_claimed, test_exploding_vectors_are_clipped).
    """

    size: int
    """Coordinates, d."""
    clip: float
    _most: int = field(alias="most")
    """c in steps."""
    _noise: GridNoise = field(alias="noise")

    @classmethod
    def of_vector(cls, size: int, clip: float, epsilon: float) -> ClippedLaplace:
        """Noise with which a whole vector costs `epsilon`."""
        return cls._made(size, clip, size, epsilon)

    @classmethod
    def of_elements(cls, size: int, clip: float, epsilon: float) -> ClippedLaplace:
        """Noise with which one coordinate costs `epsilon`, and the vector d times that."""
        return cls._made(size, clip, 1, epsilon)

    @classmethod
    def _made(cls, size: int, clip: float, together: int, epsilon: float) -> ClippedLaplace:
        scale = 2 * clip * together / epsilon
        if not 0 < scale < _LARGEST:
            raise ConfigError(
                f"epsilon: expected noise of a scale below {_LARGEST:g}, found 2·{clip:g}·{together} / {epsilon:g}; "
                "take a larger ε or a smaller clip"
            )
        grid = grid_for(scale, clip, steps=20, largest=max(scale, clip, clip * size * 2.0**-11))
        most = max(1, math.floor(clip / grid))
        steps = 2 * most * together / epsilon
        while (noise := laplace(grid, steps)).cost(2 * most * together) > epsilon:
            steps = math.nextafter(steps, math.inf)  # the division above was rounded down
        return cls(size, clip, most, noise)

    @property
    def scale(self) -> float:
        """Scale b of the noise, in the coordinates' unit."""
        return self._noise.scale * self.grid

    @property
    def grid(self) -> float:
        return self._noise.grid

    @property
    def variance(self) -> float:
        return 2 * self.scale**2

    @property
    def event(self) -> DpEvent:
        return pure(self._noise.cost(2 * self._most * self.size))

    @property
    def per_element_epsilon(self) -> float:
        return self._noise.cost(2 * self._most)

    def add_to(self, vectors: np.ndarray) -> np.ndarray:
        """Clip "n d" without NaN and add noise."""
        return self._noise.add(self.steps(vectors))

    def steps(self, vectors: np.ndarray) -> np.ndarray:
        """The clipped vectors that noise is added to, int64, in steps of the grid."""
        inside = np.clip(vectors, -self.clip, self.clip)
        whole: np.ndarray = np.clip(np.rint(inside / self.grid), -self._most, self._most)
        return whole.astype(np.int64)
