"""How the kit sets up a generator's model: spaces, batches, noise, summaries."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from privagams.roles import Batch, Phase, Space, Summarised, Summary, Sums, Trained
from privagams.testing import worlds
from privagams.testing.exercises import pictures
from privagams.testing.subject import NotConcerned, Subject

LABELLED = Space(worlds.SIDE, 3, worlds.CLASSES)
UNLABELLED = Space(worlds.SIDE, 1)
RECORDS = 4


def quiet(done: int, total: int, note: str = "") -> None:
    """A `Progress` that tells nobody."""


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(space: Space, shift: int = 0) -> dict[str, torch.Tensor]:
    """A batch of `RECORDS` images; with a `shift`, images that differ in every statistic."""
    pixels = np.roll(pictures(space.channels, RECORDS), shift, axis=1)
    if shift:
        pixels = (255 - pixels) // 2
    made = {"pixels": torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div(127.5).sub(1).contiguous()}
    if space.classes:
        made["labels"] = (torch.arange(RECORDS) + shift) % len(space.classes)
    return made


def replaced(one: Batch, other: Batch, row: int) -> dict[str, torch.Tensor]:
    """`one` with a row of `other`."""
    made = {name: tensor.clone() for name, tensor in one.items()}
    for name, tensor in made.items():
        tensor[row] = other[name][row]
    return made


def trained(subject: Subject, space: Space = LABELLED, seed: int = 3) -> Trained:
    model = subject.build().model(space, seed)
    if subject.component.training == "summary":
        raise NotConcerned("it learns from a summary, not by gradients")
    return model


def phases_of(subject: Subject, space: Space = LABELLED, seed: int = 3) -> list[Phase]:
    """The phases of a model that learns by gradients."""
    return [part for part in trained(subject, space, seed).phases() if isinstance(part, Phase)]


def asked(model: Trained | Summarised, space: Space = LABELLED) -> Iterator[Sums]:
    """Each stretch of sums of a model, which has been told of `RECORDS` patients what came of those before."""
    for part in model.sums() if isinstance(model, Summarised) else model.phases():
        if isinstance(part, Sums):
            yield part
            part.take(told(part, space))


def asked_of(subject: Subject) -> Iterator[Sums]:
    """As `asked`, of a fresh model; `NotConcerned` where members are not asked for sums."""
    model = subject.build().model(LABELLED, 3)
    stretches = model.sums() if isinstance(model, Summarised) else model.phases()
    if not any(isinstance(part, Sums) for part in stretches):
        raise NotConcerned("it learns by gradients, not from sums")
    return asked(model)


def losses(phase: Phase, given: Batch, seed: int = 1) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = phase.module(given, phase.draw(RECORDS, rng(seed)))
    return found


def told(sums: Sums, space: Space) -> Summary:
    """What a model would learn of `RECORDS` patients, by class where it asks so."""
    given = batch(space)
    with torch.no_grad():
        vectors = sums.features(given)
    blocks = max(1, len(space.classes)) if sums.by_class else 1
    place = given["labels"] if blocks > 1 else torch.zeros(RECORDS, dtype=torch.int64)
    total = vectors.new_zeros(blocks, vectors.shape[1]).index_add_(0, place, vectors)
    return Summary(total.expand(sums.count, -1, -1).clone(), RECORDS, 0.1)


def exercise_model(generator: Any) -> tuple[list[np.ndarray], list[tuple[np.ndarray, np.ndarray]]]:
    """Make a model, use all of it, and return results and (before, after) of what was handed in."""
    model = generator.model(LABELLED, 3)
    given = batch(LABELLED)
    tensors = list(given.values())
    before = [t.numpy().copy() for t in tensors]
    results = []
    for part in model.sums() if isinstance(model, Summarised) else model.phases():
        if isinstance(part, Sums):
            learnt = told(part, LABELLED)
            tensors.append(learnt.totals)
            before.append(learnt.totals.numpy().copy())
            results.append(learnt.totals.numpy().copy())
            part.take(learnt)
            continue
        noise = part.draw(RECORDS, rng(1))
        tensors += list(noise.values())
        before += [t.numpy().copy() for t in noise.values()]
        with torch.no_grad():
            results.append(part.module(given, noise).numpy())
    if isinstance(model, Summarised):
        model.fit(rng(2), quiet)
    labels = np.arange(RECORDS, dtype=np.int64) % len(LABELLED.classes)
    tensors.append(torch.from_numpy(labels))
    before.append(labels.copy())
    results += [t.detach().numpy().copy() for t in model.state_dict().values()]
    results.append(model.sample(labels, rng(2), quiet))
    return results, [(b, t.detach().numpy()) for b, t in zip(before, tensors, strict=True)]
