"""What a release is worth for training: a small classifier learnt from it, judged on real images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from privagams.access import World
from privagams.errors import StageError
from privagams.evidence import Measurement
from privagams.judge.intervals import mean_bound
from privagams.records import Records
from privagams.roles import Better
from privagams_metrics.classifier import outputs, trained
from privagams_metrics.settings import DownstreamSettings


class DownstreamAccuracy:
    """Train on the release, test on real: balanced accuracy, and accuracy of each class.

    The recipe is fixed (`classifier`): nothing is chosen by looking at the real images. The intervals cover the
    choice of real patients, not the luck of one training.
    """

    better: ClassVar[Better] = "higher"

    def __init__(self, settings: DownstreamSettings) -> None:
        self.settings = settings

    def measure(
        self, real: Records, released: Records, world: World, rng: np.random.Generator
    ) -> Iterator[Measurement]:
        """Yield `downstream-accuracy`, then `downstream-accuracy:CLASS` for each class."""
        classes = _classes(real, released)
        wanted = real.label_index(classes)
        real, wanted = real.take(wanted >= 0), wanted[wanted >= 0]
        usable = released.label_index(classes)
        net = trained(released.take(usable >= 0), usable[usable >= 0], len(classes), self.settings, rng)
        right = outputs(net, real, self.settings.side).argmax(1) == wanted
        yield from _measurements(right, wanted, real.patient, classes, self.settings.resamples, rng)


def _classes(real: Records, released: Records) -> list[str]:
    """The labels that both sides have; at least two are needed."""
    drawn = sorted({str(label) for label in released.column("label")} - {""})
    if len(drawn) < 2:
        found = "none" if not drawn else f"only {drawn[0]!r}"
        raise StageError(
            f"downstream-accuracy: expected a release with at least two labels, found {found}; "
            "draw by class ([public] classes), or leave this metric out where labels are withheld"
        )
    known = {str(label) for label in real.column("label")}
    both = [label for label in drawn if label in known]
    if len(both) < 2:
        raise StageError(
            "downstream-accuracy: expected real non-members of at least two of the classes "
            f"{', '.join(drawn)}, found {', '.join(both) or 'none'}; check the table's label column, "
            "or lower split.members"
        )
    return both


def _measurements(
    right: np.ndarray,
    wanted: np.ndarray,
    patient: np.ndarray,
    classes: list[str],
    resamples: int,
    rng: np.random.Generator,
) -> Iterator[Measurement]:
    _, owner = np.unique(patient.astype(str), return_inverse=True)
    shape = (owner.max() + 1, len(classes))
    hits, total = np.zeros(shape), np.zeros(shape)
    np.add.at(hits, (owner, wanted), right)
    np.add.at(total, (owner, wanted), 1)
    draws = rng.multinomial(len(hits), np.full(len(hits), 1 / len(hits)), size=resamples)
    with np.errstate(invalid="ignore"):
        resampled = (draws @ hits) / (draws @ total)
    recalls, chance = hits.sum(0) / total.sum(0), 1 / len(classes)
    name = "downstream-accuracy"
    yield _measurement(name, float(recalls.mean()), np.nanmean(resampled, axis=1), len(hits), chance)
    for k, label in enumerate(classes):
        patients = int(np.count_nonzero(total[:, k]))
        yield _measurement(f"{name}:{label}", float(recalls[k]), resampled[:, k], patients, chance)


def _measurement(name: str, value: float, spread: np.ndarray, patients: int, chance: float) -> Measurement:
    low, high = (float(x) for x in np.nanpercentile(spread, [2.5, 97.5]))
    # Resampling cannot see beyond what it has: where all are right, or all wrong, the exact bound for as many
    # patients says how far the truth may still be.
    if value in (0.0, 1.0):
        low, high = mean_bound(value, patients, "low", 0.025), mean_bound(value, patients, "high", 0.025)
    return Measurement(name, value, min(low, value), max(high, value), patients, chance=chance)
