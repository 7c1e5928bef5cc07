"""Attacks whose success is known exactly: on a Gaussian mechanism, on a mean, on closed-form models."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from privagams.component import Component
from privagams.judge import intervals, membership
from privagams.selftest.checks import Question, Questions

_SIDE = 10_000
_SIGMAS = 4
"""Monte-Carlo answers may be this far off; seeds are fixed, so that a run does not depend on luck."""
_REPEATS = 40


def gaussian_mechanism() -> Questions:
    """The optimal attack on N(0, 1) against N(µ, 1): AUC = Φ(µ/√2), TPR = Φ(Φ⁻¹(FPR) + µ).

    Dong et al. (2019), arXiv 1905.02383. Scores are drawn, the judge measures.
    """
    for mu in (0.5, 1.0, 2.0, 3.0):
        expected = float(ndtr(mu / math.sqrt(2)))
        # The variance of an AUC is at most AUC · (1 − AUC) over the smaller side.
        spread = math.sqrt(expected * (1 - expected) / _SIDE)
        name = f"Gaussian mechanism, µ = {mu:g}"
        yield Question(f"{name}: auc", expected, _SIGMAS * spread, partial(_measured, mu, "auc"))
        for rate in (0.1, 0.01):
            expected = float(ndtr(ndtri(rate) + mu))
            # Members vary, and so does the threshold, which non-members set.
            slope = math.exp((ndtri(rate) ** 2 - ndtri(expected) ** 2) / 2)
            spread = math.sqrt((expected * (1 - expected) + slope**2 * rate * (1 - rate)) / _SIDE)
            measure = f"tpr@{rate:g}"
            yield Question(
                f"{name}: {measure}", expected, _SIGMAS * spread, partial(_measured, mu, measure),
            )  # fmt: skip


def mean_tracing() -> Questions:
    """Tracing members of a mean of n vectors in d dimensions, released with noise N(0, σ²).

    AUC = Φ(√d / (n·√(1/n + σ²)) / √2) for scores ⟨x, mean⟩ (Dwork et al. 2015).
    """
    for d, n, sigma in ((100, 50, 0.0), (100, 100, 0.0), (100, 100, 0.1), (1000, 100, 0.0), (100, 1000, 0.0)):
        expected = float(ndtr(math.sqrt(d) / (n * math.sqrt(1 / n + sigma**2)) / math.sqrt(2)))
        spread = math.sqrt(expected * (1 - expected) / n / _REPEATS)
        noise = f", σ = {sigma:g}" if sigma else ""
        yield Question(
            f"mean tracing, d = {d}, n = {n}{noise}: auc", expected, _SIGMAS * spread + 0.005,
            partial(_traced, d, n, sigma),
        )  # fmt: skip


def closed_form(component: Component[Any]) -> Questions:
    """One membership attack against models that are known in closed form (`testing.closed_form`)."""
    from privagams.testing.closed_form import known_answers

    for answer in known_answers(0, [component]):
        whole = answer.high >= 1.0
        expected = 1.0 if whole else (answer.low + answer.high) / 2
        yield Question(
            f"{answer.attack} on a {answer.model} model: auc", expected, expected - answer.low,
            partial(float, answer.auc),
        )  # fmt: skip


def _measured(mu: float, measure: str) -> float:
    rng = np.random.default_rng(int(1000 * mu))
    scores = np.concatenate([rng.standard_normal(_SIDE) + mu, rng.standard_normal(_SIDE)])
    found, _ = membership.membership_like(scores, np.arange(2 * _SIDE) < _SIDE, rng, permutations=2)
    return next(measurement.value for measurement in found if measurement.name == measure)


def _traced(dimensions: int, members: int, sigma: float) -> float:
    rng = np.random.default_rng([dimensions, members, int(100 * sigma)])
    found = []
    for _ in range(_REPEATS):
        x = rng.standard_normal((2 * members, dimensions), dtype=np.float32)
        mean = x[:members].mean(axis=0) + sigma * rng.standard_normal(dimensions)
        scores = x @ mean
        found.append(intervals.auc(scores[:members], scores[members:]))
    return float(np.mean(found))
