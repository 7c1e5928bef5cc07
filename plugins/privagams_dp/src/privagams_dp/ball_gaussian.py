"""A vector of bounded length with Gaussian noise: how much noise, and what it costs."""

from __future__ import annotations

import math

import numpy as np
from attrs import field, frozen
from dp_accounting import DpEvent, GaussianDpEvent, SelfComposedDpEvent, get_sigma_gaussian

from privagams.errors import ConfigError
from privagams.ledger.accounting import calibrate, epsilon
from privagams.ledger.events import local
from privagams_dp.opendp_noise import GridNoise, gaussian, grid_for

_HAIR = 1e-9
"""Share of the radius that is left to float64's rounding of lengths, far above it (1e-13 for a million entries)."""
_LARGEST = 2.0**60


@frozen(eq=False)
class BallGaussian:
    """A vector scaled into the L2 ball of radius R, plus Gaussian noise of deviation σ on each coordinate.

    Two vectors are at most 2·R apart, the ball's diameter, so one vector costs a Gaussian mechanism of multiplier
    σ / 2R, priced by the analytic Gaussian mechanism (Balle and Wang 2018, arXiv 1805.06530).

    The noise is OpenDP's discrete Gaussian on a grid g of 2⁻³⁰ of σ or of R/√d, whichever is less. Rounding to the
    grid moves two vectors apart by at most √d·g more; that is part of the distance that OpenDP maps to ρ, and
    the event is Gaussian noise of multiplier 1/√(2ρ), so never less than the map says.

    A discrete Gaussian costs as good as nothing more than a continuous one, rounded, of the same σ. With
    s = σ/g and a = d/24s², cosh ≥ 1 and Jensen's inequality give P(z) ≤ e^a·P̃(z) at every point z of the grid, P the
    discrete law and P̃ the rounded one, as Σ exp(−z²/2s²) ≥ s√2π (Poisson summation). The other way,
    sinh(x)/x ≤ exp(x²/6) gives P̃(z) ≤ e^b·P(z), with b = |z − μ|²/24s⁴, up to a factor of 1 + 3·exp(−2π²s²) a
    coordinate. So, with any t > 0, if the continuous one is (ε, δ)-DP at multiplier m, the discrete one is
    (ε + a + (√d + 1/m + t)²/24s², e^a·(δ + exp(−t²/2)))-DP. At s ≥ 2³⁰, d = 200,000, m ≥ 0.01 and t = 12 that
    adds less than 2e-14 to ε and multiplies δ by less than 1 + 1e-14 plus 6e-32: less than float64 resolves in
    the accountant's own sums, and not added.

    Guarantee: any two vectors, infinite ones too, are told apart no better than `event` allows
    (test_the_worst_pair_is_told_apart_no_better_than_claimed, test_no_vector_leaves_the_ball).
    """

    size: int
    """Coordinates, d."""
    radius: float
    _noise: GridNoise = field(alias="noise")

    @classmethod
    def with_multiplier(cls, size: int, radius: float, multiplier: float) -> BallGaussian:
        """Noise of at least `multiplier` diameters."""
        scale = 2 * radius * multiplier
        if not 0 < scale < _LARGEST:
            raise ConfigError(
                f"epsilon: expected noise of a scale below {_LARGEST:g}, found 2·{radius:g}·{multiplier:g}; "
                "take a larger ε or a smaller clip"
            )
        grid = grid_for(scale, radius / math.sqrt(size), steps=30, largest=max(scale, radius))
        # Whole steps, which are drawn faster than fractions; with 2³⁰ of them that is no loss.
        steps = math.ceil(multiplier * _diameter(size, radius, grid))
        while cls(size, radius, noise := gaussian(grid, steps)).multiplier < multiplier:
            steps += 1  # the product above was rounded down
        return cls(size, radius, noise)

    @property
    def scale(self) -> float:
        """Deviation σ of the noise, in the coordinates' unit."""
        return self._noise.scale * self.grid

    @property
    def grid(self) -> float:
        return self._noise.grid

    @property
    def multiplier(self) -> float:
        """Noise over diameter, as OpenDP's map has it."""
        rho = self._noise.cost(_diameter(self.size, self.radius, self.grid))
        return math.nextafter(1 / math.sqrt(2 * rho), 0.0)

    @property
    def variance(self) -> float:
        return self.scale**2

    @property
    def event(self) -> DpEvent:
        return GaussianDpEvent(self.multiplier)

    @property
    def per_element_epsilon(self) -> None:
        return None

    def add_to(self, vectors: np.ndarray) -> np.ndarray:
        """Scale "n d" without NaN into the ball and add noise."""
        return self._noise.add(np.rint(self.bounded(vectors) / self.grid).astype(np.int64))

    def bounded(self, vectors: np.ndarray) -> np.ndarray:
        """The vectors that noise is added to, before they are rounded; of length at most R·(1 + 1e-9)."""
        # First each entry, so that no square overflows; that changes no vector within the ball.
        inside = np.clip(vectors, -self.radius, self.radius)
        length = np.linalg.norm(inside, axis=1, keepdims=True)
        scaled: np.ndarray = inside * (self.radius / np.maximum(length, self.radius))
        return scaled


def multiplier_for(epsilon_: float, delta: float, images: int) -> float:
    """The least noise, in diameters, with which `images` vectors of one patient together cost `epsilon_`.

    k Gaussian mechanisms of one multiplier are one whose multiplier is √k times smaller, so the analytic Gaussian
    mechanism says it; where the core's accountants are less exact, and so would claim more, their own search does.
    """

    def event(multiplier: float) -> DpEvent:
        return local(SelfComposedDpEvent(GaussianDpEvent(multiplier), images))

    found = float(get_sigma_gaussian(epsilon_, delta)) * math.sqrt(images) * (1 + _HAIR)
    if epsilon([event(found)], delta)[0] <= epsilon_:
        return found
    return calibrate(event, epsilon_, delta)


def _diameter(size: int, radius: float, grid: float) -> float:
    """The largest L2 distance of two bounded vectors after rounding to the grid, in steps."""
    return math.nextafter(2 * radius * (1 + _HAIR) / grid + math.sqrt(size), math.inf)
