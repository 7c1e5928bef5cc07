import math

import numpy as np
import pytest
import torch

from privagams import roles
from privagams_dp import entropy
from privagams_dp.dp_sgd import DpSgd
from privagams_dp.noisy_sum import GaussianSum
from privagams_dp.one_sum import OneSum
from privagams_dp.settings import DpSgdSettings, NoisySumSettings

SHAPES = [(40, 30), (7,), (2, 3, 5), ()]


def vectors(patients, scale, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return [torch.randn(patients, *shape, generator=rng) * scale for shape in SHAPES]


def silent(clip):
    return GaussianSum([torch.zeros(s) for s in SHAPES], clip, 0.0, 1.0)


def total_norm(tensors):
    return math.sqrt(sum(float(t.double().square().sum()) for t in tensors))


def summed(parts, clip):
    door = silent(clip)
    for part in parts:
        door.add(part)
    return door.release()


@pytest.mark.parametrize("clip", [1.0, 1e-3, 37.0])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e6, 1e18, 1e30, math.inf, math.nan])
def test_zeroing_out_one_patient_moves_the_sum_by_at_most_the_clip_norm(scale, clip):
    """Exploding and broken vectors too; the others are large, so that rounding is at its worst."""
    others, one = vectors(60, 10.0), vectors(1, scale, seed=1)
    with_one = [torch.cat([a, b]) for a, b in zip(others, one, strict=True)]
    without = [torch.cat([a, torch.zeros_like(b)]) for a, b in zip(others, one, strict=True)]
    moved = [a - b for a, b in zip(summed([with_one], clip), summed([without], clip), strict=True)]
    assert total_norm(moved) <= clip
    assert all(bool(torch.isfinite(t).all()) for t in summed([with_one], clip))


def test_one_patient_alone_never_exceeds_the_clip_norm():
    for seed in range(200):
        assert total_norm(summed([vectors(1, 10.0 ** (seed % 7), seed)], 1.0)) <= 1.0


def test_a_large_network_does_not_exceed_the_clip_norm_by_rounding():
    door = GaussianSum([torch.zeros(4_000_000)], 1.0, 0.0, 1.0)
    door.add([torch.randn(1, 4_000_000)])
    assert float(door.release()[0].double().norm()) <= 1.0


def test_a_patient_within_the_clip_norm_is_summed_as_is():
    few = vectors(3, 1e-3)
    for found, expected in zip(summed([few], 1.0), few, strict=True):
        torch.testing.assert_close(found, expected.sum(0))


def test_a_sum_starts_anew_after_each_release():
    door = silent(1.0)
    door.add(vectors(2, 1.0))
    door.release()
    assert total_norm(door.release()) == 0.0


def within(found, expected, error, sigmas=6.5):
    return abs(found - expected) < sigmas * error


@pytest.mark.parametrize("members", [0, 3])
@pytest.mark.parametrize(("clip", "multiplier"), [(1.0, 2.0), (0.1, 0.7)])
def test_noise_has_the_claimed_size_even_in_an_empty_batch(members, clip, multiplier):
    """Standard deviation within 5 standard errors, mean too, on 200,000 entries."""
    n, std = 200_000, clip * multiplier
    door = GaussianSum([torch.zeros(n)], clip, multiplier, 1.0)
    clean = 0.0
    if members:
        parts = torch.zeros(members, n)
        parts[:, 0] = 1e6
        door.add([parts])
        clean = members * clip * (1 - 1e-5)
    noise = door.release()[0].double()
    noise[0] -= clean
    assert within(float(noise.std()), std, std / math.sqrt(2 * n))
    assert within(float(noise.mean()), 0.0, std / math.sqrt(n))


def test_noise_is_gaussian_in_its_tails_and_independent_between_entries():
    n = 400_000
    noise = entropy.gaussian(torch.Size([n]), 1.0)
    assert within(float((noise**4).mean()), 3.0, math.sqrt(96 / n))
    assert within(float((noise.abs() > 3).double().mean()), 0.0026998, math.sqrt(0.0027 / n))
    for lag in (1, 2, n // 2):
        a, b = noise[lag:], noise[:-lag]
        assert within(float((a * b).mean()), 0.0, 1 / math.sqrt(n))
        assert within(float((a.square() * b.square()).mean()), 1.0, math.sqrt(8 / n))


@pytest.mark.parametrize("count", [1, 2, 5, (1 << 18) + 1])
def test_noise_comes_in_any_shape(count):
    assert entropy.gaussian(torch.Size([count]), 1.0).shape == (count,)
    single = torch.stack([entropy.gaussian(torch.Size([1]), 2.0)[0] for _ in range(3000)])
    assert within(float(single.std()), 2.0, 2.0 / math.sqrt(6000))


def test_noise_and_coins_ignore_every_seed():
    drawn = []
    for _ in range(2):
        torch.manual_seed(7)
        np.random.seed(7)
        drawn.append((entropy.gaussian(torch.Size([50]), 1.0), tuple(entropy.coins(200, 0.5))))
    assert not torch.equal(drawn[0][0], drawn[1][0])
    assert drawn[0][1] != drawn[1][1]


def test_each_patient_takes_part_with_the_claimed_probability():
    patients, rate, rounds = 20, 0.3, 4000
    door = GaussianSum([torch.zeros(1)], 1.0, 1.0, rate)
    taken = np.zeros((rounds, patients))
    for i in range(rounds):
        taken[i, door.sample(patients)] = 1
    assert (np.abs(taken.mean(0) - rate) < 6.5 * math.sqrt(rate * (1 - rate) / rounds)).all()
    # Poisson sampling, not batches of one size: the size varies as a sum of coins does.
    variance = patients * rate * (1 - rate)
    assert within(taken.sum(1).var(), variance, variance * math.sqrt(2 / rounds))


def test_certainty_takes_everybody_and_empty_batches_happen():
    assert list(GaussianSum([torch.zeros(1)], 1.0, 1.0, 1.0).sample(5)) == [0, 1, 2, 3, 4]
    door = GaussianSum([torch.zeros(1)], 1.0, 1.0, 0.1)
    assert any(len(door.sample(3)) == 0 for _ in range(100))


def test_mechanisms_state_what_they_cost():
    sgd = DpSgd(DpSgdSettings(epsilon=8.0, delta=1e-4, patients_per_step=10))
    event = sgd.event(1.5, 7, 40)
    assert (event.count, event.event.sampling_probability, event.event.event.noise_multiplier) == (
        7,
        0.25,
        1.5,
    )
    assert sgd.event(1.5, 7, 10).event.noise_multiplier == 1.5
    assert sgd.sampling_rate(5) == 1.0
    once = OneSum(NoisySumSettings(epsilon=1.0, delta=1e-5))
    assert once.event(2.0, 1, 40).noise_multiplier == 2.0
    for mechanism in (sgd, once):
        door = mechanism.noisy_sum([torch.zeros(2)], 1.0, 40)
        door.add([torch.ones(1, 2)])
        assert door.release()[0].shape == (2,)
        assert mechanism.adjacency == "zero-out"
        _: roles.Mechanism = mechanism


@pytest.mark.parametrize(
    "wrong",
    [
        {"epsilon": 0.0},
        {"epsilon": -1.0},
        {"delta": 0.0},
        {"delta": 1.0},
        {"clip_norm": 0.0},
        {"noise_draws": 0},
    ],
)
def test_settings_outside_their_bounds_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        DpSgdSettings(**({"epsilon": 8.0, "delta": 1e-4} | wrong))


def test_listing_the_mechanisms_imports_no_torch():
    import subprocess
    import sys

    code = (
        "import sys, privagams_dp; names = [c.name for c in privagams_dp.privagams_mechanisms()];"
        "assert names[:2] == ['dp-sgd', 'noisy-sum'], names; assert len(names) == 6;"
        "assert not {'torch', 'numpy', 'opendp'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_patient_given_twice_by_blocks_is_refused_until_the_sum_is_released():
    door = GaussianSum([torch.zeros(2, 3)], 1.0, 1.0, 1.0)
    row, patient, block = torch.ones(1, 3), torch.tensor([4]), torch.tensor([0])
    door.add_blocks(row, patient, block)
    with pytest.raises(ValueError, match="found one twice"):
        door.add_blocks(row, patient, block + 1)
    with pytest.raises(ValueError, match="found one twice"):
        door.add_blocks(torch.ones(2, 3), torch.tensor([5, 5]), torch.tensor([1, 1]))
    door.release()
    door.add_blocks(row, patient, block)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("rows", [1, 5000])
def test_neither_coarse_numbers_nor_many_patients_pass_the_clip_norm(dtype, rows):
    """All point the same way, so that the sum is as long as `rows` patients may make it."""
    like = [torch.zeros(1, 4000)]
    vectors = torch.rand(rows, 4000, generator=torch.Generator().manual_seed(0)).fill_(0.37).to(dtype)
    for by_blocks in (False, True):
        door = GaussianSum(like, 1.0, 0.0, 1.0)
        if by_blocks:
            door.add_blocks(vectors, torch.arange(rows), torch.zeros(rows, dtype=torch.int64))
        else:
            door.add([vectors[:, None]])
        (total,) = door.release()
        assert float(total.double().norm()) <= rows


def test_blocks_that_are_no_numbers_count_as_nothing():
    door = GaussianSum([torch.zeros(2, 3)], 1.0, 0.0, 1.0)
    rows = torch.tensor([[0.1, 0.2, 0.3], [float("nan"), 1.0, float("inf")]])
    door.add_blocks(rows, torch.tensor([0, 1]), torch.tensor([0, 1]))
    (total,) = door.release()
    torch.testing.assert_close(total, torch.tensor([[0.1, 0.2, 0.3], [0.0, 1.0, 0.0]]))
