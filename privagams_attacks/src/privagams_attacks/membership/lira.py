"""Membership by likelihood ratio: does the signal look like that of shadows with or without the patient?"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from attrs import frozen

from privagams.access import Access, Holds, Scores, Target, World
from privagams.roles import Game
from privagams_attacks.membership.settings import LiraSettings
from privagams_attacks.membership.signal import signals

_ENOUGH = 32
"""Shadows a side from which each patient's own variance is trusted."""
_FLOOR = 1e-3
"""Least deviation, as a share of that of all shadows' signals."""


@frozen
class Lira:
    """Signals φ of the patient's images, averaged before anything else, against N(μ, s²) over shadows.

    Online: Λ = ln N(φ; μ_in, s_in²) − ln N(φ; μ_out, s_out²). Offline, one-sided: Φ((φ − μ_out) / s_out), given
    as its argument, which orders patients alike and does not run into 1. μ is the patient's mean over shadows.
    Carlini et al. (2022), arXiv 2112.03570.
    """

    settings: LiraSettings
    game: ClassVar[Game] = "membership"
    holds: ClassVar[Holds] = "training images"
    labels: ClassVar[bool] = True

    @property
    def access(self) -> Access:
        """Distances to the release need no model."""
        return Access.RELEASED if self.settings.signal == "distance" else Access.LOSS

    @property
    def shadows(self) -> int:
        return self.settings.shadows

    def run(self, target: Target, world: World, rng: np.random.Generator) -> Scores:
        found = signals(self.settings, target, world, rng)
        return Scores(likelihood_ratio(found.target, found.shadows, found.member, self.settings.mode))


def likelihood_ratio(
    target: np.ndarray, shadows: np.ndarray, member: np.ndarray, mode: Literal["online", "offline"]
) -> np.ndarray:
    """Scores "k" for signals of the target "k" and of shadows "s k", trained on the patient where `member`."""
    floor = _FLOOR * float(shadows.std()) or 1.0
    mean_out, deviation_out = _side(shadows, ~member, floor)
    outside: np.ndarray = (target - mean_out) / deviation_out
    if mode == "offline":
        return outside
    mean_in, deviation_in = _side(shadows, member, floor)
    inside = (target - mean_in) / deviation_in
    ratio: np.ndarray = (outside**2 - inside**2) / 2 + np.log(deviation_out / deviation_in)
    return ratio


def _side(signals: np.ndarray, counted: np.ndarray, floor: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation "k" of each patient's signals over the shadows that count.

    Below 32 shadows the variance is that of all patients' signals about their own means, pooled. A patient
    without any such shadow is taken for one of the others: their mean, and their variance about it besides.
    """
    count = counted.sum(axis=0)
    some = count > 0
    if not some.any():
        return np.full(len(count), float(signals.mean())), np.full(
            len(count), max(float(signals.std()), floor)
        )
    mean = np.where(counted, signals, 0).sum(axis=0) / np.maximum(count, 1)
    squares = np.where(counted, (signals - mean) ** 2, 0).sum(axis=0)
    free = np.maximum(count - 1, 0)
    pooled = squares.sum() / max(1, free.sum())
    variance = np.where(count >= _ENOUGH, squares / np.maximum(free, 1), pooled)
    variance[~some] = pooled + mean[some].var()
    mean[~some] = mean[some].mean()
    return mean, np.maximum(np.sqrt(variance), floor)
