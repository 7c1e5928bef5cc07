"""The blind baseline: do members and non-members differ without any release? Then no attack can be interpreted."""

from __future__ import annotations

import numpy as np
from attrs import frozen
from scipy.stats import rankdata

from privagams.evidence import Measurement
from privagams.judge.intervals import auc, auc_interval, auc_variance

_FOLDS = 5
_PERMUTATIONS = 1000
_THUMBNAIL = 8
_CHUNK = 4096


@frozen
class Blind:
    """How well members are told from non-members by an attack that sees no release."""

    measurement: Measurement
    p_value: float

    @property
    def beats_chance(self) -> bool:
        """Whether the two differ beyond luck, which makes results about membership uninterpretable."""
        return self.p_value < 0.01


def blind_baseline(
    features: np.ndarray, owner: np.ndarray, member: np.ndarray, rng: np.random.Generator
) -> Blind:
    """Cross-fitted ridge classifier on the mean features of each patient's images.

    features: float "n d"; owner: int "n", the patient's index; member: bool "k". The null permutes patients
    with the same folds: out-of-fold predictions are linear in membership, so that all are one matrix product.
    """
    k, m = len(member), int(member.sum())
    if min(m, k - m) < 2:
        return Blind(Measurement("blind-auc", 0.5, 0.0, 1.0, k, chance=0.5), 1.0)
    predicts = _smoother(_patient_means(features, owner, k), rng)
    shuffled = rng.permuted(np.tile(member, (_PERMUTATIONS, 1)), axis=1)
    scores = predicts @ member
    value = auc(scores[member], scores[~member])
    ranks = rankdata(shuffled @ predicts.T, axis=1)
    null = ((ranks * shuffled).sum(axis=1) - m * (m + 1) / 2) / (m * (k - m))
    p_value = (1 + int((null >= value - 1e-12).sum())) / (_PERMUTATIONS + 1)
    interval = auc_interval(value, auc_variance(scores[member], scores[~member]), m, k - m)
    return Blind(Measurement("blind-auc", value, *interval, k, chance=float(null.mean())), p_value)


def plain_features(pixels: np.ndarray) -> np.ndarray:
    """What an image looks like at a glance, float32 "n d": channel means and spreads, edges, a thumbnail.

    pixels: uint8 "n h w c".
    """
    parts = [_plain(pixels[start : start + _CHUNK]) for start in range(0, len(pixels), _CHUNK)]
    return np.concatenate(parts) if parts else _plain(pixels)


def _plain(pixels: np.ndarray) -> np.ndarray:
    scaled = pixels.astype(np.float32) / 255
    edges = [np.abs(np.diff(scaled, axis=axis)).mean(axis=(1, 2)) for axis in (1, 2)]
    grey = scaled.mean(axis=3)
    rows, columns = (
        np.linspace(0, size, min(_THUMBNAIL, size) + 1).astype(int)[:-1] for size in grey.shape[1:]
    )
    sums = np.add.reduceat(np.add.reduceat(grey, rows, axis=1), columns, axis=2)
    areas = np.diff(np.append(rows, grey.shape[1]))[:, None] * np.diff(np.append(columns, grey.shape[2]))
    thumbnail = (sums / areas.astype(np.float32)).reshape(len(pixels), len(rows) * len(columns))
    return np.concatenate([scaled.mean(axis=(1, 2)), scaled.std(axis=(1, 2)), *edges, thumbnail], axis=1)


def _patient_means(features: np.ndarray, owner: np.ndarray, k: int) -> np.ndarray:
    """Standardised mean of each patient's features, float64 "k d"."""
    sums = np.zeros((k, features.shape[1]))
    np.add.at(sums, owner, features)
    means = sums / np.maximum(np.bincount(owner, minlength=k), 1)[:, None]
    spread = means.std(axis=0)
    return np.asarray((means - means.mean(axis=0)) / np.where(spread > 0, spread, 1))


def _smoother(means: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Matrix "k k" that turns membership into predictions, none of which has seen its own fold.

    Kernel ridge with the penalty at the mean square of the features; membership is centred on the training
    folds, without which predictions would mirror how many members a fold holds.
    """
    k = len(means)
    similar = means @ means.T
    penalty = max(float(np.trace(similar)) / k, 1e-12)
    fold = rng.permutation(k) % min(_FOLDS, k)
    predicts = np.zeros((k, k))
    for number in range(fold.max() + 1):
        test, train = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        system = similar[np.ix_(train, train)] + penalty * np.eye(len(train))
        weights = np.linalg.solve(system, similar[np.ix_(train, test)]).T
        predicts[np.ix_(test, train)] = weights - weights.mean(axis=1, keepdims=True)
    return predicts
