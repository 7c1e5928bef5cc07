"""From distances between images to scores of patients, for copies and for drawn images."""

from __future__ import annotations

import numpy as np

from privagams_attacks.nearest import distance_rows, nearest_distance, nearest_distance_to_others
from privagams_attacks.patients import mean_by


def distance_to_owners(
    released: np.ndarray, group: np.ndarray, groups: int, known: np.ndarray, owner: np.ndarray
) -> np.ndarray:
    """Mean over a group's images of the distance to the nearest image of each owner, float64 "groups owners".

    Owners are numbered from 0 and each has an image; released, known: features "n d".
    """
    order = np.argsort(owner, kind="stable")
    known, owner = known[order], owner[order]
    starts = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])
    totals = np.zeros((groups, len(starts)))
    for rows, distances in distance_rows(released, known):
        np.add.at(totals, group[rows], np.minimum.reduceat(distances, starts, axis=1))
    return totals / np.bincount(group, minlength=groups)[:, None]


def nearness_of_drawn(
    released: np.ndarray, known: np.ndarray, owner: np.ndarray, count: int, calibrated: bool
) -> np.ndarray:
    """Mean over a patient's images of −(distance to the release − distance to other patients), float64 "count"."""
    nearness = -nearest_distance(known, released)
    if calibrated and count > 1:
        nearness += nearest_distance_to_others(known, owner)
    return mean_by(nearness, owner, count)


def standardised(known: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """Scale by the adversary's own images, `known`, only: a rule that needs nothing of the release or its truth."""
    mean, deviation = known.mean(axis=0, dtype=np.float64), known.std(axis=0, dtype=np.float64)
    deviation[deviation == 0] = 1
    return [(features - mean) / deviation for features in (known, *others)]
