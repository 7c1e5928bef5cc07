"""Bootstrap of an AUC of single images by whole patients: one sort, whatever the number of replicates."""

from __future__ import annotations

import numpy as np

_BLOCK = 4_000_000
"""Weights held at once, at 4 bytes each."""


def cluster_bootstrap_auc(
    scores: np.ndarray, owner: np.ndarray, member: np.ndarray, replicates: int, rng: np.random.Generator
) -> np.ndarray:
    """AUC of image scores in resamples of patients, float64 "replicates".

    scores: "n", one per image; owner: int "n", the patient's index; member: bool "k", of patients. Members and
    non-members are resampled apart, each patient with all of its images, so that images of one patient count as
    what they are: one patient. Ties count half. nan where a resample has no image of one side.
    """
    belongs = member[owner]
    inside = _ascending(scores, owner, belongs)
    outside = _ascending(scores, owner, ~belongs)
    values, out_owner = outside
    below = np.searchsorted(values, inside[0], side="left")
    through = np.searchsorted(values, inside[0], side="right")
    found = np.empty(replicates)
    step = max(1, _BLOCK // max(len(scores), len(member)))
    for start in range(0, replicates, step):
        rows = slice(start, min(start + step, replicates))
        weights = _weights(member, rows.stop - rows.start, rng)
        for at, weight in zip(range(rows.start, rows.stop), weights, strict=True):
            passed = np.concatenate([[0.0], np.cumsum(weight[out_owner], dtype=np.float64)])
            mine = weight[inside[1]]
            total = mine.sum(dtype=np.float64) * passed[-1]
            wins = float(mine @ (passed[below] + passed[through])) / 2
            found[at] = wins / total if total > 0 else np.nan
    return found


def _ascending(scores: np.ndarray, owner: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.flatnonzero(chosen)[np.argsort(scores[chosen], kind="stable")]
    return scores[order], owner[order]


def _weights(member: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """How often each patient is drawn, float32 "count k": as many draws as patients, on each side apart."""
    weights = np.zeros((count, len(member)), dtype=np.float32)
    for side in (np.flatnonzero(member), np.flatnonzero(~member)):
        if len(side):
            drawn = rng.integers(0, len(side), (count, len(side)))
            flat = (drawn + np.arange(count)[:, None] * len(side)).ravel()
            weights[:, side] = np.bincount(flat, minlength=count * len(side)).reshape(count, len(side))
    return weights
