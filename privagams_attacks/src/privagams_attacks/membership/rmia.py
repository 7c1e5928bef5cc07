"""Membership by pairwise ratios: does the target know this patient better than people it never saw?"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from attrs import frozen

from privagams.access import Access, Holds, Scores, Target, World
from privagams.judge.intervals import auc
from privagams.records import Records
from privagams.roles import Game
from privagams_attacks.membership.settings import RmiaSettings
from privagams_attacks.membership.signal import Signals, signals

_SHARPNESS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
_OFFLINE = tuple(round(0.1 * step, 1) for step in range(11))
Mode = Literal["online", "offline"]


@frozen
class Scale:
    """How a signal φ becomes P(x|θ) = exp(c (φ − b)), and how much P_in is taken to differ from P_out."""

    c: float
    b: float
    a: float
    """Offline: P_in(x) is taken for a P_out(x) + 1 − a."""


@frozen
class Rmia:
    """s(x) = Pr_z[LR(x, z) ≥ γ], LR(x, z) = (P(x|θ) / P(x)) / (P(z|θ) / P(z)), z of whom θ never saw any image.

    Online P(x) = (mean_in + mean_out) / 2 of P(x|shadow); offline ((1 + a) mean_out + 1 − a) / 2. z are reference
    patients. Without a reference, P(z|θ) / P(z) comes from each shadow and the candidates outside of it, so
    that nothing is assumed about the target. Images have no probability under a model: P(x|θ) = exp(c (φ − b))
    of a patient's signal φ, where c and a are those that tell shadows' own members best, never the target's.
    Equal shares are ordered by P(x|θ) / P(x) within less than one step.
    Zarifzadeh, Liu and Shokri (2024), arXiv 2312.03262.
    """

    settings: RmiaSettings
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
        strangers = _strangers(world, self.settings.population, rng)
        found = signals(self.settings, target, world, rng, strangers)
        mode = self.settings.mode
        scale = calibrated(found.shadows, found.member, mode)
        ratios = log_ratio(found.target, found.shadows, found.member, scale, mode)
        return Scores(_shares(ratios, _population(found, scale, mode), float(np.log(self.settings.gamma))))


def _strangers(world: World, most: int, rng: np.random.Generator) -> Records | None:
    """Reference images of at most `most` patients."""
    if world.reference is None or not len(world.reference):
        return None
    patients = world.reference.patients
    chosen = rng.permutation(patients)[:most]
    return world.reference.take(np.isin(world.reference.patient, chosen))


def calibrated(shadows: np.ndarray, member: np.ndarray, mode: Mode) -> Scale:
    """The scale by which each shadow's members are told best when the other shadows play the shadows."""
    count = member.sum(axis=0)
    mean_in, mean_out = _means(shadows, member), _means(shadows, ~member)
    own = np.where(member, mean_in, mean_out)
    free = max(1, int((count > 0).sum() * (len(shadows) - 2)))
    spread = float(np.sqrt(((shadows - own) ** 2).sum() / free)) or 1.0
    b = float(np.quantile(shadows, 0.99))
    scales = [
        Scale(c / spread, b, a) for c in _SHARPNESS for a in (_OFFLINE if mode == "offline" else (1.0,))
    ]
    known = [i for i in range(len(shadows)) if 0 < member[i].sum() < member.shape[1]]
    if len(shadows) < 2 or not known:
        return Scale(1 / spread, b, 0.5)

    def told(scale: Scale) -> float:
        ratios = [_left_out(i, shadows, member, scale, mode) for i in known]
        return float(np.mean([auc(r[member[i]], r[~member[i]]) for i, r in zip(known, ratios, strict=True)]))

    return max(scales, key=told)


def log_ratio(
    target: np.ndarray, shadows: np.ndarray, member: np.ndarray, scale: Scale, mode: Mode
) -> np.ndarray:
    """The logarithm of P(x|θ) / P(x) for each patient, "k"; in logarithms, since P itself underflows.

    A patient who was in no shadow, or in all of them, gets the other patients' mean of the part that it lacks.
    """
    outside = _log_mean(scale.c * (shadows - scale.b), ~member)
    if mode == "offline":
        usual = _half_and_half(outside, scale.a)
    else:
        usual = np.logaddexp(outside, _log_mean(scale.c * (shadows - scale.b), member)) - np.log(2)
    ratio: np.ndarray = scale.c * (target - scale.b) - usual
    return ratio


def _half_and_half(outside: np.ndarray, a: float) -> np.ndarray:
    """The logarithm of ((1 + a) P_out + 1 − a) / 2."""
    if a == 1:
        return outside
    logs: np.ndarray = np.logaddexp(np.log((1 + a) / 2) + outside, np.log((1 - a) / 2))
    return logs


def _left_out(i: int, shadows: np.ndarray, member: np.ndarray, scale: Scale, mode: Mode) -> np.ndarray:
    """`log_ratio` with shadow i for the target, and all others for its shadows."""
    rest = np.arange(len(shadows)) != i
    return log_ratio(shadows[i], shadows[rest], member[rest], scale, mode)


def _population(found: Signals, scale: Scale, mode: Mode) -> np.ndarray:
    """The logarithm of P(z|θ) / P(z) for people whom the model in question never saw."""
    if len(found.target_reference):
        never = np.zeros(found.shadow_reference.shape, dtype=bool)
        # Nobody of the reference is in any shadow, so that P_in can only be taken from P_out.
        return log_ratio(found.target_reference, found.shadow_reference, never, scale, "offline")
    pairs = [
        _left_out(i, found.shadows, found.member, scale, mode)[~found.member[i]]
        for i in range(len(found.shadows))
    ]
    return np.concatenate(pairs)


def _shares(ratios: np.ndarray, population: np.ndarray, log_gamma: float) -> np.ndarray:
    from scipy.stats import rankdata

    beaten = np.searchsorted(np.sort(population), ratios - log_gamma, side="right")
    within = (rankdata(ratios) - 0.5) / len(ratios)
    shares: np.ndarray = (beaten + within) / (len(population) + 1)
    return shares


def _log_mean(logs: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Logarithm of the mean of exp over what counts in each column; other columns' mean where nothing does."""
    count = counted.sum(axis=0)
    some = count > 0
    if not some.any():
        return np.full(len(count), float(logs.mean()))
    found = np.empty(len(count))
    found[some] = np.logaddexp.reduce(np.where(counted, logs, -np.inf)[:, some], axis=0) - np.log(count[some])
    found[~some] = found[some].mean()
    return found


def _means(values: np.ndarray, counted: np.ndarray) -> np.ndarray:
    means: np.ndarray = np.where(counted, values, 0).sum(axis=0) / np.maximum(counted.sum(axis=0), 1)
    return means
