"""One run through what a component of each role does, for the laws that hold for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from attrs import frozen

from privagams.access import Access, Scores
from privagams.errors import AccessError, NotApplicable
from privagams.evidence import Measurement
from privagams.records import Records
from privagams.roles import Coordinates, PairedMetric
from privagams.testing import worlds
from privagams.testing.files import sample_file
from privagams.testing.subject import LOCAL, Bench, NotConcerned, Subject


@frozen(eq=False)
class Exercise:
    """What came out, and what became of what was handed in."""

    results: list[np.ndarray]
    given: list[tuple[np.ndarray, np.ndarray]]
    """Pairs (before, after)."""


def exercise(subject: Subject, bench: Bench) -> Exercise:
    """Build the component anew and use it once, with fixed seeds."""
    return _EXERCISES[subject.role](subject, bench)


def _reader(subject: Subject, bench: Bench) -> Exercise:
    path = sample_file(bench)
    before = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    slide = subject.build().open(path)
    try:
        read = slide.read(3, 5, 40, 30, 1.0)
    finally:
        slide.close()
    return Exercise([read], [(before, np.frombuffer(path.read_bytes(), dtype=np.uint8))])


def _embedder(subject: Subject, bench: Bench) -> Exercise:
    pixels = pictures()
    before = pixels.copy()
    return Exercise([np.asarray(subject.build().embed(pixels))], [(before, pixels)])


def _attack(subject: Subject, bench: Bench) -> Exercise:
    attack = subject.build()
    results, given = [], []
    for case in cases(attack, "glass"):
        arrays: list[Any] = [
            case.world.patients,
            *(
                a
                for r in (case.target.released, case.world.candidates)
                for a in (r.pixels, *r.table.values())
            ),
        ]
        before = [np.array(a) for a in arrays]
        try:
            results.append(attack.run(case.target, case.world, np.random.default_rng(5)).values)
        except (NotApplicable, AccessError):
            continue
        given += list(zip(before, arrays, strict=True))
    if not results:
        raise NotConcerned("the kit has no release for it")
    return Exercise(results, given)


def _metric(subject: Subject, bench: Bench) -> Exercise:
    metric = subject.build()
    given = metric_inputs(metric)
    arrays: list[Any] = [a for r in given[:-1] for a in (r.pixels, *r.table.values())]
    before = [np.array(a) for a in arrays]
    found = measure(metric, given, np.random.default_rng(5))
    values = np.array([[m.value, m.low, m.high, m.n] for m in found], dtype=np.float64)
    return Exercise([values], list(zip(before, arrays, strict=True)))


def _generator(subject: Subject, bench: Bench) -> Exercise:
    from privagams.testing.models import exercise_model

    return Exercise(*exercise_model(subject.build()))


def _mechanism(subject: Subject, bench: Bench) -> Exercise:
    import torch

    mechanism = subject.build()
    vectors = [torch.full((2, 3), 1.5), torch.full((2, 4, 2), -2.5)]
    before = [v.numpy().copy() for v in vectors]
    door = mechanism.noisy_sum([torch.zeros(3), torch.zeros(4, 2)], 1.0, 50)
    door.sample(50)
    door.add(vectors)
    door.release()
    return Exercise([], [(b, v.numpy()) for b, v in zip(before, vectors, strict=True)])


def _local_mechanism(subject: Subject, bench: Bench) -> Exercise:
    vectors = np.random.default_rng(3).normal(0, 2, (4, 32))
    labels = np.arange(4) % len(worlds.CLASSES)
    before = vectors.copy(), labels.copy()
    made = subject.build().randomiser(Coordinates(32, np.arange), len(worlds.CLASSES), 1)
    made.randomise(vectors)
    made.labels(labels, np.random.default_rng(5))
    return Exercise([], list(zip(before, (vectors, labels), strict=True)))


_EXERCISES: dict[str, Callable[[Subject, Bench], Exercise]] = {
    "readers": _reader, "generators": _generator, "mechanisms": _mechanism, LOCAL: _local_mechanism,
    "embedders": _embedder, "attacks": _attack, "metrics": _metric,
}  # fmt: skip


def pictures(channels: int = 3, count: int = 5) -> np.ndarray:
    """Images of different people, uint8 "n h w c"."""
    rng = np.random.default_rng(23)
    return worlds.images(worlds.people(count, rng), 1, rng, channels)


def cases(attack: Any, secret: worlds.Secret, patients: int = 12) -> Iterator[worlds.Case]:
    """A world for each kind of release, with the shadows and labels that the attack declares.

    A kind on which the attack turns out not to be applicable is left out by `played`.
    """
    for kind in kinds(attack):
        yield worlds.case(secret, kind, attack.access, patients, shadows=attack.shadows, labels=attack.labels)


def played(
    attack: Any, secret: worlds.Secret, patients: int = 12
) -> Iterator[tuple[worlds.Case, np.ndarray]]:
    """Each case with the scores that the attack gives; `NotConcerned` when it can be run on none."""
    count, why = 0, ""
    for case in cases(attack, secret, patients):
        try:
            found = attack.run(case.target, case.world, np.random.default_rng(5))
        except (NotApplicable, AccessError) as error:
            why = str(error)  # too much access is the business of the law about it
            continue
        assert isinstance(found, Scores), f"run: expected Scores, found {type(found).__name__}"
        count += 1
        yield case, np.asarray(found.values, dtype=np.float64)
    if not count:
        raise NotConcerned(f"the kit has no release for it: {why}")


def kinds(attack: Any) -> tuple[worlds.Kind, ...]:
    """The releases on which an attack is run: no shadow is made of copies, and only linkage needs their model."""
    if attack.shadows or (attack.access > Access.RELEASED and attack.game != "linkage"):
        return ("drawn",)
    return ("copies", "drawn")


def metric_inputs(metric: Any, per_patient: int = 4) -> tuple[Any, ...]:
    """What a metric is handed: real images of 12 non-members, 48 released ones, and a world.

    For a `PairedMetric` there are copies in place of drawn images, and before them their originals, of 12 members.
    """
    rng = np.random.default_rng(31)
    owner = np.arange(12).repeat(per_patient)
    label = np.array(worlds.CLASSES)[owner % 2]
    real, originals = (
        worlds.records(
            worlds.images(_by_class(12, rng), per_patient, rng), np.char.add(who, owner.astype(str)), label
        )
        for who in ("p", "m")
    )
    world = worlds.case("null", "drawn").world
    if isinstance(metric, PairedMetric):
        grain = rng.normal(0, 20, originals.pixels.shape)
        copies = np.clip(np.rint(np.array(originals.pixels) + grain), 0, 255).astype(np.uint8)
        return real, originals, Records(copies, {"group": np.arange(len(copies))}), world
    rng = np.random.default_rng(37)
    drawn = worlds.images(_by_class(48, rng), 1, rng)
    return real, Records(drawn, {"label": np.array(worlds.CLASSES)[np.arange(48) % 2]}), world


def measure(metric: Any, given: tuple[Any, ...], rng: np.random.Generator) -> Iterable[Measurement]:
    """Ask a metric in the way of its role."""
    ask: Callable[..., Any] = metric.measure_pairs if isinstance(metric, PairedMetric) else metric.measure
    found: Iterable[Measurement] = ask(*given, rng)
    return found


def _by_class(count: int, rng: np.random.Generator) -> np.ndarray:
    """Patterns of people whose class can be seen: every second one's are brighter."""
    patterns = worlds.people(count, rng) / 2
    patterns[1::2] += 110
    return patterns
