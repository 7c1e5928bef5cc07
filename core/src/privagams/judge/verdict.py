"""The judge's result on one attack: figures, what the claim allows, and a sentence anybody can read."""

from __future__ import annotations

import math

import numpy as np
from attrs import frozen

from privagams.errors import PluginError
from privagams.evidence import Measurement
from privagams.judge import words
from privagams.judge.gate import Bound, Strength
from privagams.judge.intervals import auc_variance
from privagams.judge.linkage import linkage, rank_probes
from privagams.judge.membership import RATES, membership_like, resolves
from privagams.splits import AUXILIARY, MEMBER, SAME_IMAGE, SplitTable


@frozen(eq=False)
class Truth:
    """What only the judge knows. Arrays over candidate patients, "k", in the order of `World.patients`."""

    patients: np.ndarray
    member: np.ndarray
    """Whether the patient's images were trained on or released, bool "k"."""
    relation: np.ndarray
    """How the candidate images relate to the patient's main ones; empty where not known."""
    groups: np.ndarray | None = None
    """The true patient of each released group; None for drawn images."""


def truth_of(split: SplitTable, patients: np.ndarray, groups: np.ndarray | None = None) -> Truth:
    """Make the truth about candidate `patients` whose auxiliary images the adversary holds."""
    held = split.where(part=AUXILIARY)
    relation = dict(zip(split.patient[held].tolist(), split.relation[held].tolist(), strict=True))
    members = set(split.patients(MEMBER).tolist())
    names = [str(name) for name in patients]
    return Truth(
        np.array(names, dtype=str),
        np.array([name in members for name in names], dtype=bool),
        np.array([relation.get(name, "") for name in names], dtype=str),
        None if groups is None else np.array([str(name) for name in groups], dtype=str),
    )


@frozen
class Verdict:
    """One attack on one release, judged. Plain values only, so that it can be stored as JSON."""

    release: str
    attack: str
    game: str
    access: str
    relation: str
    """How the adversary's images relate to the released or trained ones, for the headline."""
    measurements: tuple[Measurement, ...]
    """Headline first; those noted "same image" are not part of any headline."""
    p_value: float | None
    """Of the headline (mrr or auc) by permutation of patients; None without a headline."""
    cap: float | None
    """The largest top-1 or auc that the release's claim allows; None where it claims nothing."""
    sentence: str
    worst_off: str
    bounds: tuple[Bound, ...]
    """What the gate tests against the claim."""
    not_tested: tuple[str, ...]

    @property
    def headline(self) -> Measurement | None:
        """`top-1` or `auc` where the adversary's images are other ones; None when nobody could be tested."""
        first = self.measurements[0] if self.measurements else None
        return first if first is not None and not first.note.startswith(SAME_IMAGE) else None


def judge(
    scores: np.ndarray,
    truth: Truth,
    *,
    release: str,
    attack: str,
    game: str,
    access: str,
    epsilon: float,
    delta: float,
    rng: np.random.Generator,
) -> Verdict:
    """Join scores with truth. `epsilon`, `delta`: the release's own claim; inf for a yardstick.

    Raises `PluginError` when the scores have the wrong shape or are not finite.
    """
    scores = _checked(np.asarray(scores, dtype=np.float64), truth, attack)
    same = truth.relation == SAME_IMAGE
    measurements, p_value, strengths = _measure(scores, truth, ~same, "", rng)
    marked, _, marked_strengths = _measure(scores, truth, same, SAME_IMAGE, rng)
    bounds = [
        Bound(release, attack, strength, epsilon, delta, note)
        for strength, note in ((strengths, ""), (marked_strengths, SAME_IMAGE))
        if strength is not None and math.isfinite(epsilon)
    ]
    relation = words.joined(sorted(set(truth.relation[~same & truth.member].tolist()) - {""}), "or")
    about = words.About(game, truth.groups is not None, relation, same.any())
    return Verdict(
        release=release,
        attack=attack,
        game=game,
        access=access,
        relation=relation,
        measurements=(*measurements, *marked),
        p_value=p_value if measurements else None,
        cap=bounds[0].cap if bounds else None,
        sentence=words.sentence(about, measurements, marked, p_value),
        worst_off=words.worst_off(about, measurements),
        bounds=tuple(bounds),
        not_tested=_not_tested(truth, measurements),
    )


def _measure(
    scores: np.ndarray, truth: Truth, wanted: np.ndarray, note: str, rng: np.random.Generator
) -> tuple[list[Measurement], float, Strength | None]:
    """Measure the wanted candidates; the strength is what the gate needs to know of the headline."""
    if truth.groups is not None:
        found, p_value = linkage(rank_probes(scores, truth.groups, truth.patients, wanted), rng, note)
        return found, p_value, Strength("top-1", found[0].value, 0.0, found[0].n, 0) if found else None
    member = truth.member[wanted]
    found, p_value = membership_like(scores[wanted], member, rng, note)
    if not found:
        return found, p_value, None
    variance = auc_variance(scores[wanted][member], scores[wanted][~member])
    counts = int(member.sum()), int((~member).sum())
    return found, p_value, Strength("auc", found[0].value, variance, *counts)


def _checked(scores: np.ndarray, truth: Truth, attack: str) -> np.ndarray:
    expected: tuple[int, ...] = (len(truth.patients),)
    if truth.groups is not None:
        expected = (len(truth.groups), *expected)
    if scores.shape != expected:
        raise PluginError(
            f"attack {attack!r}: expected scores of shape {expected} "
            f"({'groups by ' if truth.groups is not None else ''}candidate patients), found {scores.shape}; "
            "give one score for each, in the order of World.patients"
        )
    if not np.isfinite(scores).all():
        raise PluginError(
            f"attack {attack!r}: expected finite scores, found {int((~np.isfinite(scores)).sum())} "
            "that are not; replace inf and nan by a number that sorts as you mean it"
        )
    return scores


def _not_tested(truth: Truth, measurements: list[Measurement]) -> tuple[str, ...]:
    missing = [
        "a lower bound on ε (no canaries were planted)",
        "a blind baseline (an attack that sees no release)",
    ]
    if truth.groups is None and measurements:
        nonmembers = int((~truth.member & (truth.relation != SAME_IMAGE)).sum())
        missing += [
            f"tpr@{rate:g}: {nonmembers} non-member patients are too few for this false positive rate"
            for rate in RATES
            if not resolves(nonmembers, rate)
        ]
    return tuple(missing)
