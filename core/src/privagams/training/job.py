"""One training as its parts see it: what it reads, where it writes, how it starts, resumes and ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from attrs import evolve, frozen
from dp_accounting import DpEvent

from privagams.errors import BudgetError
from privagams.ledger.chain import Head
from privagams.records import Records
from privagams.roles import Mechanism, Model, Phase, Progress, Space, Summarised, Sums, Trained
from privagams.training.checkpoint import (
    CHECKPOINT,
    WEIGHTS,
    Checkpoint,
    load_checkpoint,
    require_same_settings,
    save_checkpoint,
    save_tensors,
)
from privagams.training.noise_plan import asks_members, learning_of

LEARNT_FROM = "learnt from"
"""In a weights file: "members" or "reference". What learnt from members may not pass as public elsewhere."""
_OF_A_PHASE = ("name", "steps", "learning_rate", "batch", "ema", "weight_decay", "data", "share")
_OF_SUMS = ("name", "share", "count", "by_class")


class Account(Protocol):
    """One training's view of the ledger (`privagams.ledger.ledger`)."""

    @property
    def head(self) -> Head:
        """How far the ledger has grown."""
        ...

    def spent(self) -> Sequence[DpEvent]:
        """Everything reserved so far, closed or not."""
        ...

    def plan(self, event: DpEvent) -> None:
        """Raise `BudgetError` unless the data set's budget allows all that is still to come."""
        ...

    def reserve(self, event: DpEvent, steps: int) -> Any:
        """Write down that `event` is about to be spent; on disk when this returns. Gives a block."""
        ...

    def close(self, block: Any, checkpoint: str) -> Any:
        """Note that the block's checkpoint, of this SHA-256, is on disk."""
        ...

    def check(self, head: Head, where: Path | None = None) -> None:
        """Raise `LedgerError` unless the ledger extends `head`, which the file at `where` holds."""
        ...


@frozen
class FitResult:
    """What a training left: a weights file in its folder, and what it spent."""

    weights: str
    steps: int
    noise_multiplier: float | None
    """Of the last noisy block; None where no noise was needed."""
    events: tuple[DpEvent, ...] = ()
    """All that the account holds for this training, blocks that a crash cut short included."""
    notes: tuple[str, ...] = ()
    """What a reader of the report must know, such as an interruption that cost steps."""


@frozen(eq=False)
class Job:
    """One training: who learns from whom, under which mechanism, into which folder."""

    members: Records
    reference: Records | None
    space: Space
    mechanism: Mechanism | None
    public_patients: int
    seed: int
    folder: Path
    account: Account | None
    progress: Progress
    block_steps: int | None
    device: str

    def resume(self, parts: Sequence[Phase | Sums]) -> Checkpoint:
        """Return where to go on: the folder's checkpoint, once the ledger confirmed it, or a start."""
        settings = _settings(self, parts)
        found = load_checkpoint(self.folder)
        if found is None:
            return Checkpoint(settings, phase=0, step=0)
        require_same_settings(found, settings)
        if self.account is not None and found.head:
            self.account.check(Head.parse(found.head), self.folder / CHECKPOINT)
        return found

    def announce(self, event: DpEvent) -> None:
        """Have the data set's budget refuse now what it would refuse later."""
        if self.account is not None:
            self.account.plan(event)

    def spent(self) -> list[DpEvent]:
        return [] if self.account is None else list(self.account.spent())

    def noisy_block(self, event: DpEvent, steps: int, run: Callable[[], Checkpoint]) -> Checkpoint:
        """Reserve, run, save, close, in this order; the ledger is never behind what has been computed.

        Guarantee: a block that is cut short anywhere stays reserved and counts in full
        (test_total_epsilon_keeps_to_the_target_after_a_crash_at_every_point).
        """
        assert self.account is not None
        block = self.account.reserve(event, steps)
        head = str(self.account.head)
        after = evolve(run(), head=head)
        self.account.close(block, save_checkpoint(self.folder, after))
        return after

    def save(self, checkpoint: Checkpoint) -> Checkpoint:
        save_checkpoint(self.folder, checkpoint)
        return checkpoint

    def finish(self, model: Trained | Summarised, last: Checkpoint) -> FitResult:
        """Write the weights, then mark the folder as done, so that nothing is trained or spent again."""
        members = any(asks_members(p) for p in learning_of(model))
        facts = {LEARNT_FROM: "members" if members else "reference"}
        save_tensors(self.folder / WEIGHTS, model.state_dict(), facts)
        return self.result(self.save(evolve(last, finished=True, tensors={})))

    def result(self, last: Checkpoint) -> FitResult:
        return FitResult(WEIGHTS, last.done, last.noise_multiplier, tuple(self.spent()), last.notes)


def restore_model(model: Model, checkpoint: Checkpoint) -> None:
    state = {k.removeprefix("model/"): t for k, t in checkpoint.tensors.items() if k.startswith("model/")}
    model.load_state_dict(state)


def model_tensors(model: Model) -> dict[str, torch.Tensor]:
    return {f"model/{name}": tensor for name, tensor in model.state_dict().items()}


def nothing_left(mechanism: Mechanism) -> BudgetError:
    return BudgetError(
        f"training: expected budget for at least one block within ε = {mechanism.epsilon:g}, found all of it "
        "reserved by earlier attempts of which no checkpoint is left. What was reserved counts for ever: to train "
        "again, give the release another seed, as its own entry in the ledger, or a larger epsilon"
    )


def _settings(job: Job, parts: Sequence[Phase | Sums]) -> dict[str, Any]:
    """What a checkpoint must agree in; not `physical_patients` and `block_steps`, which change no result."""
    settings: dict[str, Any] = {
        "size": job.space.size,
        "channels": job.space.channels,
        "classes": list(job.space.classes),
        "seed": job.seed,
        "public patients": job.public_patients,
        "mechanism": None if job.mechanism is None else type(job.mechanism).__name__,
    }
    if job.mechanism is not None:
        for name in ("epsilon", "delta", "clip_norm", "tiles_per_step", "noise_draws"):
            settings[name] = getattr(job.mechanism, name)
        settings["sampling rate"] = job.mechanism.sampling_rate(job.public_patients)
    for number, part in enumerate(parts):
        names = _OF_SUMS if isinstance(part, Sums) else _OF_A_PHASE
        for name in names:
            settings[f"phases[{number}].{name}"] = getattr(part, name)
        if isinstance(part, Phase):
            shapes = {n: list(p.shape) for n, p in part.module.named_parameters() if part.trains(n)}
            settings[f"phases[{number}].parameters"] = shapes
    return settings
