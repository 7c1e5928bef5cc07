"""The audit of a mechanism by invented patients: what becomes of them is decided by coins that only the judge sees."""

from privagams.audit.canaries import CanaryScores
from privagams.audit.local import LocalAudit, audit_local
from privagams.audit.training import Audit, audit_mechanism

__all__ = ["Audit", "CanaryScores", "LocalAudit", "audit_local", "audit_mechanism"]
