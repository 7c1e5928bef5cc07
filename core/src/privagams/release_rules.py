"""Which generator, mechanism and kind of release go together; checked before anything is built."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from privagams.component import Component, Use
from privagams.pipeline import ReleaseSettings
from privagams.plugins import Registry


def release_faults(release: ReleaseSettings, registry: Registry) -> list[str]:
    """What is wrong with one `[[releases]]` table, each fault with its path and the next step."""
    made = _drawn if release.of == "drawn" else _copies
    return [*made(release, registry), *_protection(release), *_searched(release)]


def _drawn(release: ReleaseSettings, registry: Registry) -> Iterator[str]:
    if release.generator is None:
        yield '.generator: required for drawn images; name one, or set of = "members"'
    if release.images is None:
        yield ".images: required for drawn images: how many to draw"
    if release.images_per_patient is not None:
        yield ".images_per_patient: only for randomised copies; leave it out for drawn images"
    if release.training is not None:
        yield ".training: only for randomised copies; what protects the training of drawn images is `mechanism`"
    yield from _trains(release.generator, release.mechanism, ".mechanism", registry)


def _copies(release: ReleaseSettings, registry: Registry) -> Iterator[str]:
    if release.images is not None or release.weights:
        yield ".of: copies of members take neither images nor weights"
    mechanism = _component(registry, "mechanisms", release.mechanism)
    randomisers = _names(registry, "mechanisms", lambda c: c.randomises is not None)
    if release.mechanism is None:
        if release.generator or release.training or release.images_per_patient is not None:
            yield (
                ".of: raw copies take no generator, training or images_per_patient; add a mechanism that "
                f"randomises copies: {randomisers}"
            )
    elif mechanism is not None and mechanism.randomises is None:
        yield (
            f".mechanism: {release.mechanism.name!r} protects training, and copies of members need one that "
            f"randomises images: {randomisers}"
        )
    elif mechanism is not None and mechanism.randomises == "pixels":
        if release.generator or release.training:
            yield f".generator: {mechanism.name!r} randomises pixels and takes no generator or training; leave it out"
    elif mechanism is not None:
        yield from _latents(release, mechanism, registry)


def _latents(release: ReleaseSettings, mechanism: Component, registry: Registry) -> Iterator[str]:
    able = _names(registry, "generators", lambda c: c.encodes)
    generator = _component(registry, "generators", release.generator)
    if release.generator is None:
        yield f".generator: required by {mechanism.name!r}, which randomises latent vectors; fitting generators: {able}"
    elif generator is not None and not generator.encodes:
        yield (
            f".generator: {generator.name!r} cannot encode images, and {mechanism.name!r} randomises latent "
            f"vectors; fitting generators: {able}"
        )
    yield from _trains(release.generator, release.training, ".training", registry)


def _trains(generator: Use | None, mechanism: Use | None, where: str, registry: Registry) -> Iterator[str]:
    """Whether `mechanism` protects the way in which `generator` learns."""
    learner, protector = (
        _component(registry, role, use)
        for role, use in (("generators", generator), ("mechanisms", mechanism))
    )
    if learner is None or protector is None or learner.training == protector.training:
        return
    what = protector.training or "copies of images, one by one"
    yield (
        f"{where}: {protector.name!r} protects {what}, but generator {learner.name!r} learns from "
        f"{learner.training}; fitting mechanisms: "
        f"{_names(registry, 'mechanisms', lambda c: c.training == learner.training)}"
    )


def _protection(release: ReleaseSettings) -> Iterator[str]:
    if release.mechanism is None and not release.yardstick:
        yield ".mechanism: missing, so nothing would protect the patients; add one, or set yardstick = true"
    if release.mechanism is not None and release.yardstick and (release.of == "drawn" or release.training):
        yield ".yardstick: a yardstick has no mechanism; remove one of the two"


def _searched(release: ReleaseSettings) -> Iterator[str]:
    if release.search is None:
        return
    if release.of == "members":
        yield ".search: only for drawn images, whose training it repeats; leave it out for copies"
    elif release.mechanism is None:
        yield (
            ".search: a release without a mechanism has no claim for a search to be part of; add a mechanism, or "
            "leave the search out"
        )


def _component(registry: Registry, role: str, use: Use | None) -> Component | None:
    offer = None if use is None else registry.find(role, use.name)
    return None if offer is None else offer.component


def _names(registry: Registry, role: str, fits: Callable[[Component], bool]) -> str:
    """Installed components of `role` that fit, as a list to read."""
    found = [o.component for o in registry.offers if o.role == role and fits(o.component)]
    return ", ".join(c.name for c in found) or "none installed"
