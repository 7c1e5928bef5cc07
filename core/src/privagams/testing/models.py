"""How the kit sets up a generator's model: spaces, batches, noise, summaries."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from privagams.roles import Batch, Phase, Space, Summarised, Summary, Trained
from privagams.testing import worlds
from privagams.testing.exercises import pictures
from privagams.testing.subject import NotConcerned, Subject

LABELLED = Space(worlds.SIDE, 3, worlds.CLASSES)
UNLABELLED = Space(worlds.SIDE, 1)
RECORDS = 4


def quiet(done: int, total: int) -> None:
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


def summarised(subject: Subject, space: Space = LABELLED, seed: int = 3) -> Summarised:
    model = subject.build().model(space, seed)
    if subject.component.training != "summary":
        raise NotConcerned("it learns by gradients, not from a summary")
    return model


def losses(phase: Phase, given: Batch, seed: int = 1) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = phase.module(given, phase.draw(RECORDS, rng(seed)))
    return found


def summary(model: Summarised, space: Space) -> Summary:
    """What a model would learn of `RECORDS` patients."""
    with torch.no_grad():
        total = model.features(batch(space)).sum(0)
    return Summary(total, RECORDS, 0.1)


def exercise_model(generator: Any) -> tuple[list[np.ndarray], list[tuple[np.ndarray, np.ndarray]]]:
    """Make a model, use all of it, and return results and (before, after) of what was handed in."""
    model = generator.model(LABELLED, 3)
    given = batch(LABELLED)
    tensors = list(given.values())
    before = [t.numpy().copy() for t in tensors]
    results = []
    if isinstance(model, Summarised):
        learnt = summary(model, LABELLED)
        tensors.append(learnt.total)
        before.append(learnt.total.numpy().copy())
        results.append(learnt.total.numpy().copy())
        model.fit(learnt, rng(2), quiet)
    else:
        for phase in model.phases():
            noise = phase.draw(RECORDS, rng(1))
            tensors += list(noise.values())
            before += [t.numpy().copy() for t in noise.values()]
            with torch.no_grad():
                results.append(phase.module(given, noise).numpy())
    labels = np.arange(RECORDS, dtype=np.int64) % len(LABELLED.classes)
    tensors.append(torch.from_numpy(labels))
    before.append(labels.copy())
    results += [t.detach().numpy().copy() for t in model.state_dict().values()]
    results.append(model.sample(labels, rng(2), quiet))
    return results, [(b, t.detach().numpy()) for b, t in zip(before, tensors, strict=True)]
