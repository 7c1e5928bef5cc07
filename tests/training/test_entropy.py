import os

import numpy as np
import pytest
import torch
from randomgen import AESCounter
from scipy import stats

from privagams_dp import entropy


@pytest.fixture
def drawn(monkeypatch):
    """Count what is asked of the operating system."""
    asked, real = [], os.urandom
    monkeypatch.setattr(os, "urandom", lambda n: asked.append(real(n)) or asked[-1])
    return asked


@pytest.fixture
def no_entropy(monkeypatch):
    """An operating system that draws nothing but zeros."""
    monkeypatch.setattr(os, "urandom", bytes)


def words(key, counter, count=2):
    return AESCounter(key=key, counter=counter).random_raw(count)


@pytest.mark.parametrize(
    ("key", "block", "expected"),
    [
        # FIPS 197, appendix B and C.1.
        (
            "2b7e151628aed2a6abf7158809cf4f3c",
            "3243f6a8885a308d313198a2e0370734",
            "3925841d02dc09fbdc118597196a0b32",
        ),
        (
            "000102030405060708090a0b0c0d0e0f",
            "00112233445566778899aabbccddeeff",
            "69c4e0d86a7b0430d8cdb78070b4c55a",
        ),
    ],
)
def test_words_are_those_of_aes_in_counter_mode(key, block, expected):
    numbers = [int.from_bytes(bytes.fromhex(text), "little") for text in (key, block)]
    assert words(*numbers).tobytes().hex() == expected


@pytest.mark.parametrize("counter", [0, 5, 2**64 - 3, 2**125 - 1])
def test_each_block_encrypts_the_next_counter(counter):
    blocks = [words(7, counter + n) for n in range(9)]
    np.testing.assert_array_equal(words(7, counter, 18), np.concatenate(blocks))


def test_the_stream_takes_key_and_counter_from_the_operating_system_as_they_are(no_entropy):
    # AES-128 of a zero block under the zero key: no seeding in between.
    assert entropy._stream().random_raw(2).tobytes().hex() == "66e94bd4ef8a2c3b884cfa59ca342b2e"


def test_every_call_draws_its_own_key(drawn):
    first, second = (entropy.gaussian(torch.Size([4]), 1.0) for _ in range(2))
    assert [len(key) for key in drawn] == [32, 32]
    assert len(set(drawn)) == 2
    assert not torch.equal(first, second)


@pytest.mark.parametrize("count", [0, 1, 5, entropy._CHUNK, entropy._CHUNK + 3])
def test_each_entry_is_half_the_sum_of_four_draws(no_entropy, count):
    found = entropy.gaussian(torch.Size([count]), 3.0)
    one = np.random.Generator(AESCounter(key=0, counter=0))
    sizes = [min(entropy._CHUNK, count - start) for start in range(0, count, entropy._CHUNK)]
    expected = [sum(one.standard_normal(size) for _ in range(4)) * 1.5 for size in sizes]
    np.testing.assert_allclose(found.numpy(), np.concatenate([np.empty(0), *expected]), rtol=1e-12, atol=0)


def test_noise_is_normal_to_five_standard_deviations():
    noise = np.concatenate([entropy.gaussian(torch.Size([10**6]), 2.0).numpy() for _ in range(8)]) / 2.0
    assert stats.kstest(noise[: 10**6], "norm").pvalue > 1e-6
    for bound in (1.0, 2.0, 3.0, 4.0, 5.0):
        expected = 2 * stats.norm.sf(bound) * len(noise)
        found = int((np.abs(noise) > bound).sum())
        assert stats.poisson.sf(found - 1, expected) > 1e-7
        assert stats.poisson.cdf(found, expected) > 1e-7


def test_coins_at_the_ends_are_certain():
    assert list(entropy.coins(50, 1.0)) == list(range(50))
    assert len(entropy.coins(50, 0.0)) == 0
    assert len(entropy.coins(0, 0.5)) == 0
