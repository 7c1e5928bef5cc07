"""Laws of mechanisms: what is claimed is what is done."""
# ruff: noqa: PT018 - the halves of an assertion share one message

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from privagams.ledger.accounting import calibrate, epsilon
from privagams.ledger.events import NoisySumCost, spending
from privagams.testing.subject import Bench, Subject

_PATIENTS = 100
_STEPS = 20
_ENTRIES = 20_000
_DRAWS = 400
_SIGMAS = 6
_CHANCE = 1e-7
"""How often a sound component may fail a test of its noise's distribution."""
_NO_NOISE = 1e-12
_SLACK = 1e-4
"""Share of the clip norm allowed for sums in float32."""


def check_states_what_it_protects(subject: Subject, bench: Bench) -> None:
    """Kind, adjacency and protection are stated, and its figures make sense.

    If this fails, set the attributes of `privagams.roles.Mechanism`, and `training` in the Component to
    `kind`.
    """
    mechanism = subject.build()
    assert mechanism.kind == subject.component.training, (
        f"kind is {mechanism.kind!r}, the Component says training={subject.component.training!r}"
    )
    assert mechanism.adjacency and mechanism.protects, "adjacency and protects: expected a text"
    assert mechanism.epsilon > 0 and 0 < mechanism.delta < 1 and mechanism.clip_norm > 0
    assert 0 < mechanism.sampling_rate(_PATIENTS) <= 1, f"sampling rate {mechanism.sampling_rate(_PATIENTS)}"
    for name in ("tiles_per_step", "noise_draws", "physical_patients"):
        assert getattr(mechanism, name) >= 1, f"{name} is {getattr(mechanism, name)}"


def check_calibrated_noise_keeps_the_budget(subject: Subject, bench: Bench) -> None:
    """The accountant prices its event, and with calibrated noise the price is within the ε asked for.

    If this fails, state the cost by dp_accounting's Gaussian events, Poisson-sampled or not, repeated.
    """
    mechanism = subject.build()
    noise = calibrate(
        lambda z: mechanism.event(z, _steps(mechanism), _PATIENTS), mechanism.epsilon, mechanism.delta
    )
    found, _ = epsilon([mechanism.event(noise, _steps(mechanism), _PATIENTS)], mechanism.delta)
    assert 0 < found <= mechanism.epsilon, f"asked for {mechanism.epsilon:g}, costs {found:g}"


def check_cost_grows_with_use(subject: Subject, bench: Bench) -> None:
    """More noise costs less, more steps cost more.

    If this fails, check which way noise multiplier and number of steps enter the event.
    """
    mechanism = subject.build()

    def cost(noise: float, steps: int) -> float:
        return epsilon([mechanism.event(noise, steps, _PATIENTS)], mechanism.delta)[0]

    assert cost(4.0, 1) < cost(2.0, 1), "twice the noise does not cost less"
    assert cost(4.0, 4) > cost(4.0, 1), "four times the steps do not cost more"


def check_event_tells_what_is_done(subject: Subject, bench: Bench) -> None:
    """The event holds the sampling rate, the noise and the number of steps that are used.

    If this fails, build the event from the same numbers as the noisy sum.
    """
    mechanism = subject.build()
    rate = mechanism.sampling_rate(_PATIENTS)
    for steps in (7, 5000):
        found = dict(spending([mechanism.event(3.0, steps, _PATIENTS)]))
        assert found == {NoisySumCost(rate, 3.0): steps}, (
            f"expected {steps} sums at rate {rate:g} and noise 3, the event states {found}"
        )


def check_one_patient_moves_the_sum_by_the_clip_norm(subject: Subject, bench: Bench) -> None:
    """With the noise off, leaving one patient out moves the sum by at most the clip norm, whatever the
    vector.

    If this fails, clip each patient's tensors as one vector, before anything is summed or averaged, and let
    what is not a number count as 0.
    """
    mechanism = subject.build()
    clip = mechanism.clip_norm
    shapes = [(3, 2), (5,)]
    others = [torch.randn((3, *shape), generator=torch.Generator().manual_seed(1)) for shape in shapes]
    without = _sum(mechanism, [others])
    for size in (1e-3, 1.0, 1e6, 1e30, math.inf, math.nan):
        exploding = [torch.full((1, *shape), size) for shape in shapes]
        together = [torch.cat(pair) for pair in zip(others, exploding, strict=True)]
        found = {
            "in one chunk": _sum(mechanism, [together]),
            "in a chunk of its own": _sum(mechanism, [others, exploding]),
        }
        for way, moved in found.items():
            gap = float((moved - without).norm())
            assert gap <= clip * (1 + _SLACK), (
                f"a vector of {size:g} {way} moves the sum by {gap:.6g}, clip norm {clip:g}"
            )


def check_blocks_of_a_patient_are_clipped_together(subject: Subject, bench: Bench) -> None:
    """With the noise off, patients given by blocks stand in their blocks, and one patient, however many blocks it
    has, moves the sum by at most the clip norm.

    If this fails, take a patient's rows in `add_blocks` as one vector when clipping.
    """
    mechanism = subject.build()
    clip = mechanism.clip_norm
    for size in (1e-3, 1.0, 1e6, 1e30, math.inf, math.nan):
        found = _blocks(mechanism, torch.full((3, 4), size), owners=(7, 7, 7), places=(0, 1, 2))
        norm = float(found.norm())
        assert norm <= clip * (1 + _SLACK), (
            f"three blocks of {size:g} move the sum by {norm:.6g}, clip {clip:g}"
        )
    short = torch.full((3, 4), clip / 16)
    found = _blocks(mechanism, short, owners=(5, 9, 5), places=(2, 0, 0))
    share = found / found.max()
    expected = torch.tensor([1.0, 0.0, 0.5])[:, None].expand(3, 4)
    assert torch.allclose(share, expected, atol=_SLACK), (
        f"two rows in block 0 and one in block 2 stand as {share.mean(1).tolist()}"
    )


def check_sum_is_not_divided_by_who_took_part(subject: Subject, bench: Bench) -> None:
    """With the noise off, k patients with one short vector each sum to k times it, however many were drawn.

    If this fails, release the sum itself: what divides it must be public, and the loop does that.
    """
    mechanism = subject.build()
    short = torch.full((1, 4), mechanism.clip_norm / 8)
    for patients in (1, 3, 9):
        door = mechanism.noisy_sum([torch.zeros(4)], _NO_NOISE, _PATIENTS)
        door.sample(_PATIENTS)
        for _ in range(patients):
            door.add([short])
        (found,) = door.release()
        share = float((found / (patients * short[0])).mean())
        assert abs(share - 1) <= _SLACK, f"{patients} equal vectors sum to {share * patients:.4g} times one"


def check_noise_has_the_size_claimed(subject: Subject, bench: Bench) -> None:
    """A sum to which nobody was added holds noise of standard deviation multiplier × clip norm; so does the
    next.

    If this fails, add noise to an empty batch as well, and scale it by the clip norm alone.
    """
    mechanism = subject.build()
    door = mechanism.noisy_sum([torch.zeros(_ENTRIES)], 2.0, _PATIENTS)
    for turn in ("first", "second"):
        (found,) = door.release()
        ratio = float(found.double().square().mean().sqrt()) / (2.0 * mechanism.clip_norm)
        assert abs(ratio - 1) <= _SIGMAS / math.sqrt(2 * _ENTRIES), (
            f"{turn} sum: {ratio:.4f} of the noise claimed"
        )


def check_noise_is_gaussian(subject: Subject, bench: Bench) -> None:
    """The noise is distributed as the accountant takes it to be, in its middle and in its tails.

    If this fails, draw normal noise, or state the cost of the noise that is drawn.
    """
    from scipy.stats import kstest

    mechanism = subject.build()
    (found,) = mechanism.noisy_sum([torch.zeros(_ENTRIES)], 2.0, _PATIENTS).release()
    noise = found.double().numpy()
    noise /= noise.std()
    chance = kstest(noise, "norm").pvalue
    assert chance >= _CHANCE, f"the distribution differs from the normal one (p = {chance:.1g})"
    # E x⁴ = 3 with variance 96 for a standard normal x; dividing by the deviation found leaves 24.
    fourth = float((noise**4).mean())
    assert abs(fourth - 3) <= (_SIGMAS + 2) * math.sqrt(24 / _ENTRIES), (
        f"the noise's fourth moment is {fourth:.3f}, the normal one's 3"
    )


def check_each_sum_has_noise_of_its_own(subject: Subject, bench: Bench) -> None:
    """Noise does not come back: neither from one sum to the next, nor from one entry to another.

    If this fails, draw the noise in `release`, anew for every entry.
    """
    mechanism = subject.build()
    door = mechanism.noisy_sum([torch.zeros(_ENTRIES)], 2.0, _PATIENTS)
    sums = [door.release()[0].double().numpy() for _ in range(3)]
    spectra = [np.fft.rfft(total / np.linalg.norm(total)) for total in sums]
    limit = (_SIGMAS + 2) / math.sqrt(_ENTRIES)
    for first, one in enumerate(spectra):
        for second in range(first, len(spectra)):
            alike = np.fft.irfft(one * spectra[second].conj(), n=_ENTRIES)
            if first == second:
                alike[0] = 0  # each entry equals itself
            place = int(np.abs(alike).argmax())
            assert abs(alike[place]) <= limit, (
                f"noise of sums {first + 1} and {second + 1} correlates by {alike[place]:.3f}, {place} entries apart"
            )


def check_noise_follows_no_seed(subject: Subject, bench: Bench) -> None:
    """With equal global seeds, noise and patients drawn are different ones.

    If this fails, draw from the operating system's entropy (`os.urandom`, `secrets`), never from a seed.
    """
    mechanism = subject.build()
    found = []
    with torch.random.fork_rng(devices=[]):
        legacy = np.random.get_state()
        for _ in range(2):
            torch.manual_seed(1)
            np.random.seed(1)
            door = mechanism.noisy_sum([torch.zeros(8)], 1.0, _PATIENTS)
            found.append((door.release()[0], door.sample(100_000)))
        np.random.set_state(legacy)
    assert not torch.equal(found[0][0], found[1][0]), "the noise repeats itself"
    if mechanism.sampling_rate(_PATIENTS) < 1:
        assert not np.array_equal(found[0][1], found[1][1]), "the patients drawn repeat themselves"


def check_patients_are_drawn_at_the_rate_claimed(subject: Subject, bench: Bench) -> None:
    """Each patient takes part with the sampling rate, by a coin of its own: the number drawn varies.

    If this fails, flip one coin per patient; batches of a fixed size are not what the accountant prices.
    """
    mechanism = subject.build()
    rate = mechanism.sampling_rate(_PATIENTS)
    taken = _draws(mechanism)
    spread = math.sqrt(rate * (1 - rate) / taken.size)
    assert abs(taken.mean() - rate) <= _SIGMAS * spread + 1e-12, (
        f"drawn at {taken.mean():.4f}, claimed {rate:.4f}"
    )
    if rate == 1:
        return
    gaps = (taken.mean(axis=0) - rate) / math.sqrt(rate * (1 - rate) / _DRAWS)
    worst = int(np.abs(gaps).argmax())
    # Σ gaps² is χ² with as many degrees as patients: many small differences show as well as a large one.
    assert np.square(gaps).sum() <= _PATIENTS + (_SIGMAS + 1) * math.sqrt(2 * _PATIENTS), (
        f"patients are drawn at different rates, one of them at {taken[:, worst].mean():.4f}, claimed {rate:.4f}"
    )
    expected = _PATIENTS * rate * (1 - rate)
    variance = taken.sum(axis=1).var()
    assert abs(variance - expected) <= (_SIGMAS + 1) * expected * math.sqrt(2 / _DRAWS), (
        f"the number drawn varies by {variance:.2f}, independent coins by {expected:.2f}"
    )


def check_each_step_draws_anew(subject: Subject, bench: Bench) -> None:
    """Who takes part in one step tells nothing of who takes part in the next ones.

    If this fails, flip new coins in every step; walking through shuffled patients is not what the accountant
    prices.
    """
    mechanism = subject.build()
    rate = mechanism.sampling_rate(_PATIENTS)
    if rate == 1:
        return
    taken = _draws(mechanism)
    # By each patient's own mean: patients of different rates break another law.
    centred = (taken - taken.mean(axis=0)) / math.sqrt(rate * (1 - rate))
    for lag in range(1, 11):
        products = centred[lag:] * centred[:-lag]
        found = float(products.mean())
        assert abs(found) <= (_SIGMAS + 1) / math.sqrt(products.size), (
            f"taking part correlates by {found:.3f} with taking part {lag} steps later"
        )


def check_rate_follows_the_public_number(subject: Subject, bench: Bench) -> None:
    """The sampling rate is that of the public number of patients, however many patients the data hold.

    If this fails, take the rate when the sum is opened, from its argument `patients`; never count in `sample`.
    """
    mechanism = subject.build()
    rate = mechanism.sampling_rate(_PATIENTS)
    for held in (_PATIENTS // 2, 3 * _PATIENTS):
        door = mechanism.noisy_sum([torch.zeros(1)], 1.0, _PATIENTS)
        found = sum(len(door.sample(held)) for _ in range(_DRAWS)) / (_DRAWS * held)
        spread = math.sqrt(rate * (1 - rate) / (_DRAWS * held))
        assert abs(found - rate) <= _SIGMAS * spread + 1e-12, (
            f"with {held} patients in the data they are drawn at {found:.4f}, "
            f"claimed {rate:.4f} for {_PATIENTS} in public"
        )


def _draws(mechanism: Any) -> np.ndarray:
    """Who was drawn in each of many steps, 0 or 1, "draws patients"."""
    door = mechanism.noisy_sum([torch.zeros(1)], 1.0, _PATIENTS)
    taken = np.zeros((_DRAWS, _PATIENTS))
    for row in taken:
        chosen = np.asarray(door.sample(_PATIENTS))
        assert len(np.unique(chosen)) == len(chosen), "a patient is drawn twice in one step"
        row[chosen] = 1
    return taken


def _steps(mechanism: Any) -> int:
    return 1 if mechanism.kind == "summary" else _STEPS


def _blocks(
    mechanism: Any, rows: torch.Tensor, owners: tuple[int, ...], places: tuple[int, ...]
) -> torch.Tensor:
    """Release a sum of three blocks, all but without noise."""
    door = mechanism.noisy_sum([torch.zeros(3, rows.shape[1])], _NO_NOISE, _PATIENTS)
    door.add_blocks(rows, torch.tensor(owners), torch.tensor(places))
    (found,) = door.release()
    total: torch.Tensor = found
    return total


def _sum(mechanism: Any, chunks: list[list[torch.Tensor]]) -> torch.Tensor:
    """The sum over all patients in `chunks`, with next to no noise, as one vector."""
    door = mechanism.noisy_sum([torch.zeros(t.shape[1:]) for t in chunks[0]], _NO_NOISE, _PATIENTS)
    for chunk in chunks:
        door.add(chunk)
    return torch.cat([tensor.flatten().double() for tensor in door.release()])
