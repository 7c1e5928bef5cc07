"""Whether disease can still be told: a classifier of real images on copies, and one learnt from copies on real ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
import torch
from attrs import frozen

from privagams.access import World
from privagams.errors import StageError
from privagams.evidence import Measurement
from privagams.records import Records
from privagams.roles import Better
from privagams_metrics.classifier import outputs, trained
from privagams_metrics.patient_auc import count_wins, interval
from privagams_metrics.settings import PathologyAucSettings


@frozen(eq=False)
class _Told:
    """Images whose label is known; those without one are left out."""

    records: Records
    diseased: np.ndarray
    """bool "n"."""
    patient: np.ndarray
    """Of the originals where the images are copies, "n"."""


class PathologyAuc:
    """AUC of one class against all others (Shibata et al. 2023, arXiv 2212.10688, ask whether pathology survives).

    `pathology-auc`: the classifier learns from real public images and is tested on the released copies, with the
    labels of their originals. `pathology-auc:real`: the very same classifiers on these originals, which is what
    copies without loss would have. `pathology-auc:from-released`: the same recipe learnt from the copies, tested on
    real non-members. Several trainings from different starts are averaged. The intervals cover the choice of
    tested patients, not that of those learnt from. 0.5 is guessing. The network is small: the figures compare
    releases, and say little about what a radiologist could see.
    """

    better: ClassVar[Better] = "higher"

    def __init__(self, settings: PathologyAucSettings) -> None:
        self.settings = settings

    def measure_pairs(
        self, real: Records, originals: Records, released: Records, world: World, rng: np.random.Generator
    ) -> Iterator[Measurement]:
        """Yield the three figures in this order. Raises `StageError` without reference, or with one class only."""
        if world.reference is None:
            raise StageError(
                "pathology-auc: expected real public images to learn from, found none; add [split] reference or a "
                "[reference] source, or leave this metric out"
            )
        reference = self._told(world.reference, world.reference, world.reference, "the reference")
        mine = self._told(originals, originals, originals, "the released patients")
        copies = self._told(released, originals, originals, "the released patients")
        theirs = self._told(real, real, real, "the non-members")
        labels, whose = self._labels(originals, released)
        learnt = self._told(released, labels, originals, "the release")
        name, count = "pathology-auc", self.settings.trainings
        nets = [self._trained(reference, rng) for _ in range(count)]
        note = f"{self.settings.positive}; learnt from real reference images, mean of {count} trainings"
        yield self._measured(name, nets, copies, note, rng)
        yield self._measured(f"{name}:real", nets, mine, f"{note}; tested on the originals", rng)
        nets = [self._trained(learnt, rng) for _ in range(count)]
        note = f"{self.settings.positive}; learnt from the release with {whose}, mean of {count} trainings"
        yield self._measured(f"{name}:from-released", nets, theirs, note, rng)

    def _labels(self, originals: Records, released: Records) -> tuple[Records, str]:
        """Whose labels go with the copies: the release's own, else those that only the steward has."""
        if (released.column("label").astype(str) != "").any():
            return released, "the labels released with it"
        return originals, "the originals' labels, which only the steward has"

    def _told(self, shown: Records, labelled: Records, owned: Records, whose: str) -> _Told:
        label = labelled.column("label").astype(str)
        known = np.flatnonzero(label != "")
        diseased = label[known] == self.settings.positive
        if diseased.all() or not diseased.any():
            found = ", ".join(repr(str(name)) for name in np.unique(label[known])) or "none"
            raise StageError(
                f"pathology-auc: expected images of {whose} with label {self.settings.positive!r} and with "
                f"others, found {found}; set `positive` to a label of the table, or take more patients"
            )
        return _Told(shown.take(known), diseased, owned.patient[known])

    def _trained(self, told: _Told, rng: np.random.Generator) -> torch.nn.Module:
        return trained(told.records, told.diseased.astype(np.int64), 2, self.settings, rng)

    def _measured(
        self, name: str, nets: Sequence[torch.nn.Module], told: _Told, note: str, rng: np.random.Generator
    ) -> Measurement:
        scores = [self._scores(net, told.records) for net in nets]
        wins = count_wins(scores, told.diseased, told.patient)
        value, low, high = interval(wins, self.settings.resamples, rng)
        return Measurement(name, value, low, high, wins.patients, chance=0.5, note=note)

    def _scores(self, net: torch.nn.Module, records: Records) -> np.ndarray:
        found = outputs(net, records, self.settings.side)
        margin: np.ndarray = found[:, 1] - found[:, 0]
        return margin
