"""One audit: who takes part, the training itself, and what the judge gets to see of it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from attrs import evolve, frozen

from privagams.audit.canaries import CanaryScores, flip_coins, sorted_by_score
from privagams.audit.door import CanaryMechanism, watched_optimisers
from privagams.audit.invented import invented_patients, joined, noise_images
from privagams.errors import StageError
from privagams.ledger import accounting
from privagams.ledger.accounting import Claim
from privagams.ledger.events import spending
from privagams.ledger.uncharged import Uncharged
from privagams.oracle import Access, Oracle
from privagams.records import Records
from privagams.roles import Generator, Mechanism, Progress, Space, Summarised, Summary, Sums, Trained
from privagams.training.train import fit

MOST_INVENTED = 64
MOST_INPUTS = 256
"""Input canaries, at most: each included one is one more patient whose gradient is computed."""
DRAWS = 16
"""Fixed noises over which a loss is averaged."""


@frozen(eq=False)
class Audit:
    """What one audit training showed. Holds the coins: for the judge, in memory; `to_facts` may be written."""

    claim: Claim
    """What the noisy sums of this training cost, priced as for a release."""
    canaries: tuple[CanaryScores, ...]
    faults: tuple[str, ...]
    """Dealings that break the mechanism's promise, found exactly rather than statistically; none is good."""
    noise_multipliers: tuple[float, ...]
    """Of each noisy phase."""
    noise_found: tuple[float, ...]
    """Standard deviation of a sum in each, in clip norms, where no canary was: at least the multiplier."""
    contribution: float
    """By how many clip norms one canary, many times as long, moves a sum; 1 up to its error. The phases' largest."""
    sampling_rate: float
    steps: int
    """Noisy sums drawn."""
    clip_norm: float
    public_patients: int
    patients: str
    """Who was trained on, in words."""

    def to_facts(self) -> dict[str, Any]:
        """Plain values that may be written; `scores` and `included` of each kind are for `canary_verdict`.

        Guarantee: they are sorted by score, which is all that a judge needs, so that nothing written tells
        how the coin of any particular canary fell (test_facts_do_not_tell_which_canaries_took_part).
        """
        return {
            "claim": self.claim.to_json(),
            "canaries": [sorted_by_score(each) for each in self.canaries],
            "faults": list(self.faults),
            "noise_multipliers": list(self.noise_multipliers),
            "noise_found": list(self.noise_found),
            "contribution": self.contribution,
            "sampling_rate": self.sampling_rate,
            "steps": self.steps,
            "clip_norm": self.clip_norm,
            "public_patients": self.public_patients,
            "patients": self.patients,
        }


def audit_mechanism(
    generator: Generator,
    mechanism: Mechanism,
    space: Space,
    public_patients: int,
    patients: Records | None,
    canaries: int,
    seed: int,
    folder: Path,
    progress: Progress,
) -> Audit:
    """Train once as for a release, at the same σ, q, T and clip norm, with `canaries` canaries.

    `patients`: images of reference patients, never of members; None for invented ones. `seed` decides initial
    weights, invented images and the canaries' directions; coins, noise and sampling come from the operating
    system. Nothing is left in `folder`, where the training works. Costs about what one training costs.

    Guarantee: nobody is charged because nobody real is in it, and nothing of it is kept but scores
    (test_an_audit_leaves_nothing_behind).
    """
    if canaries < 1:
        raise StageError(f"audit: expected at least one canary, found {canaries}; give 512 or more")
    model = generator.model(space, seed)
    people, said = _people(patients, space, public_patients, seed)
    inputs = min(canaries, MOST_INPUTS, 2 * public_patients) if isinstance(model, Trained) else 0
    images, shown = noise_images(space, inputs, seed), flip_coins(inputs)
    included = flip_coins(canaries)
    watched = CanaryMechanism(mechanism, included, public_patients, seed)
    account = Uncharged()
    with tempfile.TemporaryDirectory(dir=folder, prefix="audit-") as work, watched_optimisers(watched):
        fit(
            cast(Trained, _Watched(model, watched)),
            joined(people, images.take(shown)), people, space, cast(Mechanism, watched), public_patients, seed,
            Path(work), account, progress, watch=False,
        )  # fmt: skip
    stated = spending(account.spent())
    found = [
        CanaryScores(
            "gradient",
            "one more patient whose vector points in a direction of its own, far longer than the clip norm",
            _finite(watched.scores),
            included,
        )
    ]
    if inputs:
        scores = _fit_of(model, images, space, seed)
        found.append(
            CanaryScores("input", "one more patient with a single image of random pixels", scores, shown)
        )
    return Audit(
        claim=accounting.claim(account.spent(), mechanism.delta, mechanism.adjacency, mechanism.protects),
        canaries=tuple(found),
        faults=watched.faults(stated),
        noise_multipliers=tuple(each.tally.noise_multiplier for each in watched.sums),
        noise_found=tuple(each.tally.noise for each in watched.sums),
        contribution=max((each.tally.contribution[0] for each in watched.sums), default=0.0),
        sampling_rate=watched.rate,
        steps=sum(each.tally.released for each in watched.sums),
        clip_norm=mechanism.clip_norm,
        public_patients=public_patients,
        patients=said,
    )


class _Watched:
    """A model in an audit: what it is told is compared with what was released; a one-shot model's fit, which sees
    nothing else, is left out.
    """

    def __init__(self, model: Trained | Summarised, mechanism: CanaryMechanism) -> None:
        self.sample = model.sample
        self.state_dict, self.load_state_dict = model.state_dict, model.load_state_dict
        self._mechanism = mechanism
        if isinstance(model, Summarised):
            self.sums, self.fit = lambda: [self._watched(each) for each in model.sums()], _left_out
        else:
            self.phases = lambda: [
                self._watched(part) if isinstance(part, Sums) else part for part in model.phases()
            ]

    def _watched(self, sums: Sums) -> Sums:
        def take(summary: Summary) -> None:
            for door, total in zip(self._mechanism.sums[-sums.count :], summary.totals, strict=True):
                door.applied([total * self._mechanism.norm])
            sums.take(summary)

        return evolve(sums, take=take)


def _left_out(rng: torch.Generator, progress: Progress) -> None:
    """In place of a fit."""


def _people(patients: Records | None, space: Space, public: int, seed: int) -> tuple[Records, str]:
    if patients is None:
        count = min(public, MOST_INVENTED)
        return invented_patients(space, count, seed), f"{count} invented patients"
    chosen = patients.patients[:public]
    return patients.take(np.isin(patients.patient, chosen)), f"{len(chosen)} reference patients"


def _fit_of(model: Trained | Summarised, images: Records, space: Space, seed: int) -> np.ndarray:
    """Score −loss, averaged over fixed noises."""
    oracle = Oracle(Access.LOSS, space.classes, lambda: model)
    return _finite(-oracle.losses(images, DRAWS, seed).mean(axis=1))


def _finite(scores: np.ndarray) -> np.ndarray:
    """What is not a number, as after a training that broke down, is believed least."""
    most = float(np.finfo(np.float32).max)
    return np.asarray(np.nan_to_num(scores, nan=-most, posinf=most, neginf=-most))
