"""How much noise on latents it takes to hide a patient among N: the edge that theory predicts, before any attack."""

from __future__ import annotations

import math

import numpy as np
from scipy.integrate import quad
from scipy.special import log_ndtr


def threshold_noise(size: int, released: int, correlation: float = 1.0) -> float:
    """Scale of Laplace noise per entry above which linkage fails: b* = √((d·r²/(2 ln N) − 1)/2).

    Vectors of d independent N(0, 1) entries, N of them released with noise of variance 2b² on each entry; the
    adversary holds vectors whose entries correlate with the true one's by r (1: the very same image) and correlates.
    The true one stands out by r·√(d/(1 + 2b²)) standard deviations, the best of N others by about √(2 ln N). 0 where
    linkage fails without any noise.
    """
    if released < 2 or size < 1 or not 0 <= abs(correlation) <= 1:
        raise ValueError(
            "expected at least 2 released vectors of at least 1 entry and a correlation between −1 and 1, found "
            f"{released}, {size} and {correlation}"
        )
    excess = size * correlation**2 / (2 * math.log(released)) - 1
    return math.sqrt(excess / 2) if excess > 0 else 0.0


def threshold_epsilon(size: int, released: int, clip: float, correlation: float = 1.0) -> float:
    """ε of one coordinate below which linkage fails: ε* = 2c/b* for entries clipped to ±c; inf where no ε is too much.

    What that costs in total is d times as much. The share of right guesses rises from few to nearly all around it;
    the very half is reached a little below, since √(2 ln N) is more than the best of N is as a rule (see
    `expected_top1`).
    """
    noise = threshold_noise(size, released, correlation)
    return 2 * clip / noise if noise > 0 else math.inf


def expected_top1(size: int, released: int, noise: float, correlation: float = 1.0) -> float:
    """The share of right first guesses that a matched filter reaches: ∫ φ(t − s) Φ(t)^(N−1) dt.

    s = |r|·√(d/(1 + 2b²)), b the scale of Laplace noise. For Gaussian latents and many coordinates; a clip of three
    standard deviations or more hardly changes it.
    """
    stands_out = abs(correlation) * math.sqrt(size / (1 + 2 * noise**2))

    def density(t: float) -> float:
        return math.exp(-((t - stands_out) ** 2) / 2 + (released - 1) * float(log_ndtr(t))) / math.sqrt(
            2 * math.pi
        )

    found, _ = quad(density, stands_out - 12, stands_out + 12, limit=200, points=[stands_out])
    return float(np.clip(found, 0, 1))
