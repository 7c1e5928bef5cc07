"""Laws of readers: pixels and nothing but pixels, at the place and resolution asked for."""
# ruff: noqa: PT018 - the halves of an assertion share one message

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from privagams.errors import SlideError
from privagams.roles import Slide
from privagams.testing.files import SECRET, damaged_files, sample_file
from privagams.testing.subject import Bench, Subject

_LEVELS = 12
"""Grey levels by which the means of a region may differ between two resolutions."""


def check_slide_states_size_and_resolution(subject: Subject, bench: Bench) -> None:
    """A slide has a size in px, and µm per px as a number above 0, or None where the file does not say.

    If this fails, return plain ints for `size`, and never guess `mpp`.
    """
    with _open(subject, bench) as slide:
        width, height = slide.size
        assert type(width) is int and type(height) is int and width > 0 and height > 0, f"size {slide.size!r}"
        mpp = slide.mpp
        assert mpp is None or (isinstance(mpp, float) and math.isfinite(mpp) and mpp > 0), f"mpp {mpp!r}"


def check_region_has_the_shape_asked_for(subject: Subject, bench: Bench) -> None:
    """A region is uint8 "height width 3", at any resolution and over the edge as well.

    If this fails, convert to RGB and return an array of exactly the height and width asked for.
    """
    with _open(subject, bench) as slide:
        width, height = slide.size
        for place in ((0, 0, 64, 48, 1.0), (5, 3, 17, 29, 2.5), (width - 8, height - 8, 32, 16, 1.0)):
            found = slide.read(*place)
            shape = (place[3], place[2], 3)
            assert isinstance(found, np.ndarray), (
                f"read{place}: expected an array, found {type(found).__name__}"
            )
            assert found.shape == shape and found.dtype == np.uint8, (
                f"read{place}: expected uint8 {shape}, found {found.dtype} {found.shape}"
            )


def check_two_reads_are_equal(subject: Subject, bench: Bench) -> None:
    """The same region read twice is the same, whatever was read in between.

    If this fails, let a read leave nothing behind that changes the next one.
    """
    with _open(subject, bench) as slide:
        first = slide.read(7, 9, 50, 40, 1.0).copy()
        slide.read(0, 0, 30, 20, 2.0)
        assert np.array_equal(first, slide.read(7, 9, 50, 40, 1.0)), "the second read differs"


def check_place_is_at_full_resolution(subject: Subject, bench: Bench) -> None:
    """`x` and `y` are px at full resolution: a region is the same part of every larger one.

    If this fails, look for x and y swapped, or scaled by the downsample.
    """
    with _open(subject, bench) as slide:
        whole = slide.read(0, 0, 120, 90, 1.0)
        part = slide.read(40, 20, 60, 50, 1.0)
        assert np.array_equal(whole[20:70, 40:100], part), "read(40, 20, …) is not that part of read(0, 0, …)"


def check_outside_is_white(subject: Subject, bench: Bench) -> None:
    """What lies outside the slide is white, on every side, and what lies inside is not moved by it.

    If this fails, paste what can be read onto white.
    """
    with _open(subject, bench) as slide:
        width, height = slide.size
        before = slide.read(-20, -12, 60, 50, 1.0)
        assert (before[:12] == 255).all() and (before[:, :20] == 255).all(), (
            "left of or above the slide: not white"
        )
        assert np.array_equal(before[12:, 20:], slide.read(0, 0, 40, 38, 1.0)), "the part inside is moved"
        after = slide.read(width - 30, height - 25, 60, 50, 1.0)
        assert (after[25:] == 255).all() and (after[:, 30:] == 255).all(), (
            "right of or below the slide: not white"
        )
        assert (slide.read(width + 5, 0, 8, 8, 1.0) == 255).all(), "far outside: not white"


def check_resolutions_show_the_same(subject: Subject, bench: Bench) -> None:
    """A region at a lower resolution shows what it shows at full resolution.

    If this fails, check that the width and height of the result are px of the result, not of the slide.
    """
    with _open(subject, bench) as slide:
        fine = slide.read(0, 0, 192, 128, 1.0).astype(float)
        for downsample in (2.0, 4.0):
            step = int(16 / downsample)
            coarse = slide.read(0, 0, int(192 / downsample), int(128 / downsample), downsample).astype(float)
            gap = np.abs(_blocks(fine, 16) - _blocks(coarse, step)).max()
            assert gap <= _LEVELS, (
                f"downsample {downsample:g}: means of 16 × 16 px differ by {gap:.0f} grey levels"
            )


def check_damaged_file_is_a_slide_error(subject: Subject, bench: Bench) -> None:
    """A file that cannot be read raises `SlideError`, when opened or when read, and nothing else.

    If this fails, catch what the library raises and raise `SlideError` from it, saying what was wrong.
    """
    for path, error in _failures(subject, bench):
        assert error is not None, f"{_case(path)}: opened and read without an error"
        assert isinstance(error, SlideError), f"{_case(path)}: {type(error).__name__} instead of SlideError"


def check_message_names_no_file(subject: Subject, bench: Bench) -> None:
    """No error message holds the file's name, which may name a patient.

    If this fails, do not put `path`, or a library's message that holds it, into the text.
    """
    for path, error in _failures(subject, bench):
        assert error is None or SECRET not in str(error), f"{_case(path)}: the message names the file"


@contextmanager
def _open(subject: Subject, bench: Bench) -> Iterator[Slide]:
    with closing(subject.build().open(sample_file(bench))) as slide:
        yield slide


def _failures(subject: Subject, bench: Bench) -> Iterator[tuple[Path, Exception | None]]:
    for path in damaged_files(bench):
        try:
            with closing(subject.build().open(path)) as slide:
                slide.read(0, 0, *(min(side, 64) for side in slide.size), 1.0)
        except Exception as error:  # which one it is, is what the law is about
            yield path, error
        else:
            yield path, None


def _case(path: Path) -> str:
    return path.stem.removeprefix(f"{SECRET}-") + " file"


def _blocks(pixels: np.ndarray, side: int) -> Any:
    height, width, _ = pixels.shape
    return pixels.reshape(height // side, side, width // side, side, 3).mean(axis=(1, 3))
