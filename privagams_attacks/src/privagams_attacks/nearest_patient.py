"""Linkage by distance: whose known images lie nearest to a released one?"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from attrs import frozen

from privagams.access import Access, Scores, Target, World
from privagams.roles import Game
from privagams_attacks.nearest import distance_rows, nearest_distance, nearest_distance_to_others
from privagams_attacks.settings import NearestPatientSettings


@frozen
class NearestPatient:
    """Scores are negated distances in the features of an embedder, d.

    Copies (group g of released images R, candidate patient j with images C):
    s(g, j) = −mean_{r∈R} min_{c∈C} d(r, c). A patient of whom more images are known is nearer by luck;
    averaging with the other direction takes that away, and links fewer patients of X-rays and of slides.
    Each row depends on its own group alone, as the linkage bound of a randomised release demands.
    Drawn images R: s(j) = −mean_{c∈C} (min_{r∈R} d(c, r) − min_{o∈O} d(c, o)), O the known images of all
    other patients; without `calibrated` the second term is left out, and looking ordinary helps.
    After GAN-Leaks (Chen et al. 2020, arXiv 1909.03935), with −d where it has exp(−d²), which underflows.
    """

    settings: NearestPatientSettings
    game: ClassVar[Game] = "linkage"
    access: ClassVar[Access] = Access.RELEASED
    shadows: ClassVar[int] = 0

    def run(self, target: Target, world: World, rng: np.random.Generator) -> Scores:
        """Score groups by patients for copies, patients for drawn images; draws nothing from `rng`."""
        released = world.features(self.settings.embedder, target.released)
        known = world.features(self.settings.embedder, world.candidates)
        if self.settings.standardise:
            released, known = _standardised(released, known)
        owner = _positions(world.candidates.patient, world.patients)
        if target.groups is None:
            nearness = -nearest_distance(known, released)
            if self.settings.calibrated and len(world.patients) > 1:
                nearness += nearest_distance_to_others(known, owner)
            return Scores(_mean_by(nearness, owner, len(world.patients)))
        group = np.asarray(target.released.table["group"], dtype=np.int64)
        distances = _groups_to_patients(released, group, target.groups, known, owner)
        return Scores(-distances)


def _standardised(released: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scale by the adversary's own images only: a rule that needs nothing of the release or of its truth."""
    mean, deviation = known.mean(axis=0, dtype=np.float64), known.std(axis=0, dtype=np.float64)
    deviation[deviation == 0] = 1
    return (released - mean) / deviation, (known - mean) / deviation


def _groups_to_patients(
    released: np.ndarray, group: np.ndarray, groups: int, known: np.ndarray, owner: np.ndarray
) -> np.ndarray:
    """Mean nearest distance between each group and each patient, float64 "groups patients"."""
    _check_complete(group, groups, "released images", "group")
    order = np.argsort(owner, kind="stable")
    known, owner = known[order], owner[order]
    starts = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])
    totals = np.zeros((groups, len(starts)))
    for rows, distances in distance_rows(released, known):
        np.add.at(totals, group[rows], np.minimum.reduceat(distances, starts, axis=1))
    return totals / np.bincount(group, minlength=groups)[:, None]


def _positions(patient: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """Index of each record's patient in `patients`, int64 "n"."""
    index = {str(name): position for position, name in enumerate(patients)}
    owner = np.array([index[str(name)] for name in patient], dtype=np.int64)
    _check_complete(owner, len(patients), "candidate images", "patient")
    return owner


def _mean_by(values: np.ndarray, owner: np.ndarray, count: int) -> np.ndarray:
    return np.bincount(owner, weights=values, minlength=count) / np.bincount(owner, minlength=count)


def _check_complete(index: np.ndarray, count: int, what: str, unit: str) -> None:
    missing = np.flatnonzero(np.bincount(index, minlength=count) == 0)
    if len(missing):
        raise ValueError(
            f"nearest-patient: expected {what} for each {unit}, found none for {len(missing)} of {count}; "
            f"leave such a {unit} out of the world"
        )
