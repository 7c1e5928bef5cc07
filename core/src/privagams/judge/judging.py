"""Joins an attack's scores with the truth: which statistics each game takes, and what the gate is given."""

from __future__ import annotations

import math

import numpy as np
from attrs import evolve, frozen

from privagams.access import Scores
from privagams.evidence import Measurement
from privagams.judge import curves, words
from privagams.judge.alignment import aligned, image_scores
from privagams.judge.attribute import guessed
from privagams.judge.blind import Blind
from privagams.judge.bounds import LOWER_BOUND
from privagams.judge.calls import called
from privagams.judge.canaries import patients_as_canaries
from privagams.judge.gate import Bound, Strength
from privagams.judge.intervals import auc_variance
from privagams.judge.linkage import linkage, linkage_bound, rank_probes
from privagams.judge.membership import RATES, membership_like, resolves
from privagams.judge.strata import by_relation, by_section_distance, within_site
from privagams.judge.truth import Truth
from privagams.judge.verdict import Verdict
from privagams.splits import SAME_IMAGE

CONSTANT = "every score is the same"
PATIENTS = "patients as canaries"


@frozen(eq=False)
class _Found:
    """What one set of candidates gave; `strength` is and `guesses` are what the gate needs to know of it."""

    measurements: tuple[Measurement, ...] = ()
    p_value: float = 1.0
    strength: Strength | None = None
    guesses: Strength | None = None
    """Of patients as canaries; `strength` is of the headline."""
    roc: curves.Points = ()
    rank: curves.Points = ()


def judge(
    scores: Scores,
    truth: Truth,
    *,
    release: str,
    attack: str,
    game: str,
    access: str,
    epsilon: float,
    delta: float,
    rng: np.random.Generator,
    blind: Blind | None = None,
    gate_epsilon: float | None = None,
    gate_delta: float | None = None,
) -> Verdict:
    """Judge one attack. `epsilon`, `delta`: the release's own claim; inf for a yardstick.

    `blind`: the blind baseline of these candidates; not for linkage of copies, where every candidate is compared
    with every other and not members with non-members. `gate_epsilon`, `gate_delta`: the same claim priced at a much
    smaller δ, as in `canary_verdict`; where given, the patients' guesses are tested by the gate as well.
    Raises `PluginError` when scores have the wrong shape, are not finite, or are of other patients.
    """
    values = aligned(scores, truth, game, attack)
    same = truth.relation == SAME_IMAGE
    if game == "attribute":
        main, marked = _attribute(values, scores, truth, rng), _Found()
    else:
        claim = epsilon, delta
        main = _measured(values, scores, truth, ~same, game, claim, "", rng)
        marked = _measured(values, scores, truth, same, game, claim, SAME_IMAGE, rng)
    if values.size and values.min() == values.max():
        main, marked = _noted(main, CONSTANT), _noted(marked, CONSTANT)
    compares = truth.groups is None
    interpretable = not (compares and blind is not None and blind.beats_chance)
    bounds = [
        Bound(release, attack, found.strength, epsilon, delta, note)
        for found, note in ((main, ""), (marked, SAME_IMAGE))
        if found.strength is not None and math.isfinite(epsilon) and interpretable
    ]
    if bounds and main.guesses is not None and gate_epsilon is not None and gate_delta is not None:
        bounds.append(Bound(release, attack, main.guesses, gate_epsilon, gate_delta, PATIENTS))
    relation = words.joined(sorted(set(truth.relation[~same & truth.member].tolist()) - {""}), "or")
    about = words.About(
        game, not compares, relation, bool(same.any()), truth.holds, scores.attribute,
        int(truth.member.sum()), int((~truth.member).sum()), None if interpretable else blind,
    )  # fmt: skip
    beside = (blind.measurement,) if compares and blind is not None and main.measurements else ()
    apart = _apart(values, scores, truth, same, game, attack) if not compares else ()
    headed = bool(main.measurements) and game != "attribute"
    return Verdict(
        release=release,
        attack=attack,
        game=game,
        access=access,
        relation=relation,
        measurements=(*main.measurements, *beside, *marked.measurements, *apart),
        p_value=main.p_value if main.measurements else None,
        cap=bounds[0].cap if bounds and headed else None,
        sentence=words.sentence(about, main.measurements, marked.measurements, main.p_value),
        worst_off=words.worst_off(about, main.measurements),
        bounds=tuple(bounds),
        not_tested=_not_tested(truth, game, main, marked, blind),
        interpretable=interpretable,
        roc=main.roc,
        rank=main.rank,
        p_same_image=marked.p_value if marked.measurements else None,
    )


def _measured(
    values: np.ndarray, scores: Scores, truth: Truth, wanted: np.ndarray, game: str, claim: tuple[float, float],
    note: str, rng: np.random.Generator,
) -> _Found:  # fmt: skip
    if truth.groups is not None:
        return _linked(values, scores, truth, wanted, claim, note, rng)
    return _told_apart(values[wanted], scores, truth, truth.member[wanted], game, claim[1], note, rng)


def _linked(
    values: np.ndarray, scores: Scores, truth: Truth, wanted: np.ndarray, claim: tuple[float, float], note: str,
    rng: np.random.Generator,
) -> _Found:  # fmt: skip
    assert truth.groups is not None
    found, p_value = linkage(rank_probes(values, truth.groups, truth.patients, wanted), rng, note)
    if not found:
        return _Found()
    if scores.threshold is not None:
        # A candidate is called when any released group is believed to be theirs, member or not.
        hits = np.asarray((values > scores.threshold).any(axis=0))
        found += called(hits[wanted], truth.member[wanted], "found", note)
    strength = Strength("top-1", found[0].value, 0.0, found[0].n, 0)
    if math.isfinite(claim[0]):
        found.append(linkage_bound(strength, claim[1], note))
    points = curves.rank(values, truth.groups, truth.patients, wanted)
    return _Found(tuple(found), p_value, strength, rank=points)


def _told_apart(
    values: np.ndarray, scores: Scores, truth: Truth, member: np.ndarray, game: str, delta: float, note: str,
    rng: np.random.Generator,
) -> _Found:  # fmt: skip
    found, p_value = membership_like(values, member, rng, note)
    if not found:
        return _Found()
    guesses = None
    if game in ("membership", "extraction") and truth.member_share is not None:
        bound, guesses = patients_as_canaries(values, member, truth.member_share, delta, rng)
        found += bound
    if scores.threshold is not None:
        found += called(values > scores.threshold, member, "found", note)
    strength = _auc_strength(found[0].value, values, member)
    return _Found(tuple(found), p_value, strength, guesses, curves.roc(values, member))


def _attribute(values: np.ndarray, scores: Scores, truth: Truth, rng: np.random.Generator) -> _Found:
    known = truth.attributes.get(scores.attribute)
    if known is None:
        return _Found()
    found, p_value, own, member = guessed(values, scores.options, known, truth.member, rng)
    if not found:
        return _Found()
    strength = _auc_strength(found[-1].value, own, member)
    return _Found(tuple(found), p_value, strength, roc=curves.roc(own, member))


def _auc_strength(value: float, values: np.ndarray, member: np.ndarray) -> Strength:
    variance = auc_variance(values[member], values[~member])
    return Strength("auc", value, variance, int(member.sum()), int((~member).sum()))


def _apart(
    values: np.ndarray, scores: Scores, truth: Truth, same: np.ndarray, game: str, attack: str
) -> tuple[Measurement, ...]:
    """Linkage of copies seen apart; no part of any headline."""
    by_image = image_scores(scores, truth, attack)
    everyone = np.ones(len(same), dtype=bool)
    distances = [] if by_image is None else by_section_distance(by_image, truth, everyone)
    return (
        *by_relation(values, truth, frozenset({SAME_IMAGE} if same.any() else ())),
        *within_site(values, truth, ~same),
        *distances,
    )


def _noted(found: _Found, note: str) -> _Found:
    return evolve(
        found,
        measurements=tuple(
            evolve(m, note=f"{m.note}; {note}" if m.note else note) for m in found.measurements
        ),
    )


def _not_tested(
    truth: Truth, game: str, main: _Found, marked: _Found, blind: Blind | None
) -> tuple[str, ...]:
    missing = []
    if not any(m.name == LOWER_BOUND for m in (*main.measurements, *marked.measurements)):
        missing.append("a lower bound on ε (no canaries were planted)")
    if truth.groups is None and blind is None:
        missing.append("a blind baseline (an attack that sees no release)")
    if truth.groups is None and game != "attribute" and main.measurements:
        nonmembers = int((~truth.member & (truth.relation != SAME_IMAGE)).sum())
        missing += [
            f"tpr@{rate:g}: {nonmembers} non-member patients are too few for this false positive rate"
            for rate in RATES
            if not resolves(nonmembers, rate)
        ]
    return tuple(missing)
