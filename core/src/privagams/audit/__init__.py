"""The audit of a mechanism: one training with canaries in it, whose presence only coins decided."""

from privagams.audit.canaries import CanaryScores
from privagams.audit.training import Audit, audit_mechanism

__all__ = ["Audit", "CanaryScores", "audit_mechanism"]
