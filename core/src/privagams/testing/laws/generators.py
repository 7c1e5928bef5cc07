"""Laws of generators: losses that treat each record alone, and models that are all in their state."""
# ruff: noqa: PT018 - the halves of an assertion share one message

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save

from privagams.roles import Batch, Phase, Summarised, Trained
from privagams.testing.models import (
    LABELLED,
    RECORDS,
    UNLABELLED,
    asked,
    asked_of,
    batch,
    losses,
    phases_of,
    quiet,
    replaced,
    rng,
)
from privagams.testing.subject import Bench, Subject
from privagams.training.gradients import PatientGradients, trained_parameters

_SMALL = 1e-4


def check_training_is_as_declared(subject: Subject, bench: Bench) -> None:
    """The component's `training` names what its model offers: "gradients" for `phases`, "summary" for
    `sums`.

    If this fails, set `training` in the Component: pairs of generator and mechanism are checked by it.
    """
    model = subject.build().model(LABELLED, 3)
    declared = subject.component.training
    fits = {"gradients": isinstance(model, Trained), "summary": isinstance(model, Summarised)}
    assert declared in fits, f"training is {declared!r}: expected one of {', '.join(fits)}"
    assert fits[declared], f"training is {declared!r}, and its model lacks what that takes"


def check_one_finite_loss_per_record(subject: Subject, bench: Bench) -> None:
    """A phase's module gives one finite loss per record, with and without classes, in colour and in grey.

    If this fails, average over pixels and channels, never over records.
    """
    for space in (LABELLED, UNLABELLED):
        phases = phases_of(subject, space)
        assert phases, "no phases"
        assert sum(p.share for p in phases if p.data == "members") <= 1 + 1e-9, "shares add up to more than 1"
        for phase in phases:
            found = losses(phase, batch(space))
            assert tuple(found.shape) == (RECORDS,), (
                f"{phase.name}: expected shape ({RECORDS},), found {tuple(found.shape)}"
            )
            assert torch.isfinite(found).all(), f"{phase.name}: a loss is not finite"


def check_noise_is_drawn_beforehand(subject: Subject, bench: Bench) -> None:
    """`draw` makes tensors with one row per record, from the generator handed in; the loss adds no chance of
    its own.

    If this fails, move every random number of `forward` into `draw`; dropout too.
    """
    for phase in phases_of(subject):
        noise = phase.draw(RECORDS, rng(1))
        short = {k: tuple(v.shape) for k, v in noise.items() if not v.ndim or len(v) != RECORDS}
        assert not short, f"{phase.name}: expected {RECORDS} rows, found {short}"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            one = losses(phase, batch(LABELLED))
            torch.manual_seed(2)
            other = losses(phase, batch(LABELLED))
        assert torch.equal(one, other), f"{phase.name}: equal noise gives different losses"


def check_other_records_leave_a_loss_alone(subject: Subject, bench: Bench) -> None:
    """Replacing record j leaves the loss of every other record unchanged.

    Otherwise one patient's images reach another's gradient past the clipping. If this fails, use GroupNorm in
    place of BatchNorm, and no statistic of the batch.
    """
    for phase in phases_of(subject):
        before = losses(phase, batch(LABELLED))
        after = losses(phase, replaced(batch(LABELLED), batch(LABELLED, shift=9), row=0))
        gap = float((before - after)[1:].abs().max() / (before.abs().max() + 1e-12))
        assert gap < _SMALL, f"{phase.name}: another record's loss changes by {gap:.2g} of its size"


def check_a_loss_leaves_nothing_behind(subject: Subject, bench: Bench) -> None:
    """Computing losses or features leaves the state as it was, in training mode too.

    If this fails, keep no running statistics, and initialise nothing from the first batch.
    """
    model = subject.build().model(LABELLED, 3)
    if isinstance(model, torch.nn.Module):
        model.train()
    for use in _uses(model):
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        with torch.no_grad():
            use(batch(LABELLED))
        after = model.state_dict()
        moved = [name for name in before if not torch.equal(before[name], after[name])]
        assert not moved and before.keys() == after.keys(), f"changed {', '.join(moved) or 'its keys'}"


def check_gradients_per_record_are_right(subject: Subject, bench: Bench) -> None:
    """Gradients by `vmap`, one per record, equal those of each record by itself.

    If this fails, avoid in-place operations and branches on values in `forward`.
    """
    for phase in phases_of(subject):
        names = list(trained_parameters(phase.module, phase.trains))
        assert names, f"{phase.name}: trains no parameter"
        given, noise = batch(LABELLED), phase.draw(RECORDS, rng(1))
        found = PatientGradients(phase.module, names)(given, noise, RECORDS)
        parameters = [p for name, p in phase.module.named_parameters() if name in set(names)]
        for row in range(RECORDS):
            alone = phase.module({k: v[row : row + 1] for k, v in given.items()},
                                 {k: v[row : row + 1] for k, v in noise.items()})  # fmt: skip
            expected = torch.autograd.grad(alone.sum(), parameters, allow_unused=True)
            for name, gradient, wanted in zip(names, found, expected, strict=True):
                wanted = torch.zeros_like(gradient[row]) if wanted is None else wanted
                gap = float((gradient[row] - wanted).abs().max() / (wanted.abs().max() + 1e-3))
                assert gap < 1e-2, f"{phase.name}, {name}: differs by {gap:.2g} of its size for record {row}"


def check_features_are_bounded(subject: Subject, bench: Bench) -> None:
    """A feature vector has an L2 norm of at most 1, also for images far out of range, infinite or not a
    number.

    The sum's noise is made for this norm. If this fails, scale or clamp before, and divide by the largest
    norm.
    """
    wild = batch(LABELLED)
    for row, value in enumerate((1e6, float("inf"), float("nan"), -1e30)):
        wild["pixels"][row] = value
    for sums, given in ((sums, given) for sums in asked_of(subject) for given in (batch(LABELLED), wild)):
        with torch.no_grad():
            found = sums.features(given)
        assert found.ndim == 2 and len(found) == RECORDS, (
            f"expected one vector per record, found {tuple(found.shape)}"
        )
        assert torch.isfinite(found).all(), "a feature is not finite"
        longest = float(found.double().norm(dim=1).max())
        assert longest <= 1 + 1e-5, f"a vector has norm {longest:.6g}"


def check_features_treat_each_record_alone(subject: Subject, bench: Bench) -> None:
    """Replacing record j leaves the features of every other record unchanged.

    If this fails, take no mean or scale over the batch.
    """
    for sums in asked_of(subject):
        with torch.no_grad():
            before = sums.features(batch(LABELLED))
            after = sums.features(replaced(batch(LABELLED), batch(LABELLED, shift=9), row=0))
        gap = float((before - after)[1:].abs().max())
        assert gap < 1e-5, f"{sums.name}: another record's features change by {gap:.2g}"


def check_samples_are_images(subject: Subject, bench: Bench) -> None:
    """`sample` gives uint8 "n h w c", one for each label, and also none.

    If this fails, scale to 0…255, round, and put channels last.
    """
    for space in (LABELLED, UNLABELLED):
        model = subject.build().model(space, 3)
        for count in (3, 0):
            drawn = model.sample(np.zeros(count, dtype=np.int64), rng(), quiet)
            shape = (count, space.size, space.size, space.channels)
            assert drawn.shape == shape and drawn.dtype == np.uint8, (
                f"expected uint8 {shape}, found {drawn.dtype} {drawn.shape}"
            )


def check_saved_model_draws_the_same(subject: Subject, bench: Bench) -> None:
    """A fresh model that loads the saved state draws the same images.

    If this fails, keep all that training or fitting changes in parameters and buffers.
    """
    model = subject.build().model(LABELLED, 3)
    other = subject.build().model(LABELLED, 3)
    assert isinstance(model, torch.nn.Module), f"expected a torch.nn.Module, found {type(model).__name__}"
    with torch.no_grad():
        # Moved off its start, as training does: what is compared must come from the state.
        for parameter in model.parameters():
            parameter.add_(0.05)
    other.load_state_dict(load(save({k: v.contiguous() for k, v in model.state_dict().items()})))
    assert np.array_equal(_drawn(model), _drawn(other)), "the loaded model draws other images"


def _drawn(model: Any) -> np.ndarray:
    found: np.ndarray = model.sample(np.zeros(3, dtype=np.int64), rng(4), quiet)
    return found


def _uses(model: Trained | Summarised) -> Iterator[Callable[[Batch], object]]:
    """Each way in which training looks at a batch; what a model is told in between may change it."""
    for sums in asked(model):
        yield sums.features
    if isinstance(model, Trained):
        for part in model.phases():
            if isinstance(part, Phase):
                yield partial(losses, part)
