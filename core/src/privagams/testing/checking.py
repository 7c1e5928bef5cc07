"""`privagams check`: runs the laws without pytest and says in words what is broken and what to do."""

from __future__ import annotations

import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from attrs import frozen

from privagams.errors import ExitCode, PluginError
from privagams.testing.catalogue import Law, law_of, laws, remedy_of
from privagams.testing.subject import Bench, NotConcerned, Subject, find


@frozen
class Outcome:
    """What became of one law."""

    law: Law
    passed: bool
    reason: str = ""
    """Why it failed, or why it does not apply."""


def check_component(name: str, settings: Mapping[str, Any] | None = None, sample: Path | None = None) -> int:
    """Check the installed component `name`, print a line for each law, return the exit code.

    Raises `PluginError` for a name that nobody offers.
    """
    if not __debug__:
        raise PluginError("check: Python runs with -O, which switches the laws off; run it without")
    failed = total = 0
    for subject in find(name, settings or {}):
        click.echo(f"{subject.component.name} ({subject.role[:-1].replace('_', ' ')})")
        for law in laws(subject.role):
            outcome = try_law(law, subject, sample)
            click.echo(_line(outcome))
            failed, total = failed + (not outcome.passed), total + 1
    click.echo(f"{name}: keeps {total - failed} of {total} laws")
    return int(ExitCode.PLUGIN if failed else ExitCode.OK)


def try_law(law: Law, subject: Subject, sample: Path | None = None) -> Outcome:
    """Run one check in a folder of its own. Whatever a component raises counts as a broken law."""
    with tempfile.TemporaryDirectory(prefix="privagams-check-") as folder:
        try:
            law(subject, Bench(Path(folder), sample))
        except NotConcerned as reason:
            return Outcome(law, True, str(reason))
        except Exception as error:  # a component may fail in any way; each is an answer
            return Outcome(law, False, _reason(error))
    return Outcome(law, True)


def _reason(error: Exception) -> str:
    if isinstance(error, AssertionError):
        return str(error)
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(place.filename).name}, line {place.lineno})"


def _line(outcome: Outcome) -> str:
    name = outcome.law.__name__.removeprefix("check_")
    if outcome.passed:
        return f"  passed  {name}" + (f" (does not apply: {outcome.reason})" if outcome.reason else "")
    law = outcome.law
    return "\n          ".join([f"  FAILED  {name}", outcome.reason, law_of(law), remedy_of(law)])
