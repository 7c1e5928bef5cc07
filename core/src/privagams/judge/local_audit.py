"""Judges the audit of a local mechanism: each kind of canary, and linkage among invented vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from privagams.evidence import Measurement
from privagams.judge.canaries import canary_verdict
from privagams.judge.gate import Bound, Strength
from privagams.judge.intervals import mean_interval
from privagams.judge.linkage import linkage_bound
from privagams.judge.phrases import percent, percents
from privagams.judge.verdict import Verdict


def local_verdicts(facts: Mapping[str, Any], *, release: str) -> tuple[Verdict, ...]:
    """Verdicts on what `audit.local.LocalAudit.to_facts` says, each against the claim that stands beside it.

    That claim is the mechanism's own, for vectors of the size that was audited; what else a release has spent,
    as on the training of its flow, is no part of it.
    """
    canaries = [
        canary_verdict(
            np.array(kind["scores"]), np.array(kind["included"], dtype=bool), release=release,
            attack=f"{kind['kind']} canaries", epsilon=kind["epsilon"], delta=kind["delta"],
            gate_epsilon=kind["gate_epsilon"], gate_delta=kind["gate_delta"],
        )
        for kind in facts["canaries"]
    ]  # fmt: skip
    return (*canaries, _linked(facts["linkage"], release))


def _linked(facts: Mapping[str, Any], release: str) -> Verdict:
    trials, candidates = int(facts["trials"]), int(facts["candidates"])
    epsilon, delta = float(facts["epsilon"]), float(facts["delta"])
    share = facts["right"] / trials
    strength = Strength("top-1", share, 0.0, trials, candidates)
    bound = Bound(release, "linkage of invented vectors", strength, epsilon, delta)
    chance = 1 / candidates
    found = Measurement("top-1", share, *mean_interval(share, trials), trials, unit="trial", chance=chance)
    shown = linkage_bound(strength, delta, unit="trial")
    sentence = (
        f"An audit with {trials} invented vectors, each drawn from {candidates}: who holds all of them picks the right "
        f"one first in {percent(share)} of cases ({percents(found)}; guessing {percent(chance)}, and ε = {epsilon:g} "
        f"allows {percent(bound.cap)}), which takes an ε of at least {shown.value:.2f}."
    )
    return Verdict(
        release=release, attack=bound.attack, game="linkage", access="released", relation="",
        measurements=(found, shown), p_value=None, cap=bound.cap, sentence=sentence, worst_off="",
        bounds=(bound,), not_tested=(), private=False,
    )  # fmt: skip
