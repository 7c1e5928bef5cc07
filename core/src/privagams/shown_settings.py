"""A generator's settings as a report may show them: as it was trained, and of files the names alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from attrs import evolve

from privagams.component import Use
from privagams.pipeline import ReleaseSettings
from privagams.plugins import Registry
from privagams.report import data
from privagams.report.searched import search_sentences


def shown_generator(
    release: ReleaseSettings, facts: Mapping[str, Any], registry: Registry
) -> data.Chosen | None:
    """The generator with the settings it was trained by. `facts`: of its training."""
    if release.generator is None:
        return None
    settings = _as_trained(release.generator, facts)
    return data.Chosen(release.generator.name, _named(release.generator, settings, registry))


def shown_search(
    release: ReleaseSettings, facts: Mapping[str, Any], registry: Registry
) -> data.Searched | None:
    """Out of what the settings were chosen, where a search chose them."""
    asked, generator = release.search, release.generator
    if asked is None or generator is None:
        return None
    over = {
        name: tuple(_named(generator, {name: value}, registry)[name] for value in values)
        for name, values in asked.over.items()
    }
    found = data.Searched(
        asked.score.name, asked.trials, asked.distribution, asked.images, over,
        _named(generator, facts["chosen"], registry), facts["epsilon_of_one"],
    )  # fmt: skip
    tried = {name: (value,) for name, value in generator.settings.items()} | dict(asked.over)
    unchosen = search_sentences(evolve(found, chosen=None))
    return evolve(found, notes_without_choice=(*_started(generator, tried, registry), *unchosen))


def remarks_on_training(
    release: ReleaseSettings, facts: Mapping[str, Any], registry: Registry
) -> tuple[str, ...]:
    """What must be said to everybody of how a generator came to its weights."""
    if release.generator is None:
        return ()
    settings = {name: (value,) for name, value in _as_trained(release.generator, facts).items()}
    searched = shown_search(release, facts, registry)
    return (
        *_started(release.generator, settings, registry),
        *(search_sentences(searched) if searched else ()),
    )


def _started(generator: Use, tried: Mapping[str, Sequence[Any]], registry: Registry) -> tuple[str, ...]:
    """What weights the training started from, or one of which where more than one value of a setting was tried."""
    found = []
    for name in _files(generator, tried, registry):
        names = " or ".join(dict.fromkeys(Path(value).name for value in tried[name] if value))
        if names:
            found.append(
                f"Its training started from the weights in {names}, which count as public on the word of whoever set "
                "this up: of the people they learnt from this claim says nothing."
            )
    return tuple(found)


def _as_trained(generator: Use, facts: Mapping[str, Any]) -> dict[str, Any]:
    return {**generator.settings, **facts.get("chosen", {})}


def _named(generator: Use, settings: Mapping[str, Any], registry: Registry) -> dict[str, Any]:
    """Where files lie is nobody's business."""
    return {**settings, **{n: Path(settings[n]).name for n in _files(generator, settings, registry)}}


def _files(generator: Use, settings: Mapping[str, Any], registry: Registry) -> list[str]:
    """Which of the settings name files."""
    target = registry.get("generators", generator.name).component.settings
    specs = attrs.fields(target) if target is not None else ()
    return [spec.name for spec in specs if spec.metadata.get("path") and settings.get(spec.name)]
