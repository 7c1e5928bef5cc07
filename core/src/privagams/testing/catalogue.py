"""Which laws hold for which role."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import ModuleType

from privagams.testing.subject import LOCAL, Bench, Subject

Law = Callable[[Subject, Bench], None]


def laws(role: str) -> tuple[Law, ...]:
    """The laws of every component, then those of `role`, in the order in which they are written.

    `role` as `subject.role_of` gives it: local mechanisms have laws of their own.
    """
    # By name, so that torch is loaded only for the roles that need it.
    general = _checks(import_module("privagams.testing.laws.components"))
    if role in ("mechanisms", LOCAL):
        # Its noise must not repeat itself; that is one of its own laws.
        general = tuple(law for law in general if law.__name__ != "check_same_seed_gives_the_same_result")
    return general + _checks(import_module(f"privagams.testing.laws.{role}"))


def law_of(check: Law) -> str:
    """The law as a sentence, from the first line of the check's docstring."""
    return _words(check).split(" If this fails, ")[0]


def remedy_of(check: Law) -> str:
    """What to do when the law is broken, from the end of the check's docstring."""
    _, marker, remedy = _words(check).partition("If this fails, ")
    return marker + remedy


def _words(check: Law) -> str:
    return " ".join((check.__doc__ or "").split())


def _checks(module: ModuleType) -> tuple[Law, ...]:
    """The checks that `module` defines, not those it imports."""
    found = [value for name, value in vars(module).items() if name.startswith("check_")]
    return tuple(check for check in found if check.__module__ == module.__name__)
