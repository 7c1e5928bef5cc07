"""What counts as tissue."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privagams.reading.tissue import Coverage, tissue_mask

GLASS, PINK, BLACK = (244, 243, 245), (220, 150, 190), (10, 10, 12)


def painted(*parts):
    image = np.full((64, 64, 3), GLASS, dtype=np.uint8)
    for slices, colour in parts:
        image[slices] = colour
    return image


def test_glass_alone_holds_no_tissue():
    rng = np.random.default_rng(0)
    noise = rng.integers(-3, 4, (64, 64, 3))
    assert not tissue_mask((painted().astype(int) + noise).astype(np.uint8)).any()


def test_tissue_alone_is_not_split_in_two():
    rng = np.random.default_rng(0)
    image = np.full((64, 64, 3), PINK) + rng.integers(-25, 26, (64, 64, 1))
    image[::2, :, 1] -= 40
    assert tissue_mask(np.clip(image, 0, 255).astype(np.uint8)).all()


def test_black_borders_and_ink_are_not_tissue():
    left, right = np.s_[:, :20], np.s_[:, 40:]
    mask = tissue_mask(painted((left, BLACK), (right, PINK)))
    assert not mask[:, :40].any()
    assert mask[:, 40:].all()


def test_specks_go():
    assert not tissue_mask(painted((np.s_[10:12, 10:12], PINK))).any()


@given(side=st.floats(1.0, 9.0), columns=st.integers(1, 6), rows=st.integers(1, 6), seed=st.integers(0, 99))
def test_coverage_counts_what_a_loop_counts(side, columns, rows, seed):
    mask = np.random.default_rng(seed).random((round(rows * side), round(columns * side))) < 0.5
    shares = Coverage.of(mask).shares(columns, rows, side)
    for row in range(rows):
        for column in range(columns):
            top, left = round(row * side), round(column * side)
            box = mask[
                top : max(top + 1, round((row + 1) * side)), left : max(left + 1, round((column + 1) * side))
            ]
            assert shares[row, column] == pytest.approx(box.mean())
