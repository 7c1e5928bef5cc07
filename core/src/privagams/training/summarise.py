"""How a one-shot generator is fitted: one sum over patients, then nothing but that sum."""

from __future__ import annotations

import numpy as np
import torch
from attrs import evolve

from privagams.errors import PluginError
from privagams.roles import Summarised, Summary
from privagams.training.checkpoint import Checkpoint
from privagams.training.feed import Feed
from privagams.training.gradients import memory_hint
from privagams.training.job import FitResult, Job, nothing_left
from privagams.training.noise_plan import Stretch, interruption_notes, plan_noise

_CHUNK = 256
"""Records whose features are in memory at once."""


def fit_summary(model: Summarised, job: Job) -> FitResult:
    """Release the sum, or take it from the checkpoint, and let the model learn from it.

    Σ over patients of the mean feature vector of the patient's records, plus the mechanism's noise.
    """
    start = job.resume([])
    if start.finished:
        return job.result(start)
    after = start if "total" in start.tensors else _release(model, job, start)
    std = 0.0 if job.mechanism is None else (after.noise_multiplier or 0.0) * job.mechanism.clip_norm
    rng = torch.Generator().manual_seed(job.seed)
    model.fit(Summary(after.tensors["total"], job.public_patients, std), rng, job.progress)
    return job.finish(model, after)


def _release(model: Summarised, job: Job, start: Checkpoint) -> Checkpoint:
    feed = Feed(job.members, job.space.classes, job.device)
    patients = feed.by_patient()
    if job.mechanism is None:
        total = torch.zeros(_width(model, job))
        for positions in patients:
            total += _mean_features(model, feed, positions)
        return job.save(evolve(start, step=1, done=1, tensors={"total": total}))
    (dose,) = plan_noise(job.mechanism, [Stretch(planned=1, left=1)], job.public_patients, job.spent())
    if dose.steps == 0:
        raise nothing_left(job.mechanism)
    multiplier = dose.noise_multiplier
    event = job.mechanism.event(multiplier, 1, job.public_patients)
    job.announce(event)
    noisy = job.mechanism.noisy_sum([torch.zeros(_width(model, job))], multiplier, job.public_patients)
    for patient in noisy.sample(len(patients)):
        noisy.add([_mean_features(model, feed, patients[patient])[None]])
    # The features are long in the making, the release is not: a crash between ledger and file is unlikely.
    after = evolve(start, step=1, done=1, noise_multiplier=multiplier, notes=interruption_notes([dose], 1))
    return job.noisy_block(event, 1, lambda: evolve(after, tensors={"total": noisy.release()[0]}))


def _mean_features(model: Summarised, feed: Feed, positions: np.ndarray) -> torch.Tensor:
    with torch.no_grad(), memory_hint("the number of tiles per patient"):
        parts = [
            model.features(feed.batch(positions[i : i + _CHUNK])).sum(0)
            for i in range(0, len(positions), _CHUNK)
        ]
    return torch.stack(parts).sum(0).cpu() / len(positions)


def _width(model: Summarised, job: Job) -> int:
    """Length of a feature vector, found on a black image: no member is needed for it."""
    space = job.space
    batch = {"pixels": torch.full((1, space.channels, space.size, space.size), -1.0, device=job.device)}
    if space.classes:
        batch["labels"] = torch.zeros(1, dtype=torch.int64, device=job.device)
    with torch.no_grad():
        features = model.features(batch)
    if features.ndim != 2 or len(features) != 1:
        raise PluginError(
            "generator's features: expected one vector per record, "
            f"shape (1, d), found {tuple(features.shape)}"
        )
    return int(features.shape[1])
