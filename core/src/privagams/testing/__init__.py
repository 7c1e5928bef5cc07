"""The conformance kit: laws that every component of a role keeps, for authors of plugins to run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

__all__ = ["checks_for", "conformance"]

_NOTHING: Mapping[str, Any] = MappingProxyType({})


def conformance(
    name: str,
    *,
    settings: Mapping[str, Any] = _NOTHING,
    sample: Path | None = None,
    expected_failures: Mapping[str, str] = _NOTHING,
) -> Callable[..., None]:
    """Make a pytest test of all laws of the installed component `name`, one case for each law.

    One line is a whole test module: `test_mine = conformance("mylab-nearest")`.
    `settings`: as in pipeline.toml; needed where the component has settings without defaults.
    `sample`: a file that a reader opens; a PNG made by the kit where left out.
    `expected_failures`: the laws that are knowingly broken, each with the reason. A law that is kept after
    all fails the test, and so does a name that is no law of the role.
    """
    # Loaded here and not above, so that pytest can rewrite the laws' assertions before they are imported.
    from privagams.testing.cases import make_test

    return make_test(name, settings, sample, expected_failures)


def checks_for(role: str) -> tuple[Callable[..., None], ...]:
    """All laws of `role` ("attacks", "readers", …): functions `check_<law>(subject, bench)`."""
    from privagams.testing.catalogue import laws

    return laws(role)
