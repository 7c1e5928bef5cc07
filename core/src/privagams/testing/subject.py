"""What the kit holds in hand: a component with settings it can be built with, and a place to work in."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import attrs
from attrs import field, frozen

from privagams.component import Component
from privagams.errors import PluginError
from privagams.plugins import ENTRY_POINT_GROUP, Offer, Registry, discover
from privagams.settings import Faults, structure

ASSUMED = {"epsilon": 8.0, "delta": 1e-4}
"""Settings without defaults that every mechanism has."""
LOCAL = "local_mechanisms"
"""The role, for the kit, of mechanisms that randomise each image on its own."""
STEPS = {"generators": 2, "metrics": 60}
"""What a setting called `steps` is cut down to, so that a check takes seconds: no law is about quality."""


class NotConcerned(Exception):
    """A law does not apply to a component; the text says why."""


@frozen
class Subject:
    """A component under test."""

    role: str
    component: Component[Any]
    settings: Mapping[str, Any] = field(factory=dict)
    """As in pipeline.toml."""
    modules: tuple[str, ...] = ()
    """What discovery imports of its distribution."""

    def structured(self) -> Any:
        """The settings object, or None for a component without settings."""
        if self.component.settings is None:
            return None
        return structure(dict(self.settings), self.component.settings)

    def build(self) -> Any:
        return self.component.build(self.structured())


@frozen
class Bench:
    """Where a check may write, and what else it was given."""

    folder: Path
    sample: Path | None = None
    """A file that the reader under test opens; None for a PNG made by the kit."""


def find(name: str, settings: Mapping[str, Any]) -> list[Subject]:
    """Find the installed component `name`, in each role in which it is offered; else raise `PluginError`."""
    registry = discover()
    offers = [offer for offer in registry.offers if offer.component.name == name]
    clashes = [text for text in registry.clashes if repr(name) in text]
    if not offers or clashes:
        raise PluginError("\n".join(clashes) or _missing(registry, name))
    return [
        Subject(
            role_of(o.role, o.component),
            o.component,
            usable_settings(o.role, o.component, settings),
            _modules(o),
        )
        for o in offers
    ]


def role_of(role: str, component: Component[Any]) -> str:
    """The role whose laws a component keeps: the one it is offered in, told apart where that has two kinds."""
    return LOCAL if component.randomises is not None else role


def usable_settings(role: str, component: Component[Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Complete `given` so that the component can be built quickly; raise `PluginError` where that fails."""
    if component.settings is None:
        chosen = dict(given)
    else:
        fields = {f.name: f for f in attrs.fields(component.settings)}
        required = {name for name, f in fields.items() if f.default is attrs.NOTHING}
        short = {"steps": STEPS[role]} if role in STEPS and "steps" in fields else {}
        chosen = {**{k: v for k, v in ASSUMED.items() if k in required}, **short, **given}
        if component.randomises is not None:
            chosen = _budgeted(chosen, component.settings, [name for name in ASSUMED if name in fields])
        try:
            structure(chosen, component.settings)
        except Faults as faults:
            found = "; ".join(f"{path.lstrip('.')}: {text}" for path, text in faults.found)
            raise PluginError(
                f"{component.name}: cannot be built for the check: {found}; give settings that fit, "
                f"in a test: conformance({component.name!r}, settings={{…}})"
            ) from faults
    if component.settings is None and given:
        raise PluginError(f"{component.name}: expected no settings, found {', '.join(given)}; leave them out")
    return chosen


def _budgeted(chosen: dict[str, Any], target: type, known: list[str]) -> dict[str, Any]:
    """With as few of the assumed figures as will do: a local mechanism may take its ε in one of two ways, or no δ."""
    for count in range(len(known) + 1):
        tried = {**{name: ASSUMED[name] for name in known[:count]}, **chosen}
        try:
            structure(tried, target)
        except Faults:
            continue
        return tried
    return chosen


def _modules(offer: Offer) -> tuple[str, ...]:
    try:
        points = distribution(offer.distribution).entry_points
    except PackageNotFoundError:
        return ()
    return tuple(sorted(point.module for point in points if point.group == ENTRY_POINT_GROUP))


def plugin_modules(subject: Subject) -> tuple[str, ...]:
    """The modules that listing this component imports."""
    own = inspect.getmodule(subject.component.build)
    names = {*subject.modules, *([own.__name__] if own else [])}
    return tuple(sorted(names))


def _missing(registry: Registry, name: str) -> str:
    names = sorted({offer.component.name for offer in registry.offers})
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    failed = "".join(
        f"; {f.distribution} {f.version} could not be loaded: {f.reason}" for f in registry.failures
    )
    return f"no component named {name!r}; {hint}installed: {', '.join(names) or 'none'}{failed}"
