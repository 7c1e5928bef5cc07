"""Which known answers are asked for, in which order, and how the outcome is shown."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec

from attrs import frozen

from privagams.plugins import Registry, discover
from privagams.roles import Progress
from privagams.selftest.checks import Check, Question, Questions, Selftest
from privagams.selftest.known_attacks import closed_form, gaussian_mechanism, mean_tracing
from privagams.selftest.known_bounds import goldens, linkage_caps
from privagams.selftest.known_noise import local_guesses, noise_scale


@frozen
class _Part:
    name: str
    questions: Callable[[], Questions]


def run_selftest(registry: Registry, progress: Progress) -> Selftest:
    """Ask the judge, and the attacks and mechanisms in `registry`, for answers that are known.

    Whatever a component raises is an answer too: a wrong one. Takes some ten seconds on one core.
    """
    parts = list(_parts(registry))
    start = time.perf_counter()
    checks: list[Check] = []
    for done, part in enumerate(parts):
        progress(done, len(parts))
        checks += _asked(part)
    progress(len(parts), len(parts))
    return Selftest(tuple(checks), time.perf_counter() - start)


def show_selftest(as_json: bool) -> int:
    """Run the suite on all that is installed, print the outcome; 0 when every answer is right, else 1."""
    registry = discover()
    if as_json:
        found = run_selftest(registry, lambda done, total, note="": None)
        print(json.dumps(found.to_json(), indent=2, ensure_ascii=False))
    else:
        found = _shown(registry)
    return 0 if found.passed else 1


def _parts(registry: Registry) -> Iterator[_Part]:
    yield _Part("Gaussian mechanism", gaussian_mechanism)
    yield _Part("mean tracing", mean_tracing)
    yield _Part("bounds on ε", goldens)
    yield _Part("linkage caps", linkage_caps)
    if find_spec("torch") is None:
        return  # then there is no model to attack and no noise to measure
    for offer in registry.offers:
        if offer.role == "attacks":
            yield _Part(offer.component.name, partial(closed_form, offer.component))
        elif offer.role == "mechanisms":
            asked = noise_scale if offer.component.randomises is None else local_guesses
            yield _Part(offer.component.name, partial(asked, offer))


def _asked(part: _Part) -> Iterator[Check]:
    """Ask a part's questions; where making one fails, that is a wrong answer of the whole part."""
    questions = part.questions()
    while True:
        start = time.perf_counter()
        try:
            question = next(questions, None)
        except Exception as error:  # a component may fail in any way; each is an answer
            seconds = time.perf_counter() - start
            yield Check(part.name, None, None, 0.0, seconds, f"{type(error).__name__}: {error}")
            return
        if question is None:
            return
        yield _answered(question, start)


def _answered(question: Question, start: float) -> Check:
    found, note = None, ""
    try:
        found = float(question.ask())
    except Exception as error:  # as above
        note = f"{type(error).__name__}: {error}"
    if found is not None and not math.isfinite(found):
        found, note = None, f"found {found}"
    seconds = time.perf_counter() - start
    return Check(question.name, question.expected, found, question.tolerance, seconds, note)


def _shown(registry: Registry) -> Selftest:
    from rich.console import Console
    from rich.progress import Progress as Bar
    from rich.table import Table

    with Bar(transient=True) as bar:
        task = bar.add_task("self-test")
        found = run_selftest(
            registry, lambda done, total, note="": bar.update(task, completed=done, total=total)
        )
    table = Table("", "check", "expected", "found", "tolerance", box=None)
    for check in found.checks:
        mark = "[green]ok[/]" if check.passed else "[red]FAILED[/]"
        expected = "" if check.expected is None else f"{check.expected:.5g}"
        answer = check.note if check.found is None else f"{check.found:.5g}"
        table.add_row(mark, check.name, expected, answer, f"{check.tolerance:.2g}")
    console = Console(highlight=False)
    console.print(table)
    right = len(found.checks) - len(found.failed)
    console.print(f"{right} of {len(found.checks)} known answers found, in {found.seconds:.0f} s")
    if found.failed:
        console.print("Attacks and judge are not to be trusted here until this is mended.")
    return found
