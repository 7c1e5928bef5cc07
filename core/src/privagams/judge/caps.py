"""What a claim (ε, δ) still allows an attack to reach, and the ε that a measured bound would take.

All hold for one patient, any attack, any auxiliary knowledge. ε = inf allows everything.
"""

from __future__ import annotations

import math


def auc_cap(epsilon: float, delta: float) -> float:
    """Largest AUC of telling a member from a non-member: 1 − (1−δ)²/(1+e^ε).

    One less the area under the trade-off curve f(α) = max(0, 1−δ−e^ε α, e^−ε (1−δ−α))
    (Dong et al. 2019, arXiv 1905.02383).
    """
    return 1 - (1 - delta) ** 2 * math.exp(-_log_one_plus_exp(epsilon))


def tpr_cap(fpr: float, epsilon: float, delta: float) -> float:
    """Largest share of members found at a false positive rate: min(e^ε α + δ, 1 − e^−ε (1−δ−α), 1)."""
    steep = 1.0 if epsilon > 700 else math.exp(epsilon) * fpr + delta
    return min(1.0, steep, 1 - math.exp(-epsilon) * (1 - delta - fpr))


def advantage_cap(epsilon: float, delta: float) -> float:
    """Largest TPR − FPR: (e^ε − 1 + 2δ)/(e^ε + 1)."""
    return 1 - 2 * (1 - delta) * math.exp(-_log_one_plus_exp(epsilon))


def linkage_cap(released: int, epsilon: float, delta: float) -> float:
    """Largest share of N released patients that can be linked at the first guess: (e^ε + δ(N−1))/(e^ε + N−1).

    For a release in which each patient's copies are randomised on their own (replace-one adjacency), averaged
    over all N patients, each guess made from that patient's copies only.
    """
    others = released - 1
    return min(1.0, (1 + delta * others * math.exp(-epsilon)) / (1 + others * math.exp(-epsilon)))


def epsilon_of_auc(auc: float, delta: float) -> float:
    """The ε below which no claim allows this AUC; 0 where every claim does, inf at 1."""
    if auc >= 1:
        return math.inf
    odds = (1 - delta) ** 2 / (1 - auc) - 1
    return max(0.0, math.log(odds)) if odds > 0 else 0.0


def epsilon_of_linkage(share: float, released: int, delta: float) -> float:
    """The ε below which no claim allows this share of first guesses: ln((p−δ)(N−1)/(1−p)), at least 0."""
    if released < 2 or share <= delta:
        return 0.0
    if share >= 1:
        return math.inf
    return max(0.0, math.log((share - delta) * (released - 1) / (1 - share)))


def _log_one_plus_exp(x: float) -> float:
    return x + math.log1p(math.exp(-x)) if x > 0 else math.log1p(math.exp(x))
