"""The only training loop: phases, blocks, checkpoints, and the ledger before every noisy block."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import torch
from attrs import evolve

from privagams.errors import PluginError, StageError
from privagams.records import Records
from privagams.roles import Mechanism, Phase, Progress, Space, Summarised, Sums, Trained
from privagams.training.asking import Asking, tell
from privagams.training.checkpoint import Checkpoint
from privagams.training.feed import Feed, GivenFeed
from privagams.training.job import Account, FitResult, Job, model_tensors, nothing_left, restore_model
from privagams.training.noise_plan import (
    Dose,
    Stretch,
    asks_members,
    interruption_notes,
    learning_of,
    plan_noise,
    planned_event,
    steps_of,
)
from privagams.training.phase_run import PhaseRun, PlainSteps, PrivateSteps, Steps
from privagams.training.ranks import Group
from privagams.training.watch import Watch

__all__ = ["BLOCK_STEPS", "Account", "FitResult", "fit"]

Helpers = Callable[[int], AbstractContextManager[Group]]
"""Calls other processes to the phase of this number."""

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
    watch: bool = True,
    helpers: Helpers | None = None,
) -> FitResult:
    """Train `model` on `members`, or go on where a killed training in `folder` stood; write the weights.

    `public_patients` is the number of patients that `[public]` states. `seed` decides everything where there
    is no mechanism, and nothing that touches members where there is one; then `account` is needed.
    `watch`: whether to look now and then how it goes, on reference patients and by drawing images.
    `helpers`: how to call other processes to a phase with a mechanism; they `follow`.
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
        return _Learning(model, job, watch, helpers).fit()


class _Learning:
    """A model's stretches, phases and sums, one after the other, in blocks that each end in a checkpoint."""

    def __init__(
        self, model: Trained | Summarised, job: Job, watch: bool, helpers: Helpers | None = None
    ) -> None:
        self._model, self._job, self._helpers = model, job, helpers
        self._parts = learning_of(model)
        self._feeds: dict[str, Feed] = {}
        _require_sound(self._parts, job)
        self._watch = (
            None
            if isinstance(model, Summarised) or not watch
            else Watch(model, job.reference, job.space, job.seed, job.folder, job.device)
        )
        self._longest = job.block_steps or max(1, min(BLOCK_STEPS, self._total // 20))

    def fit(self) -> FitResult:
        at = self._job.resume(self._parts)
        if at.finished:
            return self._job.result(at)
        for part in self._parts:
            if isinstance(part, Phase):
                part.module.to(self._job.device)
        self._recall(at)
        if self._watch is not None:
            self._watch.resume(at.done)
        at, doses = self._dosed(at)
        for number in range(at.phase, len(self._parts)):
            part, dose = self._parts[number], doses[number]
            at = self._ask(part, at, dose) if isinstance(part, Sums) else self._train(part, number, at, dose)
        if isinstance(self._model, Summarised):
            rng = torch.Generator().manual_seed(self._job.seed)
            self._model.fit(rng, self._job.progress)
        else:
            self._job.progress(self._total, self._total)
        return self._job.finish(self._model, at)

    def _recall(self, at: Checkpoint) -> None:
        """Tell the model again what it was told, then give it back its weights."""
        for part in self._parts[: at.phase]:
            if isinstance(part, Sums):
                tell(part, self._job, at.tensors[_totals(part)], float(at.tensors[_noise(part)]))
        if at.tensors:
            restore_model(self._model, at)

    def _ask(self, sums: Sums, at: Checkpoint, dose: Dose) -> Checkpoint:
        """Ask one stretch of sums. All are asked or none: half of them would be another question."""
        asking = Asking(sums, self._feed("members"), self._job)
        mechanism, multiplier = self._job.mechanism, dose.noise_multiplier
        after = evolve(at, phase=at.phase + 1, step=0, done=at.done + sums.count)

        def keep(totals: torch.Tensor) -> Checkpoint:
            tell(sums, self._job, totals, multiplier)
            told = {_totals(sums): totals, _noise(sums): torch.tensor(multiplier, dtype=torch.float64)}
            return evolve(after, tensors=told | self._told(at) | model_tensors(self._model))

        if mechanism is None:
            return self._job.save(keep(asking.exact()))
        if dose.steps < sums.count:
            raise nothing_left(mechanism)
        # The vectors are long in the making, the release is not: a crash between ledger and file is unlikely.
        doors = asking.collect(multiplier)
        event = mechanism.event(multiplier, sums.count, self._job.public_patients)
        after = evolve(after, noise_multiplier=multiplier)
        return self._job.noisy_block(event, sums.count, lambda: keep(asking.release(doors)))

    def _train(self, phase: Phase, number: int, at: Checkpoint, dose: Dose) -> Checkpoint:
        """Run what is left of one phase, block by block."""
        run = PhaseRun(phase)
        if at.step > 0:
            run.restore(at.tensors, at.step)
        limit = at.step + dose.steps
        if at.step == limit:
            run.finish()
            return evolve(at, phase=number + 1, step=0, tensors=model_tensors(self._model) | self._told(at))
        private = self._job.mechanism is not None and asks_members(phase)
        multiplier = dose.noise_multiplier if private else None
        with self._helped(number, private) as group:
            steps = self._steps(phase, number, run, multiplier, group)
            while at.phase == number:
                count = min(self._longest, limit - run.step)
                at = self._block(run, steps, at, count, limit, multiplier)
                self._look(run, phase, at.done, number)
        return at

    def _helped(self, number: int, private: bool) -> AbstractContextManager[Group | None]:
        """Others help where gradients of members are taken; not after sums, of which they were not told."""
        told = any(isinstance(part, Sums) for part in self._parts[:number])
        if self._helpers is None or not private or told:
            return nullcontext()
        return self._helpers(number)

    def _look(self, run: PhaseRun, phase: Phase, done: int, number: int) -> None:
        if self._watch is None:
            return
        with run.averaged():
            loss = self._watch.look(phase, done, self._total)
        # A model that has learnt from members without protection tells of them, be it through others' images.
        bare = self._job.mechanism is None and any(asks_members(part) for part in self._parts[: number + 1])
        if loss is not None and not bare:
            self._job.progress(done, self._total, f"loss on reference images {loss:.4g}")

    def _block(
        self, run: PhaseRun, steps: Steps, at: Checkpoint, count: int, limit: int, multiplier: float | None
    ) -> Checkpoint:
        def work() -> Checkpoint:
            with _device_kept():
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
        told = self._told(at)
        if last:
            run.finish()
            phase, step, tensors = at.phase + 1, 0, model_tensors(self._model) | told
        else:
            phase, step, tensors = at.phase, run.step, model_tensors(self._model) | run.tensors() | told
        return evolve(at, phase=phase, step=step, done=at.done + count, tensors=tensors)

    def _told(self, at: Checkpoint) -> dict[str, torch.Tensor]:
        """What earlier sums told; kept, since a resumed model must be told again."""
        names = {name(p) for p in self._parts if isinstance(p, Sums) for name in (_totals, _noise)}
        return {name: tensor for name, tensor in at.tensors.items() if name in names}

    def _steps(
        self, phase: Phase, number: int, run: PhaseRun, multiplier: float | None, group: Group | None
    ) -> Steps:
        job = self._job
        feed = self._feed(phase.data) if phase.images is None else GivenFeed(phase.images(), job.device)
        if multiplier is None:
            return PlainSteps(phase, run.parameters.values(), feed, [job.seed, number], job.device)
        assert job.mechanism is not None
        assert isinstance(feed, Feed)
        noisy_sum = job.mechanism.noisy_sum(list(run.parameters.values()), multiplier, job.public_patients)
        return PrivateSteps(
            phase,
            list(run.parameters),
            feed,
            job.mechanism,
            noisy_sum,
            job.public_patients,
            job.device,
            group,
        )

    def _feed(self, data: str) -> Feed:
        if data not in self._feeds:
            records = self._job.members if data == "members" else self._job.reference
            assert records is not None
            self._feeds[data] = Feed(records, self._job.space.classes, self._job.device)
        return self._feeds[data]

    def _dosed(self, at: Checkpoint) -> tuple[Checkpoint, list[Dose]]:
        """What is left of each stretch, noise 0 where it sees no member; the checkpoint notes what changed."""
        whole = [steps_of(part) for part in self._parts]
        passed = [n if i < at.phase else at.step if i == at.phase else 0 for i, n in enumerate(whole)]
        doses = [Dose(n - gone, 0.0, 0.0) for n, gone in zip(whole, passed, strict=True)]
        mechanism, noisy = self._job.mechanism, [n for n, p in enumerate(self._parts) if asks_members(p)]
        if mechanism is None or not noisy:
            return at, doses
        stretches = [Stretch(whole[n], doses[n].steps, self._parts[n].share) for n in noisy]
        patients, before = self._job.public_patients, at.planned_noise
        planned = plan_noise(mechanism, stretches, patients, self._job.spent(), before)
        if not any(passed[n] or dose.steps for n, dose in zip(noisy, planned, strict=True)):
            raise nothing_left(mechanism)
        for n, dose in zip(noisy, planned, strict=True):
            doses[n] = dose
        if any(dose.steps for dose in planned):
            self._job.announce(planned_event(mechanism, planned, patients))
        notes = at.notes + interruption_notes(planned, sum(s.left for s in stretches))
        return evolve(at, notes=notes, planned_noise=tuple(dose.planned for dose in planned)), doses

    @property
    def _total(self) -> int:
        return sum(steps_of(part) for part in self._parts)


def _totals(sums: Sums) -> str:
    return f"told/{sums.name}"


def _noise(sums: Sums) -> str:
    return f"noise of/{sums.name}"


def _require_sound(parts: Sequence[Phase | Sums], job: Job) -> None:
    """Check what a generator states about its stretches before anything is spent on them."""
    if not parts or any(steps_of(part) < 1 for part in parts):
        raise PluginError("generator: expected phases of at least one step each; check its `steps`")
    asked = [part.name for part in parts if isinstance(part, Sums)]
    if len(set(asked)) < len(asked):
        raise PluginError(f"generator: expected sums of different names, found {asked}")
    phases = [part for part in parts if isinstance(part, Phase)]
    if any((phase.data == "released") != (phase.images is not None) for phase in phases):
        raise PluginError(
            'generator: expected `images` for phases on "released" data, and for no other; check its phases'
        )
    if job.reference is None and any(phase.data == "reference" for phase in phases):
        raise StageError(
            "generator: expected reference data for a phase that trains on it, found none; set [split] reference, "
            "such as 0.2, or choose a generator that needs none"
        )
    shares = [part.share for part in parts if asks_members(part)]
    if job.mechanism is not None and shares and (min(shares) <= 0 or sum(shares) > 1 + 1e-9):
        raise PluginError(
            f"generator: expected shares of the budget above 0 that add up to at most 1, found {shares}"
        )


@contextmanager
def _device_kept() -> Iterator[None]:
    """Say what to do when an accelerator is lost on the way; memory that runs out has words of its own."""
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if not isinstance(error, torch.AcceleratorError) and not re.search(
            r"CUDA error|HIP error|NCCL", text
        ):
            raise
        raise StageError(
            f"training: expected the device to last, and it was lost ({text.splitlines()[0]}); run the same command "
            "again: it goes on from the last checkpoint, and what the ledger holds for the block that was lost stays "
            "spent"
        ) from error


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
