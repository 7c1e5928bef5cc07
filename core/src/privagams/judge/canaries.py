"""Records that took part by the fall of a fair coin: planted ones in an audit, and the patients themselves."""

from __future__ import annotations

import math

import numpy as np

from privagams.evidence import Measurement
from privagams.judge import words
from privagams.judge.bounds import (
    LOWER_BOUND,
    ONE_RUN,
    audit_bounds,
    guesses_right,
    largest_one_run,
)
from privagams.judge.curves import roc
from privagams.judge.gate import Bound, Strength
from privagams.judge.intervals import auc, auc_interval, auc_variance
from privagams.judge.verdict import Verdict


def guess_strength(scores: np.ndarray, included: np.ndarray) -> Strength:
    """What the gate needs to know of canaries: how many guesses of each pre-registered number were right.

    scores: "m", higher = believed to have taken part; included: bool "m", set by independent fair coins.
    """
    counts, right = guesses_right(np.asarray(scores, dtype=np.float64), np.asarray(included, dtype=bool))
    return Strength("guesses", right[-1] / counts[-1], 0.0, len(scores), 0, counts, right)


def patients_as_canaries(
    scores: np.ndarray, member: np.ndarray, share: float, delta: float, rng: np.random.Generator
) -> tuple[list[Measurement], Strength | None]:
    """Bound ε from patients each of whom became a member by a coin of its own that fell so with probability `share`.

    The more frequent kind is thinned by coins that know nothing else, so that for each patient kept membership
    is a fair coin. Also gives the same guesses for the gate. Nothing where no patient is kept.

    Guarantee: it exceeds an ε that the release keeps with probability at most 5 %, since the coins are fair.
    Test: `test_patients_kept_are_members_by_a_fair_coin`.
    """
    if not 0 < share < 1:
        return [], None
    keep = np.where(member, min(1.0, (1 - share) / share), min(1.0, share / (1 - share)))
    kept = rng.random(len(scores)) < keep
    m = int(kept.sum())
    if m == 0:
        return [], None
    strength = guess_strength(scores[kept], member[kept])
    value = strength.lower(0.05, delta)
    note = (
        f"at most {largest_one_run(m, delta):.2f} could have been shown with {m} patients; "
        "holds because each patient became a member by a coin of its own"
    )
    return [Measurement(LOWER_BOUND, value, value, math.inf, m, note=note)], strength


def canary_verdict(
    scores: np.ndarray,
    included: np.ndarray,
    *,
    release: str,
    attack: str,
    epsilon: float,
    delta: float,
    gate_epsilon: float | None = None,
    gate_delta: float | None = None,
    private: bool = False,
) -> Verdict:
    """Judge an audit of a mechanism by planted canaries, each of which took part by a fair coin of its own.

    `epsilon`, `delta`: the claim, at whose δ the printed bounds stand. `gate_epsilon`, `gate_delta`: the same
    account priced at a much smaller δ, which binds as much; the gate tests this one, since at the claim's δ the
    term 2mδα of `one_run` outweighs a small level and nothing could be refused. `private`: whether the audit saw
    private patients.
    """
    if (gate_epsilon is None) != (gate_delta is None):
        raise ValueError(
            f"gate_epsilon, gate_delta: expected both or neither, found {gate_epsilon} and {gate_delta}; give both"
        )
    scores, included = np.asarray(scores, dtype=np.float64), np.asarray(included, dtype=bool)
    m = len(scores)
    bounds = audit_bounds(scores, included, delta)
    largest = largest_one_run(m, delta)
    reach = [largest, *(b.epsilon for b in audit_bounds(included.astype(np.float64), included, delta)[1:])]
    found = [
        Measurement(
            LOWER_BOUND if b.method == ONE_RUN else f"{LOWER_BOUND}:{b.method}",
            b.epsilon, b.epsilon, math.inf, m, unit="canary",
            note=f"{b.assumption} At most {most:.2f} could have been shown with {m} canaries.",
        )
        for b, most in zip(bounds, reach, strict=True)
    ]  # fmt: skip
    members, others = scores[included], scores[~included]
    if min(len(members), len(others)) > 0:
        value = auc(members, others)
        interval = auc_interval(value, auc_variance(members, others), len(members), len(others))
        found.append(Measurement("auc", value, *interval, m, unit="canary", chance=0.5))
    strength = guess_strength(scores, included)
    claimed = math.isfinite(epsilon)
    tested = (epsilon, delta) if gate_epsilon is None or gate_delta is None else (gate_epsilon, gate_delta)
    return Verdict(
        release=release,
        attack=attack,
        game="membership",
        access="weights",
        relation="",
        measurements=tuple(found),
        p_value=None,
        cap=epsilon if claimed else None,
        sentence=words.of_canaries(bounds[0].epsilon, m, largest, epsilon),
        worst_off="",
        bounds=(Bound(release, attack, strength, *tested),) if math.isfinite(tested[0]) else (),
        not_tested=(),
        roc=roc(scores, included),
        private=private,
    )
