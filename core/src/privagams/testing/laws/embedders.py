"""Laws of embedders: one vector per image, from that image alone."""
# ruff: noqa: PT018 - the halves of an assertion share one message

from __future__ import annotations

import numpy as np

from privagams.testing.exercises import pictures
from privagams.testing.subject import Bench, Subject


def check_one_finite_vector_per_image(subject: Subject, bench: Bench) -> None:
    """`embed` gives float32 "n d", finite, for colour and for grey images, black and white ones too.

    If this fails, give a grey image three equal channels, and guard divisions and logarithms.
    """
    embedder = subject.build()
    for channels in (3, 1):
        pixels = pictures(channels)
        pixels[0], pixels[1] = 0, 255
        found = embedder.embed(pixels)
        what = f"{channels} channel{'s' * (channels > 1)}"
        assert isinstance(found, np.ndarray) and found.ndim == 2, f'{what}: expected an array "n d"'
        assert len(found) == len(pixels) and found.shape[1] > 0, f"{what}: shape {found.shape}"
        assert found.dtype == np.float32, f"{what}: expected float32, found {found.dtype}"
        assert np.isfinite(found).all(), f"{what}: not finite"


def check_rows_are_independent(subject: Subject, bench: Bench) -> None:
    """Row i depends on image i only: alone, in another order or in other company it is the same.

    If this fails, take no mean, scale or whitening over the images at hand; a network belongs in eval mode.
    """
    embedder, pixels = subject.build(), pictures()
    together = embedder.embed(pixels)
    alone = np.concatenate([embedder.embed(image[None]) for image in pixels])
    size = np.abs(together).max() + 1e-9
    gap = np.abs(together - alone).max() / size
    assert gap < 1e-4, f"an image's features change by {gap:.2g} of their size when it is embedded alone"


def check_different_images_differ(subject: Subject, bench: Bench) -> None:
    """Images of different people have different features.

    If this fails, look for an input scaled to nothing, or for weights that were not loaded.
    """
    found = subject.build().embed(pictures())
    assert len(np.unique(found, axis=0)) == len(found), "two different images have equal features"
