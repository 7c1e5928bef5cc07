"""The mechanism under audit: it runs as ever, canaries go in by its own door, and every dealing is watched."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from privagams.audit.canaries import FAR, Directions, evidence
from privagams.audit.tally import Tally, strange, unaccounted
from privagams.ledger.events import Spending

if TYPE_CHECKING:
    from dp_accounting import DpEvent

    from privagams.roles import Mechanism, NoisySum

_ROUNDING = 1e-4
"""Share of a sum's norm that float32 may lose on its way to the optimiser."""


class CanaryMechanism:
    """A mechanism (`roles.Mechanism`) with canaries among its patients.

    Everything is the inner mechanism's, but each included canary is one more patient to its door, sampled,
    clipped, summed and noised like everybody. The number of patients stays the public one. What the loop does
    with the door is compared with what it should do; see `faults`.
    """

    def __init__(self, inner: Mechanism, included: np.ndarray, public_patients: int, seed: int) -> None:
        self._inner, self._public = inner, public_patients
        self._included = np.flatnonzero(included)
        self._rng = np.random.default_rng([seed, len(included)])
        self._found: dict[str, None] = {}
        self.scores = np.zeros(len(included))
        self.sums: list[CanarySum] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def sampling_rate(self, patients: int) -> float:
        self._require_public(patients, "the sampling rate")
        return self._inner.sampling_rate(patients)

    def event(self, noise_multiplier: float, steps: int, patients: int) -> DpEvent:
        self._require_public(patients, "the cost")
        return self._inner.event(noise_multiplier, steps, patients)

    def noisy_sum(self, like: Sequence[torch.Tensor], noise_multiplier: float, patients: int) -> NoisySum:
        self._require_public(patients, "the noisy sum")
        inner = self._inner.noisy_sum(like, noise_multiplier, patients)
        directions = Directions(like, len(self.scores), self._rng)
        self.sums.append(CanarySum(inner, self, like, directions, noise_multiplier))
        return self.sums[-1]

    @property
    def included(self) -> np.ndarray:
        """Numbers of the included canaries."""
        return self._included

    @property
    def rate(self) -> float:
        """Probability, as claimed, with which a patient takes part in one sum."""
        return self._inner.sampling_rate(self._public)

    @property
    def norm(self) -> float:
        return self._inner.clip_norm

    @property
    def chunk(self) -> int:
        """Canaries whose vectors are in memory at once."""
        return self._inner.physical_patients

    @property
    def normaliser(self) -> float:
        """What the loop divides a sum by: the number of patients expected in it, q·N."""
        return self.rate * self._public

    def seats(self, count: int) -> np.ndarray:
        """A random order of `count` patients, canaries among them."""
        return self._rng.permutation(count)

    def fault(self, text: str) -> None:
        """Note a dealing that breaks the mechanism's promise; once however often it happens."""
        self._found[text] = None

    def faults(self, stated: Spending) -> tuple[str, ...]:
        """What the training did otherwise than it must; `stated`: all noisy sums that its account holds."""
        tallies = [each.tally for each in self.sums]
        return (*self._found, *unaccounted(tallies, self.rate, stated), *strange(tallies, self.rate))

    def _require_public(self, patients: int, what: str) -> None:
        if patients != self._public:
            self.fault(f"{what} was asked for {patients} patients, where the public number is {self._public}")


class CanarySum:
    """A noisy sum (`roles.NoisySum`) that lets canaries in and reads their traces off what comes out."""

    def __init__(
        self, inner: NoisySum, owner: CanaryMechanism, like: Sequence[torch.Tensor], directions: Directions,
        noise_multiplier: float,
    ) -> None:  # fmt: skip
        self._inner, self._owner, self._directions = inner, owner, directions
        self.parameters = list(like)
        self.optimiser: torch.optim.Optimizer | None = None
        """Whose steps learn from this sum, once it took one."""
        self.tally = Tally(noise_multiplier, len(owner.included), directions.independent)
        self._seats = np.empty(0, dtype=np.int64)
        self._expected = self._rows = 0
        self._by_blocks = False
        self._mine = np.empty(0, dtype=np.int64)
        self._unused: list[torch.Tensor] | None = None

    def sample(self, patients: int) -> np.ndarray:
        """Draw patients and canaries together; tell the positions of patients only."""
        everybody = patients + len(self._owner.included)
        if len(self._seats) != everybody:
            self._seats = self._owner.seats(everybody)
        chosen = np.asarray(self._inner.sample(everybody))
        seated = self._seats[chosen]
        self._mine = seated[seated >= patients] - patients
        self.tally.draw(self._mine, len(chosen), everybody)
        theirs: np.ndarray = seated[seated < patients]
        self._expected, self._rows = len(theirs), 0
        return theirs

    def add(self, vectors: Sequence[torch.Tensor]) -> None:
        self._rows += len(vectors[0])
        self._inner.add(vectors)

    def add_blocks(self, vectors: torch.Tensor, patients: torch.Tensor, blocks: torch.Tensor) -> None:
        self._rows += len(torch.unique(patients))
        self._by_blocks = True
        self._inner.add_blocks(vectors, patients, blocks)

    def release(self) -> list[torch.Tensor]:
        """Add the canaries that were drawn, release, and score every canary, included or not."""
        if self._rows > self._expected:
            self._owner.fault(
                "more vectors were added to a sum than patients were drawn: each is clipped on its own, so that "
                "a patient weighs as much as several"
            )
        canaries = self._owner.included[self._mine]
        for start in range(0, len(canaries), self._owner.chunk):
            some = canaries[start : start + self._owner.chunk]
            self._add_canaries(self._directions.vectors(some, FAR * self._owner.norm), some)
        total = self._inner.release()
        along = self._directions.along(total) / self._owner.norm
        self.tally.release(along, canaries)
        self._owner.scores += evidence(along, self.tally.noise_multiplier, self._owner.rate)
        self._unused, self._mine = [t.clone() for t in total], self._mine[:0]
        return total

    def _add_canaries(self, vectors: Sequence[torch.Tensor], numbers: np.ndarray) -> None:
        """Let canaries in by the way that patients came."""
        if not self._by_blocks:
            self._inner.add(vectors)
            return
        (rows,) = vectors
        many, blocks = rows.shape[:2]
        # Below 0, where no patient's number is.
        owners = torch.from_numpy(-1 - np.asarray(numbers)).to(rows.device).repeat_interleave(blocks)
        places = torch.arange(blocks, device=rows.device).repeat(many)
        self._inner.add_blocks(rows.flatten(0, 1), owners, places)

    def applied(self, gradients: Sequence[torch.Tensor | None], normaliser: float = 1.0) -> None:
        """Compare what is learnt from with what was released: it must be the sum over a public constant."""
        expected, self._unused = self._unused, None
        if expected is None:
            self._owner.fault("a step was taken on something else than a newly released sum")
            return
        gap = norm = 0.0
        for found, sum_ in zip(gradients, expected, strict=True):
            part = -sum_ if found is None else found.detach() * normaliser - sum_
            gap += float(part.double().square().sum())
            norm += float(sum_.double().square().sum())
        if not math.sqrt(gap) <= _ROUNDING * math.sqrt(norm):
            self._owner.fault(
                "what was learnt from is not the released sum over the public number of patients expected in it"
            )


@contextmanager
def watched_optimisers(mechanism: CanaryMechanism) -> Iterator[None]:
    """Show each step's gradients, as the optimiser gets them, to the sum whose parameters they move."""
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    def before_step(optimiser: torch.optim.Optimizer, *_: object) -> None:
        moved = optimiser.param_groups[0]["params"][0]
        # A later phase may move the same parameters: by a sum of its own, or by reference data and by none.
        each = next((each for each in reversed(mechanism.sums) if each.parameters[0] is moved), None)
        if each is not None and each.optimiser in (None, optimiser):
            each.optimiser = optimiser
            each.applied([p.grad for p in each.parameters], mechanism.normaliser)

    handle = register_optimizer_step_pre_hook(before_step)
    try:
        yield
    finally:
        handle.remove()
