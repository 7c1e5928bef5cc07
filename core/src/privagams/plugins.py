"""Discovery: finds plugins through entry points, keeps failures as data, refuses clashes."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import Path
from typing import Any

import pluggy
from attrs import field, frozen

from privagams import hookspec
from privagams.component import Component
from privagams.errors import PluginError

ENTRY_POINT_GROUP = "privagams"
ROLES = ("readers", "generators", "mechanisms", "embedders", "attacks", "metrics")
HOMES = {
    "readers": "privagams-openslide, privagams-images, privagams-tiatoolbox",
    "generators": "privagams-diffusion, privagams-oneshot",
    "mechanisms": "privagams-dp",
    "embedders": "privagams-metrics",
    "attacks": "privagams-attacks",
    "metrics": "privagams-metrics",
}
"""Where first-party components of a role come from, for a core that stands alone."""


@frozen
class Offer:
    """One component and the distribution that offers it."""

    role: str
    component: Component
    distribution: str
    version: str

    @property
    def source(self) -> str:
        return f"{self.distribution} {self.version}"


@frozen
class Failure:
    """A plugin, or a part of one, that could not be used, and why."""

    distribution: str
    version: str
    reason: str


@frozen
class Registry:
    """All that was found, sorted by name; nothing here depends on load order."""

    offers: tuple[Offer, ...] = ()
    failures: tuple[Failure, ...] = ()
    clashes: tuple[str, ...] = field(default=())

    def names(self, role: str) -> list[str]:
        return sorted({offer.component.name for offer in self.offers if offer.role == role})

    def find(self, role: str, name: str) -> Offer | None:
        return next((o for o in self.offers if o.role == role and o.component.name == name), None)

    def get(self, role: str, name: str) -> Offer:
        """Return the offer, or raise `PluginError` saying what is missing."""
        offer = self.find(role, name)
        if offer is None:
            raise PluginError(self.missing(role, name))
        return offer

    def missing(self, role: str, name: str) -> str:
        """Say that `name` is not there, what comes close, what is installed, and what failed to load."""
        names = self.names(role)
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        text = f"no {role[:-1]} named {name!r}; {hint}installed: {', '.join(names) or 'none'}"
        if not names:
            text += f"; install {HOMES[role]}, or another package that offers some"
        for failure in self.failures:
            text += f"; {failure.distribution} {failure.version} could not be loaded: {failure.reason}"
        return text

    def refuse_clashes(self) -> None:
        if self.clashes:
            raise PluginError("\n".join(self.clashes))


def discover(allow: Sequence[str] | None = None, found: Iterable[Distribution] | None = None) -> Registry:
    """Load every installed plugin, or only those that `allow` names.

    An entry of `allow` is "distribution", "distribution==version" or "distribution==version sha256:HEX",
    where HEX is what `fingerprint` gives.
    """
    manager = pluggy.PluginManager(ENTRY_POINT_GROUP)
    manager.add_hookspecs(hookspec)
    failures: list[Failure] = []
    owners: dict[str, Distribution] = {}
    for distribution, entry_point in _entry_points(distributions() if found is None else found):
        if allow is not None and not _allowed(distribution, allow):
            continue
        name = f"{distribution.name}:{entry_point.name}"
        try:
            manager.register(entry_point.load(), name)
            manager.check_pending()
            owners[name] = distribution
        except Exception as error:  # whatever a plugin's import raises is kept as data and shown
            if manager.has_plugin(name):
                manager.unregister(name=name)
            failures.append(Failure(distribution.name, distribution.version, _reason(error)))
    offers = list(_offers(manager, owners, failures))
    return Registry(
        tuple(sorted(offers, key=lambda o: (o.role, o.component.name, o.distribution))),
        tuple(sorted(failures, key=lambda f: f.distribution)),
        tuple(_clashes(offers)),
    )


def fingerprint(distribution: Distribution) -> str:
    """SHA-256 over the distribution's own source files (paths and contents), hex."""
    digest = hashlib.sha256()
    for file in sorted(distribution.files or [], key=str):
        path = distribution.locate_file(file)
        if file.suffix in {".py", ".so", ".toml"} and ".dist-info" not in str(file):
            digest.update(str(file).encode() + b"\0" + Path(str(path)).read_bytes() + b"\0")
    return digest.hexdigest()


def _entry_points(found: Iterable[Distribution]) -> list[tuple[Distribution, EntryPoint]]:
    unique: dict[tuple[str, str], tuple[Distribution, EntryPoint]] = {}
    for distribution in found:
        for entry_point in distribution.entry_points:
            if entry_point.group == ENTRY_POINT_GROUP:
                # The first on the path is the one that imports.
                unique.setdefault((distribution.name.lower(), entry_point.name), (distribution, entry_point))
    return [unique[key] for key in sorted(unique)]


def _allowed(distribution: Distribution, allow: Sequence[str]) -> bool:
    for entry in allow:
        pin, _, digest = entry.partition(" sha256:")
        name, _, version = pin.strip().partition("==")
        if name.lower() != distribution.name.lower() or (version and version != distribution.version):
            continue
        return not digest or digest.strip() == fingerprint(distribution)
    return False


def _offers(
    manager: pluggy.PluginManager, owners: Mapping[str, Distribution], failures: list[Failure]
) -> Iterable[Offer]:
    for role in ROLES:
        for implementation in getattr(manager.hook, f"privagams_{role}").get_hookimpls():
            owner = owners[implementation.plugin_name]
            try:
                components: list[Any] = list(implementation.function())
                for component in components:
                    if not isinstance(component, Component):
                        raise TypeError(f"privagams_{role} must yield Component, not {component!r}")
                    yield Offer(role, component, owner.name, owner.version)
            except Exception as error:  # as above: kept as data
                failures.append(Failure(owner.name, owner.version, f"privagams_{role}: {_reason(error)}"))


def _clashes(offers: Sequence[Offer]) -> Iterable[str]:
    for index, one in enumerate(offers):
        for other in offers[index + 1 :]:
            if (one.role, one.component.name) == (other.role, other.component.name):
                yield (
                    f"{one.role[:-1]} {one.component.name!r} is offered by {one.source} and {other.source}; "
                    "remove one, or list the plugins to use under [plugins] allow"
                )


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
