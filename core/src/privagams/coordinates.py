"""What local mechanisms randomise: latent vectors of a flow, or pixels, and the way there and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from attrs import frozen

from privagams.context import Context
from privagams.errors import PluginError, StageError
from privagams.plan import Stage
from privagams.plugins import Registry
from privagams.roles import Coordinates, Invertible, Randomiser, Space
from privagams.stage_inputs import load_model, space_of

if TYPE_CHECKING:
    import torch
    from dp_accounting import DpEvent

_PROBES = 64
_STEP = 0.5


@frozen(eq=False)
class Codec:
    """Images to vectors and back; classes are never told to the flow, so that a vector is the image alone."""

    space: Space
    coordinates: Coordinates
    model: Invertible | None
    """None for pixels."""

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 "n h w c" to float64 "n d"."""
        scaled = pixels.transpose(0, 3, 1, 2).astype(np.float64) / 127.5 - 1
        if self.model is None:
            return scaled.reshape(len(pixels), -1)
        import torch

        batch = {"pixels": torch.from_numpy(scaled).float().contiguous()}
        if self.space.classes:
            batch["labels"] = torch.full((len(pixels),), -1)
        with torch.no_grad():
            return self.model.encode(batch).double().numpy()

    def decode(self, vectors: np.ndarray) -> np.ndarray:
        """float64 "n d" to uint8 "n h w c"; what an image cannot show is clamped."""
        shape = (len(vectors), self.space.channels, self.space.size, self.space.size)
        if self.model is None:
            images = vectors.reshape(shape)
        else:
            import torch

            with torch.no_grad():
                told = torch.full((len(vectors),), -1) if self.space.classes else None
                images = self.model.decode(torch.from_numpy(vectors).float(), told).double().numpy()
        if not np.isfinite(images).all():
            row = int(np.flatnonzero(~np.isfinite(images).all(axis=(1, 2, 3)))[0])
            raise StageError(f"decode: vector {row}: expected a finite image, found NaN or infinity")
        return np.clip(np.rint((images + 1) * 127.5), 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)

    def rehearse(self, randomiser: Randomiser) -> None:
        """Randomise and decode vectors that nobody submitted, so that what must fail does so before it is paid for."""
        made = randomiser.randomise(np.zeros((2, self.coordinates.size)))
        if made.shape != (2, self.coordinates.size) or not np.isfinite(made).all():
            raise PluginError(
                f"mechanism: expected finite vectors of {self.coordinates.size} entries from `randomise`, found "
                f"shape {made.shape}; this is the mechanism's fault"
            )
        try:
            self.decode(made)
        except StageError as error:
            error.add_note(
                "found on invented vectors, before anything was spent: with so much noise the flow leaves what it "
                "can decode; set shrink = true, a larger epsilon, or latent-topk"
            )
            raise


def cost_of_patient(event: DpEvent, images: int) -> DpEvent:
    """What all `images` images of one patient cost, each of which costs `event`."""
    from dp_accounting import SelfComposedDpEvent

    from privagams.ledger.events import local

    return local(event if images == 1 else SelfComposedDpEvent(event, images))


def codec_of(stage: Stage, context: Context, registry: Registry) -> Codec:
    """The way to and from what the stage's mechanism randomises."""
    space = space_of(stage, context)
    if stage.settings["generator"] is None:
        return Codec(space, pixel_coordinates(space), None)
    model = load_model(stage, context, registry)
    if not isinstance(model, Invertible):
        raise PluginError(
            f"generator {stage.settings['generator']['use']!r}: expected a model with encode and decode, as its "
            "Component says (encodes=True), found none; this is the generator's fault"
        )
    return Codec(space, latent_coordinates(model, space), model)


def pixel_coordinates(space: Space) -> Coordinates:
    """All pixels; none of them shapes an image more than the others, so the first ones count as strongest."""
    return Coordinates(space.channels * space.size**2, lambda count: np.arange(count))


def latent_coordinates(model: Invertible, space: Space) -> Coordinates:
    size = int(sum(model.levels))
    if size != space.channels * space.size**2:
        raise PluginError(
            f"generator: expected {space.channels * space.size**2} latent coordinates, as many as an image has "
            f"values, found {size} in its levels; this is the generator's fault"
        )
    return Coordinates(
        size, lambda count: strongest(model.decode, size, model.levels, count, bool(space.classes))
    )


def strongest(
    decode: Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor],
    size: int,
    levels: Sequence[int],
    count: int,
    classes: bool,
) -> np.ndarray:
    """Positions of the `count` coordinates of the coarsest levels that change the image of the origin most.

    By the L2 norm of (decode(+s e_i) − decode(−s e_i)) / 2s, from the weights alone. Only as many levels are
    looked at as are needed to hold `count` coordinates.
    """
    import torch

    held = np.cumsum(levels)
    pool = int(held[np.searchsorted(held, count)])
    told = torch.full((2 * _PROBES,), -1) if classes else None
    effects = []
    with torch.no_grad():
        for start in range(0, pool, _PROBES):
            these = torch.arange(start, min(start + _PROBES, pool))
            probe = torch.zeros(2 * len(these), size)
            probe[torch.arange(len(these)), these] = _STEP
            probe[len(these) + torch.arange(len(these)), these] = -_STEP
            images = decode(probe, None if told is None else told[: len(probe)])
            effects.append((images[: len(these)] - images[len(these) :]).flatten(1).norm(dim=1))
    effect = torch.cat(effects).numpy()
    found: np.ndarray = np.argsort(-effect, kind="stable")[:count]
    return found
