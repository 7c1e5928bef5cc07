"""The judge: joins an attack's scores with truth, per patient, and holds them against the claim."""

from privagams.judge.caps import advantage_cap, auc_cap, linkage_cap, tpr_cap
from privagams.judge.gate import Bound, Gate, Strength, Tested, gate
from privagams.judge.linkage import linkage, rank_probes
from privagams.judge.membership import membership_like
from privagams.judge.verdict import Truth, Verdict, judge, truth_of

__all__ = [
    "Bound",
    "Gate",
    "Strength",
    "Tested",
    "Truth",
    "Verdict",
    "advantage_cap",
    "auc_cap",
    "gate",
    "judge",
    "linkage",
    "linkage_cap",
    "membership_like",
    "rank_probes",
    "tpr_cap",
    "truth_of",
]
