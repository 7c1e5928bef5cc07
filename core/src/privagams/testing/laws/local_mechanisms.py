"""Laws of local mechanisms: no two images can be told apart better than the event says, whatever they are."""
# ruff: noqa: PT018 - the halves of an assertion share one message

from __future__ import annotations

import math
import random
import re
from typing import Any

import attrs
import numpy as np
import torch

from privagams.errors import StageError
from privagams.ledger.accounting import price
from privagams.ledger.events import local, spending
from privagams.roles import Coordinates, Randomiser
from privagams.testing.subject import Bench, NotConcerned, Subject
from privagams.testing.told_apart import told_apart

_CLASSES = 3
_PAIRS = 10_000
_ONE_BY_ONE = 3_000
_FEW = 2_000
_LABELS = 6_000
_FAR = 1e3
_SIZE = 64
_ROWS = 300
_SIGMAS = 7
_CHANCE = 1e-7
"""How often a sound component may fail a test of what it draws."""


def check_states_what_it_protects(subject: Subject, bench: Bench) -> None:
    """Kind, adjacency, protection, labels included, and the library that maps its noise are stated.

    If this fails, set the attributes of `privagams.roles.LocalMechanism`, and `randomises` in the Component to
    `kind`.
    """
    mechanism = subject.build()
    assert mechanism.kind == subject.component.randomises, (
        f"kind is {mechanism.kind!r}, the Component says randomises={subject.component.randomises!r}"
    )
    assert mechanism.adjacency == "replace-one", (
        f"adjacency is {mechanism.adjacency!r}, and one image at a time knows only replace-one"
    )
    assert "label" in mechanism.protects, (
        f"protects {mechanism.protects!r}: expected to read whether labels are covered"
    )
    assert mechanism.stated_by.strip(), "stated_by: expected the library and version whose map the claim is"


def check_one_image_can_be_priced(subject: Subject, bench: Bench) -> None:
    """The event of one image is made of pure guarantees and Gaussian noise, and costs something finite.

    If this fails, state `privagams.ledger.events.pure`, `GaussianDpEvent(σ / diameter)`, or these composed.
    """
    made = _randomiser(subject.build(), _SIZE)
    found, _ = price(spending([local(made.event)]), _delta(subject))
    assert 0 < found < math.inf, f"one image costs ε = {found}"
    single = made.per_element_epsilon
    assert single is None or 0 < single <= found * (1 + 1e-9), (
        f"one coordinate costs {single}, the whole vector {found:g}"
    )


def check_all_images_of_a_patient_are_paid_for(subject: Subject, bench: Bench) -> None:
    """All images of one patient, vectors and labels together, cost at most the ε that was asked for.

    If this fails, divide `epsilon` by the number of images, after the labels have taken their part.
    """
    for figures in ({}, {"label_epsilon": 0.5}):
        given = _with(subject, **figures)
        asked = given.settings.get("epsilon")
        if asked is None:
            raise NotConcerned("its settings ask for no total epsilon")
        for images in (1, 3):
            cost = spending([local(_randomiser(given.build(), _SIZE, images=images).event)] * images)
            found, _ = price(cost, _delta(subject))
            assert found <= asked * (1 + 1e-9), (
                f"{images} images of one patient cost {found:g}, asked for {asked:g}"
            )


def check_the_worst_pair_is_told_apart_no_better_than_claimed(subject: Subject, bench: Bench) -> None:
    """The two vectors that lie furthest apart look alike as much as the event says, whether many are randomised
    at once or one by one, and also where they differ in one coordinate only.

    If this fails, make the noise for the diameter of what is clipped, twice the radius, over all coordinates,
    and give every one of them noise.
    """
    for size, images in ((1, 1), (1, 3), (4, 1)):
        made = _randomiser(_small(subject, size), size, images=images)
        far = np.full(size, _FAR)
        _refute(made, far, -far, _PAIRS, f"{size} coordinates, {images} images of a patient")
    _refute(made, far, -far, _ONE_BY_ONE, "one row at a time", at_once=1)
    for place in range(size):
        one = far * (np.arange(size) == place)
        _refute(made, one, -one, _FEW, f"coordinate {place} alone")


def check_exploding_vectors_are_clipped(subject: Subject, bench: Bench) -> None:
    """Entries of 1e300 and infinite ones give finite vectors, which are told apart no better than claimed.

    If this fails, clip every vector to a bound that is fixed beforehand, before anything is computed from it.
    """
    made = _randomiser(_small(subject, 3), 3)
    for size in (1e300, math.inf):
        for far in (np.full(3, size), np.array([size, 1.0, -size])):
            with np.errstate(all="ignore"):
                shown = made.randomise(np.stack([far, -far]))
                assert np.isfinite(shown).all(), f"entries of {size:g} come out as {shown.tolist()}"
                _refute(made, far, -far, _FEW, f"entries of {size:g}")


def check_each_image_is_treated_alone(subject: Subject, bench: Bench) -> None:
    """What becomes of one vector does not depend on the others in the array.

    If this fails, take every norm along a row; a norm or scale of the whole array protects nobody.
    """
    from scipy.stats import ks_2samp

    made = _randomiser(_small(subject, 2, epsilon=64.0), 2)
    row, others = np.array([[0.5, -0.5]]), np.array([[1e6, 1e6], [-1e6, 0.0], [0.0, 0.0]])
    alone = np.concatenate([made.randomise(row) for _ in range(_FEW)])
    among = np.stack([made.randomise(np.concatenate([row, others]))[0] for _ in range(_FEW)])
    for place in range(2):
        chance = ks_2samp(alone[:, place], among[:, place]).pvalue
        assert chance >= _CHANCE, f"a row is distributed otherwise when others are there (p = {chance:.1g})"


def check_noise_is_drawn_anew(subject: Subject, bench: Bench) -> None:
    """Noise comes back neither in the next call, nor in the next row, nor in another entry.

    If this fails, draw the noise in `randomise`, anew for every entry.
    """
    made = _randomiser(_small(subject, _SIZE), _SIZE)
    calls = [made.randomise(np.zeros((_ROWS, _SIZE))).ravel() for _ in range(2)]
    spectra = [np.fft.rfft((call - call.mean()) / np.linalg.norm(call - call.mean())) for call in calls]
    for first, second in ((0, 0), (0, 1), (1, 1)):
        alike = np.fft.irfft(spectra[first] * spectra[second].conj(), n=calls[0].size)
        if first == second:
            alike[0] = 0  # each entry equals itself
        place = int(np.abs(alike).argmax())
        assert abs(alike[place]) <= _SIGMAS / math.sqrt(calls[0].size), (
            f"noise of calls {first + 1} and {second + 1} correlates by {alike[place]:.3f}, {place} entries apart"
        )


def check_noise_follows_no_seed(subject: Subject, bench: Bench) -> None:
    """With equal global seeds, and an equal generator for labels, vectors and labels come out differently.

    If this fails, draw from the operating system's entropy, as OpenDP does; never from a seed that others know.
    """
    given = _with(subject, label_epsilon=0.5)
    true = np.arange(240) % _CLASSES
    found = []
    before = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        for _ in range(2):
            for seed in (random.seed, np.random.seed, torch.manual_seed):
                seed(1)
            made = _randomiser(given.build(), _SIZE)
            found.append((made.randomise(np.zeros((4, _SIZE))), made.labels(true, np.random.default_rng(1))))
    random.setstate(before[0])
    np.random.set_state(before[1])
    assert not np.array_equal(found[0][0], found[1][0]), "the noise repeats itself"
    if not (found[0][1] == -1).all() and not np.array_equal(found[0][1], true):
        assert not np.array_equal(found[0][1], found[1][1]), "the labels' chance repeats itself"


def check_labels_are_withheld_or_paid_for(subject: Subject, bench: Bench) -> None:
    """Label and vector together are told apart no better than the one event says; or all labels are −1.

    If this fails, randomise labels by randomised response and add what that costs to the event, or withhold them.
    """
    for figures in ({}, {"epsilon": 2.0, "label_epsilon": 1.0}):
        made = _randomiser(_small(subject, 1, **figures), 1)
        _judge(made, _joint(made, _FAR, 0), _joint(made, -_FAR, 2), "vector and label")


def check_a_vector_that_is_no_number_is_refused(subject: Subject, bench: Bench) -> None:
    """A NaN in a vector raises `StageError`, which names the row.

    If this fails, look for NaN before anything else, and write the row's number.
    """
    made = _randomiser(subject.build(), _SIZE)
    for place in (0, _SIZE - 1):
        vectors = np.zeros((6, _SIZE))
        vectors[4, place] = math.nan
        text = ""
        try:
            made.randomise(vectors)
        except StageError as error:
            text = str(error)
        assert text, f"a NaN in entry {place} of row 4 was accepted"
        assert re.search(r"\b4\b", text), f"row 4 is not named: {text}"


def check_vectors_keep_their_shape(subject: Subject, bench: Bench) -> None:
    """`randomise` gives float64 "n d", `labels` int64 "n", also for no rows at all.

    If this fails, return arrays of the shapes that came in.
    """
    made = _randomiser(subject.build(), _SIZE)
    for rows in (5, 1, 0):
        vectors = made.randomise(np.zeros((rows, _SIZE)))
        assert vectors.shape == (rows, _SIZE) and vectors.dtype == np.float64, (
            f"expected float64 {(rows, _SIZE)}, found {vectors.dtype} {vectors.shape}"
        )
        labels = made.labels(np.zeros(rows, dtype=np.int64), np.random.default_rng(0))
        assert labels.shape == (rows,) and labels.dtype == np.int64, (
            f"expected int64 {(rows,)}, found {labels.dtype} {labels.shape}"
        )
        assert ((labels >= -1) & (labels < _CLASSES)).all(), f"labels outside of −1 to {_CLASSES - 1}"


def _with(subject: Subject, **figures: float) -> Subject:
    """`subject` with those of the `figures` that its settings know; a total ε stands in for one per element."""
    known = (
        {f.name for f in attrs.fields(subject.component.settings)} if subject.component.settings else set()
    )
    chosen = {name: value for name, value in figures.items() if name in known}
    kept = {
        k: v for k, v in subject.settings.items() if k != "per_element_epsilon" or "epsilon" not in chosen
    }
    return attrs.evolve(subject, settings={**kept, **chosen})


def _small(subject: Subject, size: int, epsilon: float = 1.0, label_epsilon: float = 0.0) -> Any:
    """The mechanism at an ε so small that a claim of half the truth can be told from it, for `size` coordinates."""
    return _with(subject, epsilon=epsilon, label_epsilon=label_epsilon, k=size).build()


def _randomiser(mechanism: Any, size: int, images: int = 1) -> Randomiser:
    made: Randomiser = mechanism.randomiser(Coordinates(size, np.arange), _CLASSES, images)
    return made


def _delta(subject: Subject) -> float:
    return float(subject.settings.get("delta") or 1e-6)


def _refute(
    made: Randomiser, one: np.ndarray, other: np.ndarray, count: int, where: str, at_once: int | None = None
) -> None:
    _judge(made, _shown(made, one, count, at_once), _shown(made, other, count, at_once), where)


def _shown(made: Randomiser, vector: np.ndarray, count: int, at_once: int | None = None) -> np.ndarray:
    """Statistics of many copies of one vector: its entries, their sum, least and largest."""
    rows = at_once or count
    found = np.concatenate([made.randomise(np.tile(vector, (rows, 1))) for _ in range(count // rows)])
    return np.column_stack([found, found.sum(axis=1), found.min(axis=1), found.max(axis=1)])


def _joint(made: Randomiser, value: float, label: int) -> np.ndarray:
    """Statistics of many copies of one coordinate with its label: both, and each alone."""
    vectors = made.randomise(np.full((_LABELS, 1), value))[:, 0]
    labels = made.labels(np.full(_LABELS, label), np.random.default_rng(label))
    each = [labels == c for c in range(-1, _CLASSES)]
    columns = [np.where(mine, sign * vectors, -np.inf) for mine in each for sign in (1, -1)]
    return np.column_stack([vectors, *columns, *(mine.astype(np.float64) for mine in each)])


def _judge(made: Randomiser, one: np.ndarray, other: np.ndarray, where: str) -> None:
    worst = told_apart(one, other, made.event)
    assert not worst.refutes, (
        f"{where}: the worst pair is told apart by an outcome that one gives with probability {worst.often:.3f} at "
        f"least and the other with {worst.seldom:.3g} at most; P − e^{worst.epsilon:.3g}·Q is above "
        f"{worst.allowed:.3g}, the most that the event allows"
    )
