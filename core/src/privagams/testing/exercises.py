"""One run through what a component of each role does, for the laws that hold for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from attrs import frozen

from privagams.access import Access, Scores
from privagams.errors import AccessError, NotApplicable
from privagams.records import Records
from privagams.testing import worlds
from privagams.testing.files import sample_file
from privagams.testing.subject import Bench, NotConcerned, Subject


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
    real, released, world = metric_inputs()
    arrays: list[Any] = [a for r in (real, released) for a in (r.pixels, *r.table.values())]
    before = [np.array(a) for a in arrays]
    found = subject.build().measure(real, released, world, np.random.default_rng(5))
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


_EXERCISES: dict[str, Callable[[Subject, Bench], Exercise]] = {
    "readers": _reader, "generators": _generator, "mechanisms": _mechanism,
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
    """The releases on which an attack is run: there is no model behind copies, and no shadow of them."""
    return ("drawn",) if attack.access > Access.RELEASED or attack.shadows else ("copies", "drawn")


def metric_inputs(per_patient: int = 4) -> tuple[Any, Any, Any]:
    """Real images of 12 non-members, 48 released ones, and a world."""
    rng = np.random.default_rng(31)
    owner = np.arange(12).repeat(per_patient)
    label = np.array(worlds.CLASSES)[owner % 2]
    names = np.char.add("p", owner.astype(str))
    real = worlds.records(worlds.images(_by_class(12, rng), per_patient, rng), names, label)
    rng = np.random.default_rng(37)
    drawn = worlds.images(_by_class(48, rng), 1, rng)
    released = Records(drawn, {"label": np.array(worlds.CLASSES)[np.arange(48) % 2]})
    return real, released, worlds.case("null", "drawn").world


def _by_class(count: int, rng: np.random.Generator) -> np.ndarray:
    """Patterns of people whose class can be seen: every second one's are brighter."""
    patterns = worlds.people(count, rng) / 2
    patterns[1::2] += 110
    return patterns
