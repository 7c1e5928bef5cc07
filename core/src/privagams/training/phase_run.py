"""What one step of a phase is, with a mechanism and without, and what a phase carries from step to step."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import torch

from privagams.errors import PluginError, StageError
from privagams.roles import Mechanism, Noise, NoisySum, Phase, PooledSum
from privagams.training.feed import Feed, GivenFeed
from privagams.training.gradients import (
    Gradients,
    PatientGradients,
    checked_losses,
    memory_hint,
    refuse_mixing_layers,
    trained_parameters,
)
from privagams.training.ranks import Group

_MOMENTS = ("exp_avg", "exp_avg_sq")


class Steps(Protocol):
    """Where a step's gradients come from."""

    def gradients(self, step: int) -> Gradients:
        """One tensor for each trained parameter, in order."""
        ...


class PhaseRun:
    """A phase's trained parameters with AdamW and the moving average; sees gradients, never records.

    The average's decay at step t is min(ema, (1 + t) / (10 + t)), so that the first weights fade from
    short runs too.
    """

    def __init__(self, phase: Phase) -> None:
        self.parameters = trained_parameters(phase.module, phase.trains)
        if not self.parameters:
            raise PluginError(
                f"phase {phase.name!r}: expected parameters to train, found none; check `trains`"
            )
        self.step = 0
        self._decay = phase.ema
        self._averages = {n: p.detach().clone() for n, p in self.parameters.items()} if phase.ema else {}
        self._optimizer = torch.optim.AdamW(
            self.parameters.values(), lr=phase.learning_rate, weight_decay=phase.weight_decay
        )

    def apply(self, gradients: Gradients) -> None:
        """Take one optimiser step and move the average."""
        for parameter, gradient in zip(self.parameters.values(), gradients, strict=True):
            parameter.grad = gradient
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.step += 1
        if self._averages:
            decay = min(self._decay, (1 + self.step) / (10 + self.step))
            with torch.no_grad():
                torch._foreach_lerp_(
                    list(self._averages.values()), [p.data for p in self.parameters.values()], 1 - decay
                )

    def finish(self) -> None:
        """End the phase: where there is a moving average, it becomes the parameters."""
        with torch.no_grad():
            for name, average in self._averages.items():
                self.parameters[name].copy_(average)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Let the module be what it would be if the phase ended here."""
        before = {name: self.parameters[name].detach().clone() for name in self._averages}
        self.finish()
        try:
            yield
        finally:
            with torch.no_grad():
                for name, value in before.items():
                    self.parameters[name].copy_(value)

    def tensors(self) -> dict[str, torch.Tensor]:
        """What a checkpoint needs besides the model's weights."""
        kept = {f"ema/{name}": average for name, average in self._averages.items()}
        for name, parameter in self.parameters.items():
            state = self._optimizer.state[parameter]
            kept |= {f"{moment}/{name}": state[moment] for moment in _MOMENTS}
        return kept

    def restore(self, tensors: Mapping[str, torch.Tensor], step: int) -> None:
        """Go on after `step` steps; the parameters themselves are restored with the model."""
        self.step = step
        for name, average in self._averages.items():
            average.copy_(tensors[f"ema/{name}"])
        for name, parameter in self.parameters.items():
            moments = {m: tensors[f"{m}/{name}"].to(parameter.device) for m in _MOMENTS}
            self._optimizer.state[parameter] = {"step": torch.tensor(float(step)), **moments}


class PlainSteps:
    """Ordinary minibatches, without privacy: for yardsticks and for reference data.

    All randomness of a step is a function of (seed, phase, step), so that a resumed training equals an
    uninterrupted one bit for bit.
    """

    def __init__(
        self, phase: Phase, parameters: Iterable[torch.Tensor], feed: Feed | GivenFeed, seed: Sequence[int],
        device: str,
    ) -> None:  # fmt: skip
        if len(feed) == 0:
            raise StageError(
                f"phase {phase.name!r}: expected {phase.data} to train on, found none with a label in "
                "[public] classes; check the split and the classes"
            )
        self._phase, self._parameters, self._feed = phase, list(parameters), feed
        self._seed, self._device = list(seed), device
        self._epoch, self._order = -1, np.empty(0, dtype=np.int64)

    def gradients(self, step: int) -> Gradients:
        seed = np.random.SeedSequence([*self._seed, step]).generate_state(1, np.uint64)[0]
        rng = torch.Generator().manual_seed(int(seed >> np.uint64(1)))
        with memory_hint("the generator's `batch`"):
            batch = self._feed.batch(self._positions(step))
            noise = _moved(self._phase.draw(self._phase.batch, rng), self._device)
            losses = checked_losses(self._phase.module(batch, noise), batch)
            found = torch.autograd.grad(losses.mean(), self._parameters, materialize_grads=True)
        return list(found)

    def _positions(self, step: int) -> np.ndarray:
        """Records `step · batch ...` of an endless row of shuffled epochs."""
        wanted = np.arange(step * self._phase.batch, (step + 1) * self._phase.batch)
        epochs, places = np.divmod(wanted, len(self._feed))
        return np.concatenate([self._shuffled(int(e))[places[epochs == e]] for e in np.unique(epochs)])

    def _shuffled(self, epoch: int) -> np.ndarray:
        if epoch != self._epoch:
            # A fourth word keeps these streams apart from those of the steps.
            rng = np.random.default_rng([*self._seed, epoch, 1])
            self._epoch, self._order = epoch, rng.permutation(len(self._feed))
        return self._order


class PrivateSteps:
    """Steps that see members only through a `NoisySum`.

    Each sampled patient gives one gradient, the mean over `tiles_per_step` records drawn with replacement and
    `noise_draws` draws for each; the noisy sum is divided by q·N with N from `[public]`.

    Guarantee: what leaves `gradients` is the noisy sum over a public constant, whatever the number of
    patients drawn; nothing here keeps or tells batch sizes or losses
    (test_an_empty_batch_still_steps_with_noise,
    test_nothing_that_is_written_or_told_depends_on_the_batches,
    test_a_patient_with_many_tiles_gets_as_many_draws_as_one_with_one).
    """

    def __init__(
        self,
        phase: Phase,
        parameters: Sequence[str],
        feed: Feed,
        mechanism: Mechanism,
        noisy_sum: NoisySum,
        public_patients: int,
        device: str,
        group: Group | None = None,
    ) -> None:
        refuse_mixing_layers(phase.module, phase.name)
        self._phase, self._feed, self._device = phase, feed, device
        self._mechanism, self._sum = mechanism, noisy_sum
        self._patients = feed.by_patient()
        self._group, self._shared = group, list(trained_parameters(phase.module, phase.trains).values())
        if group is not None:
            if not isinstance(noisy_sum, PooledSum):
                raise PluginError(
                    f"mechanism {type(mechanism).__name__}: expected sums that several processes can make together "
                    "(`pool`), found none; train in one process"
                )
            group.agree(phase.module, len(self._patients))
        self._patient_gradients = PatientGradients(phase.module, parameters)
        self._normaliser = mechanism.sampling_rate(public_patients) * public_patients
        self._choice = np.random.default_rng()
        self._rng = torch.Generator().manual_seed(int.from_bytes(os.urandom(8), "little") >> 1)

    def gradients(self, step: int) -> Gradients:
        chosen = self._sum.sample(len(self._patients))
        if self._group is not None:
            chosen = self._group.hand_out(chosen, self._shared)
        with memory_hint("the mechanism's `physical_patients`"):
            self._add(chosen)
            return [total.div_(self._normaliser) for total in self._sum.release()]

    def help(self) -> bool:
        """Compute this process's share of one step that the first process takes; False when no more come."""
        assert self._group is not None
        share = self._group.take_on(self._shared)
        if share is None:
            return False
        with memory_hint("the mechanism's `physical_patients`"):
            self._add(share)
        return True

    def _add(self, chosen: np.ndarray) -> None:
        for some in _chunks(chosen, self._mechanism.physical_patients):
            self._sum.add(self._of(some))
        if self._group is not None:
            assert isinstance(self._sum, PooledSum)
            self._sum.pool(self._group.add_up)

    def _of(self, patients: np.ndarray) -> Gradients:
        tiles, draws = self._mechanism.tiles_per_step, self._mechanism.noise_draws
        positions = np.concatenate([self._choice.choice(self._patients[i], tiles) for i in patients])
        batch = {k: t.repeat_interleave(draws, 0) for k, t in self._feed.batch(positions).items()}
        noise = _moved(self._phase.draw(len(patients) * tiles * draws, self._rng), self._device)
        return self._patient_gradients(batch, noise, len(patients))


def _chunks(positions: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Yield runs of at most `size`; nothing at all for an empty batch, which networks cannot digest."""
    for start in range(0, len(positions), size):
        yield positions[start : start + size]


def _moved(noise: Noise, device: str) -> Noise:
    return {name: tensor.to(device) for name, tensor in noise.items()}
