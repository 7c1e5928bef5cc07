"""What a local mechanism does otherwise than it must, found whatever the distribution of its noise."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from privagams.audit.bound_mechanism import BoundMechanism
from privagams.errors import StageError
from privagams.ledger.events import event_to_json, local

_CALLS = 32
_ROWS = 8
_MOST_RATIO = 2.0
_LABELS = 256


def faults_of(
    bound: BoundMechanism, again: BoundMechanism, classes: int, extent: float, rng: np.random.Generator
) -> tuple[str, ...]:
    """Sentences; none for a sound mechanism but with a chance below one in a million.

    `again`: the same, bound once more; neither has randomised anything yet.
    """
    before = event_to_json(local(bound.randomiser.event))
    found = [
        *_seeds(bound, again, extent),
        *_noise(bound, extent, rng),
        *_bounds(bound, extent),
        *_labels(bound, classes),
    ]
    if event_to_json(local(bound.randomiser.event)) != before:
        found.append("the stated cost changes with the data that were randomised")
    return tuple(found)


def _seeds(bound: BoundMechanism, again: BoundMechanism, extent: float) -> Iterator[str]:
    rows = np.zeros((_ROWS, bound.size))
    if (bound.rows(rows) == again.rows(rows)).all():
        yield "noise starts over whenever the mechanism is made anew, as by a seed"


def _noise(bound: BoundMechanism, extent: float, rng: np.random.Generator) -> Iterator[str]:
    """Equal rows, in several calls: entries that never vary though the data do, and noise that rows share."""
    vector = np.clip(rng.normal(size=bound.size), -extent, extent)
    runs = np.stack([bound.rows(np.tile(vector, (_ROWS, 1))) for _ in range(_CALLS)])
    other = np.stack([bound.rows(np.tile(-vector, (_ROWS, 1))) for _ in range(_CALLS)])
    still = (runs == runs[0]).all(axis=(0, 1)) & (other == other[0]).all(axis=(0, 1))
    bare = int((still & (runs[0, 0] != other[0, 0])).sum())
    if bare:
        yield f"{bare} of {bound.size} coordinates are released without any noise, or with the same every time"
        return
    # Were rows independent, the means of calls would vary by a share 1/_ROWS of what single rows do.
    within = runs.var(axis=1, ddof=1).mean()
    between = runs.mean(axis=1).var(axis=0, ddof=1).mean() * _ROWS
    if between > _MOST_RATIO * within:
        yield "images that are randomised together share noise"


def _bounds(bound: BoundMechanism, extent: float) -> Iterator[str]:
    """What is no number must be refused, and what is no real vector must come out as numbers."""
    rows = np.zeros((2, bound.size))
    rows[1, 0] = np.nan
    try:
        bound.randomiser.randomise(rows)
    except StageError:
        pass
    else:
        yield "a vector that holds a NaN is not refused, and what comes out tells who had it"
    far = np.full((1, bound.size), extent * 1e300)
    if not np.isfinite(bound.randomiser.randomise(far)).all():
        yield "a vector of very large numbers comes out as no numbers, which tells who had it"


def _labels(bound: BoundMechanism, classes: int) -> Iterator[str]:
    if classes < 1:
        return
    true = np.arange(_LABELS, dtype=np.int64) % classes
    first, second = (bound.randomiser.labels(true, np.random.default_rng(0)) for _ in range(2))
    withheld = first == -1
    if withheld.any() and not withheld.all():
        yield "some labels are withheld and others are not, which may tell them"
    elif not withheld.all() and (first.shape != true.shape or first.min() < 0 or first.max() >= classes):
        yield f"labels come out as others than the {classes} classes"
    elif not withheld.all() and (first == second).all() and (first != true).any():
        yield "labels are randomised by a seed, so that whoever knows it reads them"
