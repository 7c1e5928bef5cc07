"""Laws of attacks: honest scores, from no more than what was declared."""
# ruff: noqa: PT018 - the halves of an assertion share one message

from __future__ import annotations

import math
from typing import Any, get_args

import numpy as np
from attrs import evolve
from scipy.stats import rankdata

from privagams.access import Access, Scores, World
from privagams.errors import AccessError
from privagams.roles import Game
from privagams.testing import worlds
from privagams.testing.exercises import kinds, runnable
from privagams.testing.subject import Bench, NotConcerned, Subject

_PATIENTS = 160
_SIGMAS = 5
_NEAR = 1e-6
"""Scores may differ by this share of their spread: sums in another order round differently."""


def check_declares_game_and_access(subject: Subject, bench: Bench) -> None:
    """`game`, `access` and `shadows` are declared, as values that the core knows.

    If this fails, set them on the class: `game = "linkage"`, `access = Access.RELEASED`, `shadows = 0`.
    """
    attack = subject.build()
    assert attack.game in get_args(Game), f"game {attack.game!r}: expected one of {', '.join(get_args(Game))}"
    assert isinstance(attack.access, Access), f"access {attack.access!r}: expected a member of Access"
    assert type(attack.shadows) is int and attack.shadows >= 0, f"shadows {attack.shadows!r}"


def check_one_finite_score_per_candidate(subject: Subject, bench: Bench) -> None:
    """Scores are finite, one for each candidate patient; in linkage of copies a row of them for each group.

    If this fails, replace inf and nan by a number that sorts as you mean it, and average over a patient's
    images.
    """
    attack = runnable(subject)
    for kind in kinds(attack):
        case = worlds.case("glass", kind, attack.access)
        scores = _run(attack, case)
        expected: tuple[int, ...] = (len(case.world.patients),)
        if case.target.groups is not None and attack.game == "linkage":
            expected = (case.target.groups, *expected)
        assert scores.shape == expected, f"{kind}: expected shape {expected}, found {scores.shape}"
        assert np.isfinite(scores).all(), f"{kind}: not finite"


def check_permuting_candidates_permutes_scores(subject: Subject, bench: Bench) -> None:
    """Candidates in another order get the same scores in that order.

    If this fails, look each patient up in `world.patients`; do not sort, and do not count on how images lie.
    """
    attack = runnable(subject)
    for kind in kinds(attack):
        case = worlds.case("glass", kind, attack.access)
        rng = np.random.default_rng(3)
        order = rng.permutation(len(case.world.patients))
        images = rng.permutation(len(case.world.candidates))
        world = evolve(
            case.world, patients=case.world.patients[order], candidates=case.world.candidates.take(images)
        )
        gap = _gap(_run(attack, case)[..., order], _run(attack, case, world))
        assert gap < _NEAR, (
            f"{kind}: scores differ by {gap:.2g} of their spread when candidates change places"
        )


def check_group_is_scored_by_itself(subject: Subject, bench: Bench) -> None:
    """In linkage of copies, a group's row depends on that group's images alone.

    The judge's bound on ε counts each guess as one made from its patient's release only. If this fails, do
    not compare groups with each other, and scale by the adversary's own images.
    """
    attack = runnable(subject)
    if attack.game != "linkage" or "copies" not in kinds(attack):
        raise NotConcerned("it links no copies")
    case = worlds.case("glass", "copies", attack.access)
    others = case.target.released.table["group"] != 0
    pixels = np.array(case.target.released.pixels)
    pixels[others] = 255 - pixels[others][:, ::-1]
    target = evolve(case.target, released=evolve(case.target.released, pixels=pixels))
    gap = _gap(_run(attack, case)[0], _run(attack, evolve(case, target=target))[0])
    assert gap < _NEAR, f"a group's scores change by {gap:.2g} of their spread with the other groups' images"


def check_null_release_gives_chance(subject: Subject, bench: Bench) -> None:
    """On a release that has nothing to do with its members, the attack is right as often as a guess.

    If this fails, the attack has found a difference between candidates, not a leak; or it uses the same thing
    twice.
    """
    for kind, auc in _accuracy(subject, "null"):
        assert abs(auc - 0.5) <= _margin(kind), (
            f"{kind}: AUC {auc:.3f} on the null release, expected 0.5 within {_margin(kind):.3f}"
        )


def check_glass_release_is_seen_through(subject: Subject, bench: Bench) -> None:
    """On a release that shows its members' images, the attack is right far more often than a guess.

    If this fails, look at the scores' sign: higher must mean believed more.
    """
    for kind, auc in _accuracy(subject, "glass"):
        assert auc > 0.5 + _margin(kind), (
            f"{kind}: AUC {auc:.3f} on the glass release, expected more than {0.5 + _margin(kind):.3f}"
        )


def check_nothing_above_the_declared_access(subject: Subject, bench: Bench) -> None:
    """The attack asks the target for no more than the access it declares.

    If this fails, declare the access that the message names.
    """
    attack = runnable(subject)
    for kind in kinds(attack):
        case = worlds.case("glass", kind, attack.access)
        try:
            attack.run(case.target, case.world, np.random.default_rng(5))
        except AccessError as error:
            raise AssertionError(f"{kind}: {error}") from error
        above = sorted(
            {f"{what} ({level.name.lower()})" for level, what in case.seen if level > attack.access}
        )
        assert not above, f"{kind}: declared {attack.access.name.lower()!r} and used {', '.join(above)}"


def _run(attack: Any, case: worlds.Case, world: World | None = None) -> np.ndarray:
    scores = attack.run(case.target, world or case.world, np.random.default_rng(5))
    assert isinstance(scores, Scores), f"run: expected Scores, found {type(scores).__name__}"
    return np.asarray(scores.values, dtype=np.float64)


def _gap(one: np.ndarray, other: np.ndarray) -> float:
    """Largest difference, as a share of the scores' spread."""
    return float(np.abs(one - other).max() / (np.ptp(one) + 1e-12))


def _accuracy(subject: Subject, secret: worlds.Secret) -> list[tuple[worlds.Kind, float]]:
    attack = runnable(subject)
    if attack.game not in ("linkage", "membership"):
        raise NotConcerned(f"the kit knows no truth for the game {attack.game!r}")
    found = []
    for kind in kinds(attack):
        case = worlds.case(secret, kind, attack.access, _PATIENTS)
        scores = _run(attack, case)
        found.append((kind, _linked(scores, case) if scores.ndim == 2 else _separated(scores, case.member)))
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


def _margin(kind: worlds.Kind) -> float:
    """Five standard deviations of the figure when the attack knows nothing."""
    half = _PATIENTS // 2
    if kind == "copies":
        return _SIGMAS * math.sqrt(1 / 12 / half)
    return _SIGMAS * math.sqrt((_PATIENTS + 1) / (12 * half * half))
