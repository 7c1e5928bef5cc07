"""How far a release's images lie from real ones, and how far other real patients' images would."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
from attrs import field, frozen

from privagams.access import World
from privagams.errors import StageError
from privagams.evidence import Measurement
from privagams.records import Records
from privagams.roles import Better
from privagams_metrics.settings import KidSettings

_ROWS = 1024
"""Rows of the kernel matrix held at once."""
_HALVINGS = 200


class Kid:
    """Kernel inception distance: unbiased MMD² with k(x, y) = (x·y/d + 1)^degree.

    Bińkowski et al. (2018), arXiv 1801.01401, with two departures. All pairs are used in place of random
    subsets. On the real side only pairs of two different patients count: images of one patient resemble each
    other, and with few patients such pairs would make even perfect images look distant; with one image per
    patient nothing changes. Features are taken as the embedder gives them, on its own fixed scale, so that
    figures of different releases and runs compare; figures of different embedders do not.
    """

    better: ClassVar[Better] = "lower"

    def __init__(self, settings: KidSettings) -> None:
        self.settings = settings

    def measure(
        self, real: Records, released: Records, world: World, rng: np.random.Generator
    ) -> Iterator[Measurement]:
        """Yield `kid`, and `kid-real-real`: what images of other real patients would score."""
        most = self.settings.images
        real, released = _some(real, most, rng), _some(released, most, rng)
        _check(real, released)
        theirs = world.features(self.settings.embedder, real)
        drawn = world.features(self.settings.embedder, released)
        sums = kernel_sums(theirs, real.patient, drawn, self.settings.degree)
        value = sums.kid(np.ones(sums.patients))
        spread = [sums.kid(_resampled(sums.patients, rng)) for _ in range(self.settings.resamples)]
        yield _measurement("kid", value, spread, sums.patients, f"embedder {self.settings.embedder.name}")
        if sums.patients >= 4:
            halves = [sums.halves(rng.permutation(sums.patients)) for _ in range(_HALVINGS)]
            yield _measurement(
                "kid-real-real", float(np.mean(halves)), halves, sums.patients,
                "half of the real patients against the other half",
            )  # fmt: skip


@frozen(eq=False)
class KernelSums:
    """Sums of the kernel over pairs of images, by patient: all that KID and its resamples need."""

    within: np.ndarray = field()
    """Over pairs of real images, "p p"."""
    same: np.ndarray
    """Over each real image with itself, "p"."""
    across: np.ndarray
    """Over pairs of a real and a released image, "p"."""
    images: np.ndarray
    """Number of real images, "p"."""
    released: float
    """Mean over pairs of two different released images."""
    drawn: int
    """Number of released images."""

    @property
    def patients(self) -> int:
        return len(self.images)

    def kid(self, weights: np.ndarray) -> float:
        """Unbiased MMD² with real patient p counted `weights[p]` times; a patient's copies form no pairs."""
        counted = weights * self.images
        pairs = counted.sum() ** 2 - (counted**2).sum()
        real = weights @ self.within @ weights - (weights**2 * self.within.diagonal()).sum()
        return float(
            real / pairs + self.released - 2 * (weights @ self.across) / (counted.sum() * self.drawn)
        )

    def halves(self, order: np.ndarray) -> float:
        """The same, first half of the patients in `order` as the real side, the others as the release."""
        left, right = order[: len(order) // 2], order[len(order) // 2 :]
        n, m = self.images[left].sum(), self.images[right].sum()
        real = self.within[np.ix_(left, left)].sum() - self.within[left, left].sum()
        other = self.within[np.ix_(right, right)].sum() - self.same[right].sum()
        cross = self.within[np.ix_(left, right)].sum()
        pairs = n**2 - (self.images[left] ** 2).sum()
        return float(real / pairs + other / max(m * (m - 1), 1) - 2 * cross / (n * m))


def kernel_sums(theirs: np.ndarray, patient: np.ndarray, drawn: np.ndarray, degree: int) -> KernelSums:
    """Sum the kernel over real features "n d" by patient, and over released features "m d"."""
    _, owner, images = np.unique(patient.astype(str), return_inverse=True, return_counts=True)
    order = np.argsort(owner, kind="stable")
    theirs, owner = theirs[order].astype(np.float64), owner[order]
    drawn = drawn.astype(np.float64)
    starts = np.searchsorted(owner, np.arange(len(images)))
    within, across = np.zeros((len(images), len(images))), np.zeros(len(images))
    for rows in _blocks(len(theirs)):
        by_column = np.add.reduceat(_kernel(theirs[rows], theirs, degree), starts, axis=1)
        np.add.at(within, owner[rows], by_column)
        np.add.at(across, owner[rows], _kernel(theirs[rows], drawn, degree).sum(axis=1))
    between = sum(_kernel(drawn[rows], drawn, degree).sum() for rows in _blocks(len(drawn)))
    m = len(drawn)
    return KernelSums(
        within=within,
        same=np.bincount(owner, _with_itself(theirs, degree)),
        across=across,
        images=images.astype(np.float64),
        released=float((between - _with_itself(drawn, degree).sum()) / (m * (m - 1))),
        drawn=m,
    )


def _kernel(x: np.ndarray, y: np.ndarray, degree: int) -> np.ndarray:
    return (x @ y.T / x.shape[1] + 1) ** degree


def _with_itself(x: np.ndarray, degree: int) -> np.ndarray:
    return ((x * x).sum(axis=1) / x.shape[1] + 1) ** degree


def _blocks(n: int) -> Iterator[slice]:
    for start in range(0, n, _ROWS):
        yield slice(start, start + _ROWS)


def _some(records: Records, most: int, rng: np.random.Generator) -> Records:
    if len(records) <= most:
        return records
    return records.take(np.sort(rng.choice(len(records), most, replace=False)))


def _check(real: Records, released: Records) -> None:
    if len(real.patients) < 2:
        raise StageError(
            f"kid: expected real images of at least 2 non-members, found {len(real.patients)}; "
            "lower split.members"
        )
    if len(released) < 2:
        raise StageError(f"kid: expected at least 2 released images, found {len(released)}; raise images")


def _resampled(patients: int, rng: np.random.Generator) -> np.ndarray:
    """How often each patient is drawn in a bootstrap sample that holds at least two different ones."""
    while True:
        weights = np.bincount(rng.integers(0, patients, patients), minlength=patients).astype(np.float64)
        if np.count_nonzero(weights) > 1:
            return weights


def _measurement(name: str, value: float, spread: list[float], patients: int, note: str) -> Measurement:
    low, high = np.percentile(spread, [2.5, 97.5])
    return Measurement(name, value, min(float(low), value), max(float(high), value), patients, note=note)
