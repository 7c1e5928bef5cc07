"""What a canary is: a coin from the operating system, a direction of its own, and how its trace is scored."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from attrs import field, frozen

FAR = 100.0
"""A gradient canary's norm over the clip norm: far above it, so that missing clipping stands out."""


@frozen(eq=False)
class CanaryScores:
    """Canaries of one kind: how much the training looks as if each took part, and which ones did."""

    kind: str
    """Such as "gradient" or "input"."""
    what: str
    """What a canary of this kind is, for the report."""
    scores: np.ndarray = field(repr=False)
    """float64 "m", higher = believed to have been included."""
    included: np.ndarray = field(repr=False)
    """Each canary's coin, bool "m". For the judge, in memory; never written or logged in this order."""


def sorted_by_score(canaries: CanaryScores) -> dict[str, Any]:
    """Plain values, by score: nothing in them tells how the coin of any particular canary fell.

    Canaries of equal score are in random order, since an order by their coins would favour one kind of guess.
    """
    ties = np.frombuffer(os.urandom(8 * len(canaries.scores)), dtype=np.uint64)
    order = np.lexsort((ties, canaries.scores))
    return {
        "kind": canaries.kind,
        "what": canaries.what,
        "scores": canaries.scores[order].tolist(),
        "included": canaries.included[order].tolist(),
    }


def flip_coins(count: int) -> np.ndarray:
    """Flip `count` independent fair coins, bool "count".

    Guarantee: the bits are the operating system's, whatever the seed; neither their number of heads nor their
    order is balanced (test_coins_are_fair_independent_and_follow_no_seed).
    """
    bits = np.unpackbits(np.frombuffer(os.urandom(count // 8 + 1), dtype=np.uint8))
    return bits[:count].astype(bool)


class Directions:
    """One unit vector for each of `count` canaries in the space of a sum shaped as `like`.

    Each is a coordinate of its own where there are enough coordinates, so that canaries do not disturb each
    other and a direction takes no memory; else random signs over all coordinates, divided by √d.
    """

    def __init__(self, like: Sequence[torch.Tensor], count: int, rng: np.random.Generator) -> None:
        self._shapes = [t.shape for t in like]
        self._width = sum(t.numel() for t in like)
        self._device, self._count = like[0].device, count
        self._entries = self._signs = None
        if self._width >= count:
            chosen = rng.choice(self._width, count, replace=False, shuffle=True)
            self._entries = torch.from_numpy(chosen).to(self._device)
        else:
            signs = rng.integers(0, 2, (count, self._width), dtype=np.int8) * 2 - 1
            self._signs = torch.from_numpy(signs).to(self._device, torch.float32) / self._width**0.5

    @property
    def independent(self) -> int:
        """How many directions can be orthogonal."""
        return min(self._count, self._width)

    def vectors(self, canaries: np.ndarray, norm: float) -> list[torch.Tensor]:
        """Vectors of the given canaries, of this norm, as tensors "b ..." in the shapes of `like`."""
        chosen = torch.from_numpy(canaries).to(self._device)
        if self._signs is not None:
            flat = self._signs[chosen] * norm
        else:
            assert self._entries is not None
            flat = torch.zeros((len(canaries), self._width), device=self._device)
            flat[torch.arange(len(canaries)), self._entries[chosen]] = norm
        parts = torch.split(flat, [shape.numel() for shape in self._shapes], dim=1)
        return [part.view(-1, *shape) for part, shape in zip(parts, self._shapes, strict=True)]

    def along(self, tensors: Sequence[torch.Tensor]) -> np.ndarray:
        """The component of a sum along every canary's direction, float64 "m"."""
        flat = torch.cat([t.detach().flatten() for t in tensors])
        found = flat[self._entries] if self._signs is None else self._signs @ flat
        return found.double().cpu().numpy()


def evidence(along: np.ndarray, noise_multiplier: float, rate: float) -> np.ndarray:
    """Log-likelihood ratio of "took part with probability q" against "was left out", for one noisy sum.

    ln(1 − q + q · exp((x − 1/2)/z²)), x the sum along the canary's direction over the clip norm: no other
    score tells the two better apart (Neyman and Pearson). Summed over steps; for q = 1 it is linear in x.
    """
    exponent = (along - 0.5) / noise_multiplier**2
    if rate >= 1:
        return np.asarray(exponent)
    return np.asarray(np.logaddexp(np.log1p(-rate), np.log(rate) + exponent))
