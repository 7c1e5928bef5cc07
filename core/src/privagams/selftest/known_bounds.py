"""Bounds whose values are known: on ε from guesses and errors, and on linkage of randomised copies."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from privagams.judge import bounds, caps
from privagams.judge.linkage import rank_probes
from privagams.selftest.checks import Question, Questions

_ONE_RUN = (
    ((1000, 600, 600, 1e-5, 0.05), 5.2704),
    ((1000, 1000, 1000, 1e-5, 0.05), 5.7823),
    ((1000, 100, 100, 1e-5, 0.05), 3.4654),
    ((1000, 100, 90, 0.0, 0.05), 1.6308),
    ((10000, 1000, 900, 1e-5, 0.05), 2.0152),
    ((20000, 3376, 2807, 1e-6, 0.05 / 386), 1.13346),
    ((20000, 4666, 4499, 1e-6, 0.05 / 374), 2.311945),
    ((20000, 8233, 8223, 1e-6, 0.05 / 140), 4.395568),
)
"""(canaries, guesses, right, δ, miss) → ε, equal in the paper's own code and in jax_privacy."""
_F_DP = (
    ((20000, 406, 379, 1e-6, 0.05 / 386), 2.164749),
    ((20000, 938, 934, 1e-6, 0.05 / 374), 4.7218075),
    ((20000, 5436, 5436, 1e-6, 0.05 / 140), 9.133752),
)
"""The best corner of the ROC of exact normal scores shifted by 1, 2 and 4, as jax_privacy finds it."""
_PERFECT = ((500, 0.01, 4.541915810224), (1000, 0.01, 5.2377), (100, 0.05, 3.2813), (1000, 0.05, 5.6006))
"""(members and others, miss, ε) of an attack that never errs, by Clopper–Pearson; jax_privacy, to its digits."""
_GAUSSIAN = ((0.25, 0.926), (0.5, 1.993), (1.0, 4.377), (2.0, 9.997), (3.0, 16.675))
"""(µ, ε at δ = 1e-5) of the Gaussian mechanism."""
_PATIENTS, _ROUNDS = 40, 100


def goldens() -> Questions:
    """What others' code gives on the same numbers, with sources in `privagams.judge.bounds`."""
    for given, epsilon in _ONE_RUN:
        yield Question(
            f"one-run bound, {given[2]} of {given[1]} right, {given[0]} canaries", epsilon, 6e-5,
            partial(bounds.one_run, *given),
        )  # fmt: skip
    for given, epsilon in _F_DP:
        yield Question(
            f"f-DP bound, {given[2]} of {given[1]} right, {given[0]} canaries", epsilon, 2e-5,
            partial(bounds.one_run_fdp, *given),
        )  # fmt: skip
    for n, miss, epsilon in _PERFECT:
        yield Question(
            f"Clopper–Pearson bound, no error in {n} and {n}, miss {miss:g}", epsilon, 6e-5,
            partial(bounds.clopper_pearson, 0, n, 0, n, 0.0, miss),
        )  # fmt: skip
    for mu, epsilon in _GAUSSIAN:
        yield Question(
            f"ε of the Gaussian mechanism, µ = {mu:g}", epsilon, 6e-4,
            partial(bounds.gaussian_epsilon, mu, 1e-5),
        )  # fmt: skip


def linkage_caps() -> Questions:
    """Linking copies randomised by N-ary randomised response: e^ε/(e^ε + N − 1) of first guesses are right.

    Each of N patients releases a name, the own one with that probability, else one of the others; no ε-LDP
    release betrays more at the first guess (Kairouz et al. 2016, arXiv 1602.07387).
    """
    for epsilon in (1.0, 4.0):
        share = math.exp(epsilon) / (math.exp(epsilon) + _PATIENTS - 1)
        spread = math.sqrt(share * (1 - share) / (_PATIENTS * _ROUNDS))
        name = f"randomised response of {_PATIENTS} patients, ε = {epsilon:g}"
        yield Question(f"{name}: top-1", share, 4 * spread, partial(_linked, epsilon))
        yield Question(
            f"{name}: largest top-1 allowed", share, 1e-12,
            partial(caps.linkage_cap, _PATIENTS, epsilon, 0.0),
        )  # fmt: skip
        yield Question(
            f"{name}: ε of that top-1", epsilon, 1e-9,
            partial(caps.epsilon_of_linkage, share, _PATIENTS, 0.0),
        )  # fmt: skip
        yield Question(
            f"{name}: ε of the top-1 allowed at δ = 0.001", epsilon, 1e-9,
            partial(_there_and_back, epsilon, 1e-3),
        )  # fmt: skip


def _there_and_back(epsilon: float, delta: float) -> float:
    return caps.epsilon_of_linkage(caps.linkage_cap(_PATIENTS, epsilon, delta), _PATIENTS, delta)


def _linked(epsilon: float) -> float:
    rng = np.random.default_rng(int(epsilon))
    truth = np.tile(np.arange(_PATIENTS), _ROUNDS)
    kept = rng.random(len(truth)) < math.exp(epsilon) / (math.exp(epsilon) + _PATIENTS - 1)
    others = (truth + rng.integers(1, _PATIENTS, len(truth))) % _PATIENTS
    said = np.where(kept, truth, others)
    scores = np.eye(_PATIENTS)[said]
    names = np.array([f"p{i:02d}" for i in range(_PATIENTS)])
    probes = rank_probes(scores, names[truth], names, np.ones(_PATIENTS, dtype=bool))
    return float(probes.top1[np.arange(len(probes.own)), probes.own].mean())
