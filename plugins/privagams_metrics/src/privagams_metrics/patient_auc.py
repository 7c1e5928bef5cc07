"""AUC over images with an interval over patients, averaged over several classifiers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from attrs import frozen

from privagams.judge.intervals import auc_interval

_ROWS = 512
_ENOUGH = 50
"""Patients a side from which on the bootstrap stands alone."""


@frozen(eq=False)
class Wins:
    """Which share of pairs of a diseased and a healthy image is ranked right, by patient: all that resampling takes."""

    sums: np.ndarray
    """Pairs ranked right, ties counted half and classifiers averaged, between the diseased images of patient p and
    the healthy ones of patient q, float64 "p q"."""
    diseased: np.ndarray
    """Number of diseased images, "p"."""
    healthy: np.ndarray
    """Number of healthy images, "p"."""

    @property
    def patients(self) -> int:
        return len(self.diseased)

    def auc(self, weights: np.ndarray) -> float:
        """The AUC with patient p counted `weights[p]` times."""
        return float(weights @ self.sums @ weights / ((weights @ self.diseased) * (weights @ self.healthy)))


def count_wins(scores: Sequence[np.ndarray], diseased: np.ndarray, patient: np.ndarray) -> Wins:
    """Compare all pairs. `scores`: one array "n" per classifier, higher = diseased; `diseased`: bool "n"."""
    _, owner = np.unique(patient.astype(str), return_inverse=True)
    count = int(owner.max()) + 1
    well = np.zeros((int((~diseased).sum()), count))
    well[np.arange(len(well)), owner[~diseased]] = 1
    sums = np.zeros((count, count))
    for values in scores:
        ill, rest, mine = values[diseased], values[~diseased], owner[diseased]
        for start in range(0, len(ill), _ROWS):
            some = slice(start, start + _ROWS)
            right = (ill[some, None] > rest) + 0.5 * (ill[some, None] == rest)
            np.add.at(sums, mine[some], right @ well)
    return Wins(
        sums / len(scores), np.bincount(owner[diseased], minlength=count),
        np.bincount(owner[~diseased], minlength=count),
    )  # fmt: skip


def interval(wins: Wins, resamples: int, rng: np.random.Generator) -> tuple[float, float, float]:
    """(AUC, low, high): a bootstrap over patients.

    A resample without one of the classes has no AUC; patients with diseased images and the others are then drawn
    apart, each as often as there are. With fewer than 50 patients of a class, or a perfect AUC, where a bootstrap
    sees too little, the wider of it and Newcombe's score interval (2006, method 5) for as many patients is taken.
    """
    value = wins.auc(np.ones(wins.patients))
    spread = [wins.auc(_resampled(wins, rng)) for _ in range(resamples)]
    low, high = (float(x) for x in np.quantile(spread, [0.025, 0.975]))
    ill, well = int((wins.diseased > 0).sum()), int((wins.healthy > 0).sum())
    if min(ill, well) < _ENOUGH or value in (0.0, 1.0):
        score = auc_interval(value, 0.0, ill, well)
        low, high = min(low, score[0]), max(high, score[1])
    return value, max(0.0, min(low, value)), min(1.0, max(high, value))


def _resampled(wins: Wins, rng: np.random.Generator) -> np.ndarray:
    """How often each patient is in a resample that has both classes, float64 "p"."""
    weights = _drawn(np.arange(wins.patients), wins.patients, rng)
    if (weights @ wins.diseased) and (weights @ wins.healthy):
        return weights
    ill = wins.diseased > 0
    both = _drawn(np.flatnonzero(ill), wins.patients, rng)
    others = np.flatnonzero(~ill)
    return both + _drawn(others, wins.patients, rng) if len(others) else np.ones(wins.patients)


def _drawn(patients: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    return np.bincount(rng.choice(patients, len(patients)), minlength=count).astype(np.float64)
