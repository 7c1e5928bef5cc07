"""Laws of attacks: honest scores, from no more than what was declared."""
# ruff: noqa: PT018 - the halves of an assertion share one message

from __future__ import annotations

import math
from typing import Any, get_args

import numpy as np
from attrs import evolve
from scipy.stats import rankdata

from privagams.access import Access, Holds, World
from privagams.errors import AccessError, NotApplicable
from privagams.roles import Game
from privagams.testing import worlds
from privagams.testing.exercises import cases, kinds, played
from privagams.testing.subject import Bench, NotConcerned, Subject

_PATIENTS = 160
_SIGMAS = 5
_NEAR = 1e-6
"""Scores may differ by this share of their spread: sums in another order round differently."""


def check_declares_game_and_access(subject: Subject, bench: Bench) -> None:
    """`game`, `access`, `holds`, `labels` and `shadows` are declared, as values that the core knows.

    If this fails, set them on the class: `game = "linkage"`, `access = Access.RELEASED`,
    `holds = "other images"`, `labels = False`, `shadows = 0`. How many shadows it needs comes from a field
    `shadows: int` of its settings class.
    """
    attack = subject.build()
    assert attack.game in get_args(Game), f"game {attack.game!r}: expected one of {', '.join(get_args(Game))}"
    assert isinstance(attack.access, Access), f"access {attack.access!r}: expected a member of Access"
    assert attack.holds in get_args(Holds), (
        f"holds {attack.holds!r}: expected one of {', '.join(get_args(Holds))}"
    )
    assert type(attack.labels) is bool, f"labels {attack.labels!r}: expected True or False"
    assert type(attack.shadows) is int and attack.shadows >= 0, f"shadows {attack.shadows!r}"
    asked = getattr(subject.structured(), "shadows", 0)
    assert attack.shadows == asked, f"needs {attack.shadows} shadows, its settings ask for {asked}"


def check_one_finite_score_per_candidate(subject: Subject, bench: Bench) -> None:
    """Scores are finite, one for each candidate patient; in linkage of copies a row of them for each group,
    and for an attribute one for each of its options.

    If this fails, replace inf and nan by a number that sorts as you mean it, and average over a patient's
    images.
    """
    attack = subject.build()
    for case, scores in played(attack, "glass"):
        expected: tuple[int, ...] = (len(case.world.patients),)
        if case.target.groups is not None and attack.game == "linkage":
            expected = (case.target.groups, *expected)
        found = scores.shape[:1] if attack.game == "attribute" and scores.ndim == 2 else scores.shape
        assert found == expected, f"expected shape {expected}, found {scores.shape}"
        assert np.isfinite(scores).all(), "not finite"


def check_permuting_candidates_permutes_scores(subject: Subject, bench: Bench) -> None:
    """Candidates in another order get the same scores in that order.

    If this fails, look each patient up in `world.patients`; do not sort, and do not count on how images lie.
    """
    attack = subject.build()
    for case, scores in played(attack, "glass"):
        rng = np.random.default_rng(3)
        order = rng.permutation(len(case.world.patients))
        images = rng.permutation(len(case.world.candidates))
        world = evolve(
            case.world,
            patients=case.world.patients[order],
            candidates=case.world.candidates.take(images),
            shadows=[evolve(shadow, member=shadow.member[order]) for shadow in case.world.shadows],
        )
        along = 0 if attack.game == "attribute" else -1
        gap = _gap(scores.take(order, axis=along), _run(attack, case, world))
        assert gap < _NEAR, f"scores differ by {gap:.2g} of their spread when candidates change places"


def check_group_is_scored_by_itself(subject: Subject, bench: Bench) -> None:
    """In linkage of copies, a group's row depends on that group's images alone.

    The judge's bound on ε counts each guess as one made from its patient's release only. If this fails, do
    not compare groups with each other, and scale by the adversary's own images.
    """
    attack = subject.build()
    if attack.game != "linkage" or "copies" not in kinds(attack):
        raise NotConcerned("it links no copies")
    for case, scores in played(attack, "glass"):
        if case.owner is None:
            continue
        others = case.target.released.table["group"] != 0
        pixels = np.array(case.target.released.pixels)
        pixels[others] = 255 - pixels[others][:, ::-1]
        target = evolve(case.target, released=evolve(case.target.released, pixels=pixels))
        gap = _gap(scores[0], _run(attack, evolve(case, target=target))[0])
        assert gap < _NEAR, (
            f"a group's scores change by {gap:.2g} of their spread with the other groups' images"
        )


def check_null_release_gives_chance(subject: Subject, bench: Bench) -> None:
    """On a release that has nothing to do with its members, the attack is right as often as a guess.

    If this fails, the attack has found a difference between candidates, not a leak; or it uses the same thing
    twice.
    """
    for case, auc in _accuracy(subject, "null"):
        assert abs(auc - 0.5) <= _margin(case), (
            f"AUC {auc:.3f} on the null release, expected 0.5 within {_margin(case):.3f}"
        )


def check_glass_release_is_seen_through(subject: Subject, bench: Bench) -> None:
    """On a release that shows its members' images, the attack is right far more often than a guess.

    If this fails, look at the scores' sign: higher must mean believed more.
    """
    for case, auc in _accuracy(subject, "glass"):
        assert auc > 0.5 + _margin(case), (
            f"AUC {auc:.3f} on the glass release, expected more than {0.5 + _margin(case):.3f}"
        )


def check_nothing_above_the_declared_access(subject: Subject, bench: Bench) -> None:
    """The attack asks the target for no more than the access it declares.

    If this fails, declare the access that the message names.
    """
    attack = subject.build()
    for case in cases(attack, "glass"):
        try:
            attack.run(case.target, case.world, np.random.default_rng(5))
        except NotApplicable:
            continue
        except AccessError as error:
            raise AssertionError(str(error)) from error
        above = sorted(
            {f"{what} ({level.name.lower()})" for level, what in case.seen if level > attack.access}
        )
        assert not above, f"declared {attack.access.name.lower()!r} and used {', '.join(above)}"


def _run(attack: Any, case: worlds.Case, world: World | None = None) -> np.ndarray:
    scores = attack.run(case.target, world or case.world, np.random.default_rng(5))
    return np.asarray(scores.values, dtype=np.float64)


def _gap(one: np.ndarray, other: np.ndarray) -> float:
    """Largest difference, as a share of the scores' spread."""
    return float(np.abs(one - other).max() / (np.ptp(one) + 1e-12))


def _accuracy(subject: Subject, secret: worlds.Secret) -> list[tuple[worlds.Case, float]]:
    """How often the attack is right about who is behind a release, on each kind of it."""
    attack = subject.build()
    found = []
    for case, scores in played(attack, secret, _PATIENTS):
        if attack.game == "attribute":
            # Right about members, whose images were shown, rather than about others.
            scores = scores[np.arange(len(scores)), case.label] - scores.mean(axis=1)
        found.append((case, _linked(scores, case) if scores.ndim == 2 else _separated(scores, case.member)))
    return found


def _linked(scores: np.ndarray, case: worlds.Case) -> float:
    """Mean share of candidates that the true patient of a group outranks; ties count half."""
    assert case.owner is not None
    ranks = rankdata(scores, axis=1)[np.arange(len(scores)), case.owner]
    return float((ranks - 1).mean() / (scores.shape[1] - 1))


def _separated(scores: np.ndarray, member: np.ndarray) -> float:
    """AUC of members against non-members; ties count half."""
    inside, outside = member.sum(), (~member).sum()
    above = rankdata(scores)[member].sum() - inside * (inside + 1) / 2
    return float(above / (inside * outside))


def _margin(case: worlds.Case) -> float:
    """Five standard deviations of the figure when the attack knows nothing."""
    half = _PATIENTS // 2
    if case.owner is not None:
        return _SIGMAS * math.sqrt(1 / 12 / half)
    return _SIGMAS * math.sqrt((_PATIENTS + 1) / (12 * half * half))
