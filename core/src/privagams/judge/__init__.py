"""The judge: joins an attack's scores with truth, per patient, and holds them against the claim."""

from privagams.judge.alignment import aligned
from privagams.judge.blind import Blind, blind_baseline, plain_features
from privagams.judge.bounds import AuditBound, audit_bounds, largest_one_run, one_run, one_run_fdp
from privagams.judge.canaries import canary_verdict, guess_strength
from privagams.judge.caps import advantage_cap, auc_cap, linkage_cap, tpr_cap
from privagams.judge.family import Family, best_of
from privagams.judge.gate import Bound, Gate, Strength, Tested, gate
from privagams.judge.judging import judge
from privagams.judge.linkage import linkage, rank_probes
from privagams.judge.local_audit import local_verdicts
from privagams.judge.membership import membership_like
from privagams.judge.threshold import expected_top1, threshold_epsilon, threshold_noise
from privagams.judge.truth import Truth, truth_of
from privagams.judge.verdict import Verdict

__all__ = [
    "AuditBound",
    "Blind",
    "Bound",
    "Family",
    "Gate",
    "Strength",
    "Tested",
    "Truth",
    "Verdict",
    "advantage_cap",
    "aligned",
    "auc_cap",
    "audit_bounds",
    "best_of",
    "blind_baseline",
    "canary_verdict",
    "expected_top1",
    "gate",
    "guess_strength",
    "judge",
    "largest_one_run",
    "linkage",
    "linkage_cap",
    "local_verdicts",
    "membership_like",
    "one_run",
    "one_run_fdp",
    "plain_features",
    "rank_probes",
    "threshold_epsilon",
    "threshold_noise",
    "tpr_cap",
    "truth_of",
]
