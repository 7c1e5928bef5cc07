"""How laws become cases of a pytest test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from privagams.errors import PluginError
from privagams.testing.catalogue import Law, laws
from privagams.testing.subject import Bench, NotConcerned, Subject, find


def make_test(
    name: str, settings: Mapping[str, Any], sample: Path | None, expected_failures: Mapping[str, str]
) -> Callable[..., None]:
    """Return a test with one case for each law of component `name`."""
    cases = [(subject, law) for subject in find(name, settings) for law in laws(subject.role)]
    _refuse_strangers(name, expected_failures, [law.__name__ for _, law in cases])

    @pytest.mark.parametrize(
        ("subject", "law"), [_case(subject, law, expected_failures) for subject, law in cases]
    )
    def test_component_keeps_the_law(subject: Subject, law: Law, tmp_path: Path) -> None:
        try:
            law(subject, Bench(tmp_path, sample))
        except NotConcerned as reason:
            pytest.skip(str(reason))

    return test_component_keeps_the_law


def _case(subject: Subject, law: Law, expected_failures: Mapping[str, str]) -> Any:
    reason = expected_failures.get(law.__name__)
    marks = [] if reason is None else [pytest.mark.xfail(strict=True, reason=reason)]
    return pytest.param(subject, law, id=law.__name__.removeprefix("check_"), marks=marks)


def _refuse_strangers(name: str, expected_failures: Mapping[str, str], known: list[str]) -> None:
    strangers = [check for check in expected_failures if check not in known]
    if strangers:
        raise PluginError(
            f"conformance({name!r}): expected_failures names {', '.join(strangers)}, which is no law of its "
            f"role; known: {', '.join(known)}"
        )
    unreasoned = [check for check, reason in expected_failures.items() if not str(reason).strip()]
    if unreasoned:
        raise PluginError(
            f"conformance({name!r}): expected_failures gives no reason for {', '.join(unreasoned)}; state one"
        )
