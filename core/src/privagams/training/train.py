"""The only training loop: phases, blocks, checkpoints, and the ledger before every noisy block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from attrs import evolve

from privagams.errors import PluginError, StageError
from privagams.records import Records
from privagams.roles import Mechanism, Phase, Progress, Space, Summarised, Trained
from privagams.training.checkpoint import Checkpoint
from privagams.training.feed import Feed
from privagams.training.job import Account, FitResult, Job, model_tensors, nothing_left, restore_model
from privagams.training.noise_plan import Dose, Stretch, interruption_notes, plan_noise, planned_event
from privagams.training.phase_run import PhaseRun, PlainSteps, PrivateSteps, Steps
from privagams.training.summarise import fit_summary

__all__ = ["BLOCK_STEPS", "Account", "FitResult", "fit"]

BLOCK_STEPS = 50
"""Most steps between checkpoints, and at most a twentieth of all: a crash loses, and pays for, no more."""


def fit(
    model: Trained | Summarised,
    members: Records,
    reference: Records | None,
    space: Space,
    mechanism: Mechanism | None,
    public_patients: int,
    seed: int,
    folder: Path,
    account: Account | None,
    progress: Progress,
    *,
    block_steps: int | None = None,
    device: str = "cpu",
    threads: int | None = None,
) -> FitResult:
    """Train `model` on `members`, or go on where a killed training in `folder` stood; write the weights.

    `public_patients` is the number of patients that `[public]` states. `seed` decides everything where there
    is no mechanism, and nothing that touches members where there is one; then `account` is needed.
    Raises `StageError` for a checkpoint of other settings and for networks that mix patients, `LedgerError`
    for a ledger older than the checkpoint, `BudgetError` when nothing can be trained within the target.

    Guarantee: noisy steps start only after their cost is in the ledger, and everything in the ledger counts
    (test_total_epsilon_keeps_to_the_target_after_a_crash_at_every_point).
    """
    kind = "summary" if isinstance(model, Summarised) else "gradients"
    if mechanism is not None and mechanism.kind != kind:
        raise PluginError(
            f"mechanism: expected one that protects {kind!r}, as this generator learns, found one for "
            f"{mechanism.kind!r}; `privagams plugins` lists what fits"
        )
    if mechanism is not None and account is None:
        raise ValueError("a mechanism needs an account: privacy is written down before it is spent")
    job = Job(
        members, reference, space, mechanism, public_patients, seed, folder, account, progress,
        block_steps, device,
    )  # fmt: skip
    with _threads(threads):
        return fit_summary(model, job) if isinstance(model, Summarised) else _Phases(model, job).fit()


class _Phases:
    """A model's phases, one after the other, in blocks that each end in a checkpoint."""

    def __init__(self, model: Trained, job: Job) -> None:
        self._model, self._job = model, job
        self._phases = list(model.phases())
        self._feeds: dict[str, Feed] = {}
        _require_sound(self._phases, job)
        self._longest = job.block_steps or max(1, min(BLOCK_STEPS, self._total // 20))

    def fit(self) -> FitResult:
        at = self._job.resume(self._phases)
        if at.finished:
            return self._job.result(at)
        for phase in self._phases:
            phase.module.to(self._job.device)
        if at.tensors:
            restore_model(self._model, at)
        at, doses = self._dosed(at)
        for number in range(at.phase, len(self._phases)):
            at = self._train(number, at, doses[number])
        self._job.progress(self._total, self._total)
        return self._job.finish(self._model, at)

    def _train(self, number: int, at: Checkpoint, dose: Dose) -> Checkpoint:
        """Run what is left of one phase, block by block."""
        run = PhaseRun(self._phases[number])
        if at.step > 0:
            run.restore(at.tensors, at.step)
        limit = at.step + dose.steps
        if at.step == limit:
            run.finish()
            return evolve(at, phase=number + 1, step=0, tensors=model_tensors(self._model))
        private = self._job.mechanism is not None and _private(self._phases[number])
        multiplier = dose.noise_multiplier if private else None
        steps = self._steps(number, run, multiplier)
        while at.phase == number:
            count = min(self._longest, limit - run.step)
            at = self._block(run, steps, at, count, limit, multiplier)
        return at

    def _block(
        self, run: PhaseRun, steps: Steps, at: Checkpoint, count: int, limit: int, multiplier: float | None
    ) -> Checkpoint:
        def work() -> Checkpoint:
            for done in range(at.done + 1, at.done + count + 1):
                run.apply(steps.gradients(run.step))
                # How long a private step takes tells how many patients were in it: report whole blocks only.
                if multiplier is None or done == at.done + count:
                    self._job.progress(done, self._total)
            return self._after(run, at, count, run.step == limit)

        if multiplier is None:
            return self._job.save(work())
        mechanism = self._job.mechanism
        assert mechanism is not None
        event = mechanism.event(multiplier, count, self._job.public_patients)
        return self._job.noisy_block(event, count, lambda: evolve(work(), noise_multiplier=multiplier))

    def _after(self, run: PhaseRun, at: Checkpoint, count: int, last: bool) -> Checkpoint:
        if last:
            run.finish()
            phase, step, tensors = at.phase + 1, 0, model_tensors(self._model)
        else:
            phase, step, tensors = at.phase, run.step, model_tensors(self._model) | run.tensors()
        return evolve(at, phase=phase, step=step, done=at.done + count, tensors=tensors)

    def _steps(self, number: int, run: PhaseRun, multiplier: float | None) -> Steps:
        phase, job = self._phases[number], self._job
        feed = self._feed(phase)
        if multiplier is None:
            return PlainSteps(phase, run.parameters.values(), feed, [job.seed, number], job.device)
        assert job.mechanism is not None
        noisy_sum = job.mechanism.noisy_sum(list(run.parameters.values()), multiplier, job.public_patients)
        return PrivateSteps(
            phase, list(run.parameters), feed, job.mechanism, noisy_sum, job.public_patients, job.device
        )

    def _feed(self, phase: Phase) -> Feed:
        if phase.data not in self._feeds:
            records = self._job.members if _private(phase) else self._job.reference
            assert records is not None
            self._feeds[phase.data] = Feed(records, self._job.space.classes, self._job.device)
        return self._feeds[phase.data]

    def _dosed(self, at: Checkpoint) -> tuple[Checkpoint, list[Dose]]:
        """What is left of each phase, noise 0 where it sees no member; the checkpoint notes what changed."""
        passed = [
            p.steps if n < at.phase else at.step if n == at.phase else 0 for n, p in enumerate(self._phases)
        ]
        doses = [Dose(p.steps - n, 0.0, 0.0) for p, n in zip(self._phases, passed, strict=True)]
        mechanism, noisy = self._job.mechanism, [n for n, p in enumerate(self._phases) if _private(p)]
        if mechanism is None or not noisy:
            return at, doses
        stretches = [Stretch(self._phases[n].steps, doses[n].steps, self._phases[n].share) for n in noisy]
        patients, before = self._job.public_patients, at.planned_noise
        planned = plan_noise(mechanism, stretches, patients, self._job.spent(), before)
        if not any(passed[n] or dose.steps for n, dose in zip(noisy, planned, strict=True)):
            raise nothing_left(mechanism)
        for n, dose in zip(noisy, planned, strict=True):
            doses[n] = dose
        self._job.announce(planned_event(mechanism, planned, patients))
        notes = at.notes + interruption_notes(planned, sum(s.left for s in stretches))
        return evolve(at, notes=notes, planned_noise=tuple(dose.planned for dose in planned)), doses

    @property
    def _total(self) -> int:
        return sum(phase.steps for phase in self._phases)


def _private(phase: Phase) -> bool:
    return phase.data == "members"


def _require_sound(phases: Sequence[Phase], job: Job) -> None:
    """Check what a generator states about its phases before anything is spent on them."""
    if not phases or any(phase.steps < 1 for phase in phases):
        raise PluginError("generator: expected phases of at least one step each; check its `steps`")
    if job.reference is None and not all(_private(phase) for phase in phases):
        raise StageError(
            "generator: expected reference data for a phase that trains on it, found none; add [reference], "
            "set `reference` in [split], or choose a generator that needs none"
        )
    shares = [phase.share for phase in phases if _private(phase)]
    if job.mechanism is not None and shares and (min(shares) <= 0 or sum(shares) > 1 + 1e-9):
        raise PluginError(
            f"generator: expected shares of the budget above 0 that add up to at most 1, found {shares}"
        )


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
