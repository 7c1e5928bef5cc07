"""How normal a flow's latents are on images it was not trained on: what its mechanism's clip rests on."""

from __future__ import annotations

from typing import Any

import numpy as np

from privagams.coordinates import Codec
from privagams.records import Records

_MOST = 256
_CHUNK = 32
EDGES = np.linspace(-6, 6, 61)


def latent_figures(codec: Codec, held_out: Records, rng: np.random.Generator) -> dict[str, Any]:
    """Mean and standard deviation of the latents of held-out images, by level, and a histogram of all.

    Under the model each entry is N(0, 1). Computed from non-members: private, and outside every claim.
    """
    assert codec.model is not None
    chosen = np.sort(rng.permutation(len(held_out))[:_MOST])
    parts = [codec.encode(pixels) for _, pixels in held_out.take(chosen).batches(_CHUNK)]
    latents = np.concatenate(parts)
    ends = np.cumsum(codec.model.levels)
    levels = [
        {
            "coordinates": int(size), "mean": float(part.mean()), "sd": float(part.std()),
            "beyond_3": float((np.abs(part) > 3).mean()),
            "sd_between_coordinates": float(part.std(axis=0).std()),
        }
        for size, part in zip(codec.model.levels, np.split(latents, ends[:-1], axis=1), strict=True)
    ]  # fmt: skip
    counts, _ = np.histogram(np.clip(latents, EDGES[0], EDGES[-1]), EDGES)
    return {"images": len(chosen), "levels": levels, "histogram": (counts / latents.size).tolist()}
