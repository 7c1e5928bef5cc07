"""Membership attacks against models whose answer is known: made in seconds, without training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from attrs import field, frozen

from privagams.access import Access, Shadow, Target, World
from privagams.component import Component, Use
from privagams.errors import NotApplicable
from privagams.judge.intervals import auc
from privagams.plugins import discover
from privagams.records import Records
from privagams.roles import Attack
from privagams.settings import Faults, structure
from privagams.testing.closed_densities import (
    DIMENSIONS,
    ClosedForm,
    Kind,
    fitted,
    level_at,
    to_pixels,
    to_vectors,
)

__all__ = ["Case", "Kind", "KnownAnswer", "case", "known_answers", "level_at", "measured_auc"]

_ALIKE = 0.5
"""Correlation of one patient's images."""


@frozen(eq=False)
class Case:
    """A release of a closed-form model, its adversary, and the truth that only the kit knows."""

    target: Target
    world: World
    member: np.ndarray
    """Whether the model was fitted to the candidate patient, bool "k"."""


def case(
    kind: Kind,
    access: Access,
    seed: int,
    *,
    members: int = 100,
    images: int = 1,
    shadows: int = 0,
    reference: int = 2000,
    released: int = 2000,
) -> Case:
    """Make a world of twice `members` patients from N(0, I) and a release fitted to half of them.

    `images` of each patient, correlated by 0.5 where there are several; `shadows`, an even number, come in
    complementary pairs of halves; `reference` patients, None in the world for 0; `released` drawn images.
    """
    rng = np.random.default_rng(seed)
    names = np.array(sorted(rng.bytes(6).hex() for _ in range(2 * members)))
    pixels = _patients(len(names), images, rng)
    owner = np.repeat(np.arange(len(names)), images)
    member = _half(len(names), rng)

    def release(inside: np.ndarray) -> tuple[Records, Callable[[], Any]]:
        model = ClosedForm(fitted(kind, to_vectors(pixels[inside[owner]])))
        generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
        drawn = model.sample(np.zeros(released, dtype=np.int64), generator, lambda done, total, note="": None)
        return Records(drawn, {}), lambda: model

    shown, model = release(member)
    made = []
    for inside in _halves(len(names), shadows, rng):
        images_drawn, shadow = release(inside)
        made.append(Shadow(images_drawn, inside, access, model=shadow))
    world = World(
        _records(pixels, names[owner]),
        names,
        _reference(reference, images, rng),
        tuple(made),
        features=vector_features,
    )
    return Case(Target(shown, access, model=model), world, member)


def vector_features(use: Use, records: Records) -> np.ndarray:
    """`World.features` of the testbed, whatever the embedder: the vectors themselves, float32 "n 32"."""
    return to_vectors(records.read()).astype(np.float32)


def measured_auc(attack: Attack, kind: Kind, seed: int, **options: Any) -> float:
    """Run `attack` with exactly the access it declares; AUC of members against non-members.

    `options`: as for `case`. Raises `NotApplicable` where the attack does.
    """
    made = case(kind, attack.access, seed, **{"shadows": attack.shadows, **options})
    values = attack.run(made.target, made.world, np.random.default_rng(seed + 1)).values
    return auc(values[made.member], values[~made.member])


@frozen
class KnownAnswer:
    """What an attack found on a model whose answer is known."""

    attack: str
    model: Kind
    auc: float
    low: float
    high: float
    """The AUC must lie within `low` and `high`."""

    @property
    def right(self) -> bool:
        return self.low <= self.auc <= self.high


@frozen
class _Figure:
    """AUC on the Gaussian fitted by maximum likelihood: mean and standard deviation over seeds."""

    mean: float
    deviation: float
    settings: Mapping[str, Any] = field(factory=dict)
    """At the ratio of signal to noise of timestep 100: the testbed's contrast is a quarter of vectors' own."""


_T100 = level_at(100)
_GAUSSIAN = {
    "loss": _Figure(0.895, 0.026, {"levels": [_T100]}),
    "pia": _Figure(0.911, 0.019, {"level": _T100}),
    "secmi": _Figure(0.916, 0.017, {"level": _T100}),
    "sima": _Figure(0.911, 0.019, {"level": _T100}),
    "likelihood": _Figure(0.861, 0.024),
    "calibrated-distance": _Figure(0.698, 0.032),
    "monte-carlo": _Figure(0.629, 0.032),
    "domias": _Figure(0.967, 0.010),
    "lira": _Figure(0.973, 0.010, {"levels": [_T100]}),
    "rmia": _Figure(0.982, 0.008, {"levels": [_T100]}),
}
"""100 patients a side, 16 noises, 8 shadows, 2000 released and 2000 reference images. Without shadows: measured by
formulas in plain numpy, apart from any code here; with shadows, by the attacks themselves."""
_SIGMAS = 4
_NULL_DEVIATION = 0.041
"""Of the AUC of 100 members against 100 others when nothing is known: √(201 / 120000)."""


def known_answers(seed: int, attacks: Iterable[Component[Attack]] | None = None) -> Iterator[KnownAnswer]:
    """Run membership attacks where the answer is known; default: all that are installed.

    On the population model AUC is 0.5. On the memorising one it is above chance, and 1 for attacks listed
    here that ask the model itself; those listed here also have a figure for the Gaussian. Others run by their
    defaults. No answer comes from an attack that needs settings, nor where it finds a model not applicable.
    """
    margin = _SIGMAS * _NULL_DEVIATION
    for component in _installed() if attacks is None else attacks:
        figure = _GAUSSIAN.get(component.name)
        attack = _build(component, figure.settings if figure else {})
        if attack is None or attack.game != "membership":
            continue
        yield from _answer(component.name, attack, "population", seed, 0.5 - margin, 0.5 + margin)
        certain = figure is not None and attack.access >= Access.LOSS
        yield from _answer(
            component.name, attack, "memorising", seed, 0.999 if certain else 0.5 + margin, 1.0
        )
        if figure:
            off = _SIGMAS * figure.deviation
            low, high = figure.mean - off, min(1.0, figure.mean + off)
            yield from _answer(component.name, attack, "gaussian", seed, low, high)


def _installed() -> Iterator[Component[Attack]]:
    return (offer.component for offer in discover().offers if offer.role == "attacks")


def _build(component: Component[Attack], settings: Mapping[str, Any]) -> Attack | None:
    """None for an attack that needs settings nobody gave."""
    try:
        given = None if component.settings is None else structure(dict(settings), component.settings)
    except Faults:
        return None
    return component.build(given)


def _answer(
    name: str, attack: Attack, kind: Kind, seed: int, low: float, high: float
) -> Iterator[KnownAnswer]:
    try:
        yield KnownAnswer(name, kind, measured_auc(attack, kind, seed), low, high)
    except NotApplicable:
        return


def _patients(count: int, images: int, rng: np.random.Generator) -> np.ndarray:
    shared = rng.standard_normal((count, 1, DIMENSIONS))
    own = rng.standard_normal((count, images, DIMENSIONS))
    share = _ALIKE if images > 1 else 0.0
    return to_pixels((np.sqrt(share) * shared + np.sqrt(1 - share) * own).reshape(-1, DIMENSIONS))


def _half(count: int, rng: np.random.Generator) -> np.ndarray:
    inside = np.zeros(count, dtype=bool)
    inside[rng.permutation(count)[: count // 2]] = True
    return inside


def _halves(count: int, shadows: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    for _ in range(shadows // 2):
        inside = _half(count, rng)
        yield inside
        yield ~inside


def _records(pixels: np.ndarray, patient: np.ndarray) -> Records:
    columns = {name: np.char.add(patient, f"-{name}") for name in ("slide", "image")}
    return Records(pixels, {"patient": patient, "label": np.full(len(patient), ""), **columns})


def _reference(count: int, images: int, rng: np.random.Generator) -> Records | None:
    if count == 0:
        return None
    names = np.char.add("r", np.arange(count).astype(str))
    return _records(_patients(count, images, rng), np.repeat(names, images))
