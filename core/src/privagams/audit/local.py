"""The audit of a local mechanism: invented vectors of which coins decided, told apart by what is released of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from attrs import frozen

from privagams.audit.bound_mechanism import BoundMechanism, LocalCanaries, bind, smallest
from privagams.audit.canaries import flip_coins
from privagams.audit.local_dealings import faults_of
from privagams.errors import StageError
from privagams.ledger.accounting import Claim
from privagams.roles import Coordinates, LocalMechanism, Progress

MANY = 1000
"""Canaries of the kinds that cost nothing: short vectors and labels."""
SHORT = 64
"""Entries of a short vector."""
CANDIDATES = 1000
EXAGGERATED = 1e6
"""How many times as long as any real vector every other canary is, so that a missing clip stands out."""
_ROWS = 16
"""Vectors that are randomised in one call, as for a release."""
_MOST_ENTRIES = 1 << 26
_AMONG = 8


@frozen
class LinkageTrials:
    """How often a matched filter named the invented vector that a released one was made of."""

    right: int
    trials: int
    candidates: int
    """How many the true one was drawn from, fairly and anew for each trial."""


@frozen(eq=False)
class LocalAudit:
    """What one audit of a local mechanism showed. Holds the coins: for the judge; `to_facts` may be written."""

    claim: Claim
    """What all images and labels of one patient cost."""
    canaries: tuple[LocalCanaries, ...]
    linkage: LinkageTrials
    faults: tuple[str, ...]
    """Dealings that break the mechanism's promise; any one refutes it."""
    patients: str
    """Who was randomised, in words."""
    dealings: str
    """What was done, in words."""

    def to_facts(self) -> dict[str, Any]:
        """Plain values that may be written, for `judge.local_verdicts`.

        Guarantee: canaries are sorted by score, so nothing written tells how any coin fell
        (test_facts_of_a_local_audit_do_not_tell_the_coins).
        """
        return {
            "claim": self.claim.to_json(),
            "canaries": [each.to_facts() for each in self.canaries],
            "linkage": {
                "right": self.linkage.right, "trials": self.linkage.trials,
                "candidates": self.linkage.candidates, "epsilon": self.claim.epsilon, "delta": self.claim.delta,
            },
            "faults": list(self.faults),
            "patients": self.patients,
            "dealings": self.dealings,
        }  # fmt: skip


def audit_local(
    mechanism: LocalMechanism,
    size: int,
    classes: int,
    images: int,
    patients: int,
    seed: int,
    progress: Progress,
    delta: float = 1e-5,
    tight_delta: float = 1e-9,
    strongest: Callable[[int], np.ndarray] = np.arange,
) -> LocalAudit:
    """Randomise the vectors of `patients` invented patients for each of three tests, and many short ones.

    `size`, `classes`, `images`: as for the release. `delta`: at which Gaussian noise is priced; `tight_delta`: the
    same for the gate. `seed` decides what is invented; coins and noise come from the operating system. Takes as long
    as 3 · `patients` · `images` images do.

    The canaries are pairs of what a patient may submit, all of its images alike: a coin decides which of the two it
    is, and the adversary guesses by the sign of a correlation with their difference, which shrinkage leaves as it
    is. Every coin is of its own, so `judge.canary_verdict` holds for them. Linkage: a vector is drawn from N that are
    N(0, 1) in each entry, and looked for among them by correlation. As it is drawn fairly, (ε, δ) allows
    (e^ε + δ(N−1)) / (e^ε + N−1) right guesses in each trial, whatever number of trials is made.

    What it cannot see: a factor in the noise on long vectors that short ones do not have and that no single coordinate
    shows, since what every coordinate leaks is then far too little in sum.

    Guarantee: no real patient is in it, and of what it randomised only scores are kept.
    """
    if min(size, images, patients) < 1:
        raise StageError(
            f"audit: expected vectors of at least one entry, one image and one patient, found {size}, {images} and "
            f"{patients}; give 500 patients or more"
        )
    rng = np.random.default_rng([seed, 3])
    prices = delta, tight_delta
    whole = bind(mechanism, Coordinates(size, strongest), classes, images, prices)

    def short() -> BoundMechanism:
        return smallest(mechanism, min(size, SHORT), size, classes, images, prices)

    tiny = smallest(mechanism, 1, size, classes, images, prices)
    steps = _steps(progress, 3 * patients)
    extent = 1.0 if mechanism.kind == "pixels" else 3.0
    made = [
        _smallest_vector(tiny, extent),
        _magnitude(short(), extent, rng),
        _every_coordinate(whole, extent, patients, rng, steps),
        _one_coordinate(whole, extent, patients, rng, steps, strongest(min(size, _AMONG))),
        *_labels(whole, classes, rng),
    ]
    linkage = _linkage(whole, patients, rng, steps)
    planted = ", ".join(f"{len(each.found.scores)} {each.found.kind} canaries" for each in made)
    return LocalAudit(
        claim=whole.claim,
        canaries=tuple(made),
        linkage=linkage,
        faults=faults_of(short(), short(), classes, extent, rng),
        patients=f"{patients} invented vectors of {size} entries for each test",
        dealings=(
            f"Audit of the local mechanism on invented vectors of {size} entries, {images} of each patient: "
            f"{planted}, and {linkage.trials} vectors looked for among {linkage.candidates}."
        ),
    )


def _smallest_vector(tiny: BoundMechanism, extent: float) -> LocalCanaries:
    coins = flip_coins(MANY)
    sides = np.where(coins, 1.0, -1.0) * _lengths(MANY, extent)
    scores = [tiny.released(np.full(tiny.size, side)).sum() for side in sides]
    what = f"a patient whose vectors of {tiny.size} entries are all as high, or all as low, as can be"
    return tiny.canaries("smallest vector", what, scores, coins)


def _magnitude(short: BoundMechanism, extent: float, rng: np.random.Generator) -> LocalCanaries:
    """Far beyond all bounds, or nought: seen where noise or scale follow the data, in this row or in the next."""
    coins, neighbour = flip_coins(MANY), rng.normal(size=(1, short.size))
    scores = []
    for coin in coins:
        mine = np.full((short.images, short.size), extent * EXAGGERATED if coin else 0.0)
        mine[:, ::2] *= -1
        scores.append(np.log(np.square(short.rows(np.concatenate([neighbour, mine]))).mean() + 1e-300))
    what = f"a patient whose vectors of {short.size} entries are far too long, or nought, beside another's"
    return short.canaries("magnitude", what, scores, coins)


def _every_coordinate(
    whole: BoundMechanism, extent: float, patients: int, rng: np.random.Generator, steps: Iterator[None]
) -> LocalCanaries:
    coins, lengths, scores = flip_coins(patients), _lengths(patients, extent), []
    for coin, length in zip(coins, lengths, strict=True):
        signs = rng.choice([-1.0, 1.0], whole.size)
        scores.append(signs @ whole.released(signs * length * (1 if coin else -1)))
        next(steps)
    what = "a patient all of whose coordinates are at one end, or all at the other"
    return whole.canaries("every coordinate", what, scores, coins)


def _one_coordinate(
    whole: BoundMechanism, extent: float, patients: int, rng: np.random.Generator, steps: Iterator[None],
    among: np.ndarray,
) -> LocalCanaries:  # fmt: skip
    coins, lengths, scores = flip_coins(patients), _lengths(patients, extent), []
    for coin, length in zip(coins, lengths, strict=True):
        vector, at = np.zeros(whole.size), int(rng.choice(among))
        vector[at] = length if coin else -length
        scores.append(whole.released(vector)[at])
        next(steps)
    what = "a patient one of whose coordinates is at one end or the other, all others nought"
    return whole.canaries("one coordinate", what, scores, coins)


def _labels(whole: BoundMechanism, classes: int, rng: np.random.Generator) -> list[LocalCanaries]:
    """None where there are no two classes to tell apart, or labels are withheld."""
    if classes < 2:
        return []
    coins = flip_coins(MANY)
    released = whole.randomiser.labels(np.repeat(coins.astype(np.int64), whole.images), rng)
    if (released == -1).all():
        return []
    scores = ((released == 1).astype(float) - (released == 0)).reshape(MANY, -1).sum(axis=1)
    return [whole.canaries("label", "a patient of one class or of another", scores, coins)]


def _linkage(
    whole: BoundMechanism, trials: int, rng: np.random.Generator, steps: Iterator[None]
) -> LinkageTrials:
    count = max(2, min(CANDIDATES, _MOST_ENTRIES // whole.size))
    vectors = rng.standard_normal((count, whole.size), dtype=np.float32)
    lengths = np.linalg.norm(vectors, axis=1)
    owner, right = rng.integers(0, count, trials), 0
    for start in range(0, trials, _ROWS):
        mine = owner[start : start + _ROWS]
        rows = whole.rows(np.repeat(vectors[mine].astype(np.float64), whole.images, axis=0))
        released = rows.reshape(len(mine), whole.images, -1).mean(axis=1).astype(np.float32)
        likeness = np.nan_to_num(released @ vectors.T / lengths, nan=-np.inf)
        right += int((likeness.argmax(axis=1) == mine).sum())
        for _ in mine:
            next(steps)
    return LinkageTrials(right, trials, count)


def _lengths(count: int, extent: float) -> np.ndarray:
    """As long as real vectors may be, and far longer, by turns."""
    return np.where(np.arange(count) % 2, extent * EXAGGERATED, extent)


def _steps(progress: Progress, total: int) -> Iterator[None]:
    for done in range(1, total + 1):
        progress(done, total)
        yield
