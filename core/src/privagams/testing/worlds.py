"""Small made-up worlds for attacks and metrics, above all two targets whose secret is known.

The *null* release has nothing to do with its members: an attack that beats chance on it is wrong. The *glass*
release shows what it was made from, nearly pixel by pixel: an attack that fails on it is none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from attrs import evolve, field, frozen

from privagams.access import Access, Shadow, Target, World
from privagams.component import Use
from privagams.errors import PluginError
from privagams.plugins import discover
from privagams.records import Records
from privagams.settings import Faults, structure

SIDE = 32
"""Px of every made-up image."""
CLASSES = ("benign", "tumour")
_GRID = 4
_GRAIN = 8

Kind = Literal["copies", "drawn"]
Secret = Literal["null", "glass"]


@frozen(eq=False)
class Case:
    """A release, its adversary, and the truth that only the kit knows."""

    target: Target
    world: World
    member: np.ndarray
    """Whether the release was made from the candidate patient, bool "k"."""
    owner: np.ndarray | None
    """Position in `world.patients` of the patient behind each released group; None for drawn images."""
    label: np.ndarray
    """Index in `CLASSES` of each candidate patient's label, int "k"; hidden from attacks on attributes."""
    seen: list[tuple[Access, str]] = field(factory=list)
    """What was asked of the model, and which access that takes."""


def images(people: np.ndarray, per_person: int, rng: np.random.Generator, channels: int = 3) -> np.ndarray:
    """Images of people, uint8 "n h w c": each person has a pattern, each image its own grain."""
    rows = np.repeat(people, per_person, axis=0)
    pattern = rows.repeat(SIDE // _GRID, axis=1).repeat(SIDE // _GRID, axis=2)[..., :channels]
    grain = rng.normal(0, _GRAIN, pattern.shape)
    return np.clip(np.rint(pattern + grain), 0, 255).astype(np.uint8)


def people(count: int, rng: np.random.Generator) -> np.ndarray:
    """Patterns of `count` people, float "count 4 4 3"."""
    return rng.uniform(40, 215, (count, _GRID, _GRID, 3))


def records(pixels: np.ndarray, patient: np.ndarray, label: np.ndarray) -> Records:
    """Records in memory, with all columns that records on disk have."""
    table = {"patient": patient.astype(str), "label": label.astype(str)}
    table |= {name: np.char.add(table["patient"], f"-{name}") for name in ("slide", "image")}
    return Records(pixels, table)


def case(
    secret: Secret,
    kind: Kind,
    access: Access = Access.RELEASED,
    patients: int = 12,
    seed: int = 11,
    shadows: int = 0,
    labels: bool = True,
) -> Case:
    """Make a world of `patients`, half of them members, and a release of the given kind and secret.

    `shadows` releases more are made by the same recipe from other halves. Without `labels` the candidates'
    are hidden.
    """
    rng = np.random.default_rng(seed)
    names = np.array(sorted(rng.bytes(6).hex() for _ in range(patients)))
    member = _half(patients, rng)
    everyone = people(patients, rng)
    known = images(everyone, 2, rng)
    shuffled = rng.permutation(len(known))
    owner = np.repeat(np.arange(patients), 2)[shuffled]
    candidates = records(known[shuffled], names[owner], np.array(CLASSES)[owner % 2])
    if not labels:
        candidates = evolve(candidates, table={n: c for n, c in candidates.table.items() if n != "label"})
    shown = _shown(known, member, secret, rng)
    strangers = people(max(4, patients // 3), rng)
    reference = records(
        images(strangers, 2, rng),
        np.repeat([f"r{i}" for i in range(len(strangers))], 2),
        np.repeat(np.array(CLASSES)[np.arange(len(strangers)) % 2], 2),
    )
    seen: list[tuple[Access, str]] = []
    behind = np.flatnonzero(member)
    released, groups = _released(shown, np.repeat(behind, 2), kind, rng)
    door = _model(shown, access, seen) if kind == "drawn" else _flow(access, seen)
    target = Target(released, access, groups, door, CLASSES)
    made = [_shadow(known, patients, secret, access, rng) for _ in range((shadows + 1) // 2)]
    both = tuple(shadow for pair in made for shadow in pair)[:shadows]
    world = World(candidates, names, reference, both, embedding(), CLASSES)
    truth = np.arange(patients) % 2
    return Case(target, world, member, behind if kind == "copies" else None, truth, seen)


def _half(patients: int, rng: np.random.Generator) -> np.ndarray:
    member = np.zeros(patients, dtype=bool)
    member[rng.permutation(patients)[: patients // 2]] = True
    return member


def _shown(known: np.ndarray, member: np.ndarray, secret: Secret, rng: np.random.Generator) -> np.ndarray:
    """What a release of these members shows: nearly their images, or other people's."""
    source = known[np.repeat(member, 2)]
    if secret == "null":
        source = images(people(int(member.sum()), rng), 2, rng)
    grain = rng.integers(-2, 3, source.shape)
    return np.clip(source.astype(np.int16) + grain, 0, 255).astype(np.uint8)


def _shadow(
    known: np.ndarray, patients: int, secret: Secret, access: Access, rng: np.random.Generator
) -> tuple[Shadow, Shadow]:
    """Two shadows, of one half of the patients and of the other."""
    half = _half(patients, rng)
    made = []
    for member in (half, ~half):
        shown = _shown(known, member, secret, rng)
        released, _ = _released(shown, np.repeat(np.flatnonzero(member), 2), "drawn", rng)
        made.append(Shadow(released, member, access, _model(shown, access, []), CLASSES))
    return made[0], made[1]


def _released(
    shown: np.ndarray, owner: np.ndarray, kind: Kind, rng: np.random.Generator
) -> tuple[Records, int | None]:
    label = np.array(CLASSES)[owner % 2]
    if kind == "copies":
        _, group = np.unique(owner, return_inverse=True)
        return Records(shown, {"group": group.astype(np.int64), "label": label}), int(group.max()) + 1
    order = rng.permutation(len(shown))
    return Records(shown[order], {"label": label[order]}), None


def _model(shown: np.ndarray, access: Access, seen: list[tuple[Access, str]]) -> Callable[[], Any]:
    """A door to the model that notes who passes."""

    def model() -> Any:
        seen.append((Access.QUERY, "the model"))
        if access < Access.QUERY:
            return None
        from privagams.testing.memory import Memory

        return Memory(shown, lambda level, what: seen.append((level, what)))

    return model


def _flow(access: Access, seen: list[tuple[Access, str]]) -> Callable[[], Any]:
    """A door to the model behind copies: a flow, as local mechanisms on latents use it."""

    def model() -> Any:
        if access < Access.QUERY:
            seen.append((Access.QUERY, "the model"))
            return None
        from privagams.testing.mirror import Mirror

        return Mirror((3, SIDE, SIDE), lambda level, what: seen.append((level, what)))

    return model


def embedding() -> Callable[[Use, Records], np.ndarray]:
    """`World.features` by the installed embedders, built when first asked for."""
    built: dict[str, Any] = {}

    def features(use: Use, wanted: Records) -> np.ndarray:
        if use.name not in built:
            component = discover().get("embedders", use.name).component
            try:
                settings = (
                    None if component.settings is None else structure(dict(use.settings), component.settings)
                )
            except Faults as faults:
                raise PluginError(
                    f"embedder {use.name!r}: {faults}; give it other settings for the check"
                ) from faults
            built[use.name] = component.build(settings)
        return np.asarray(built[use.name].embed(wanted.read()), dtype=np.float32)

    return features
