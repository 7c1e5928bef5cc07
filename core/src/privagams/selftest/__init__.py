"""The known-answer suite: attacks, judge and mechanisms on problems whose answers are known."""

from privagams.selftest.checks import Check, Selftest
from privagams.selftest.suite import run_selftest, show_selftest

__all__ = ["Check", "Selftest", "run_selftest", "show_selftest"]
