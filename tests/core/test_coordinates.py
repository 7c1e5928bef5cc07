"""The way from images to what is randomised and back, and which coordinates are strongest."""

import numpy as np
import pytest
import torch

from privagams.coordinates import Codec, cost_of_patient, latent_coordinates, pixel_coordinates, strongest
from privagams.errors import PluginError, StageError
from privagams.latents import EDGES, latent_figures
from privagams.randomise import images_of_each
from privagams.records import Records
from privagams.roles import Coordinates, Space

SIZE = 16


class Scaled:
    """A flow whose image is its latents, each times a number of its own."""

    levels = (4, 12)

    def __init__(self, scales):
        self.scales = torch.as_tensor(scales, dtype=torch.float32)

    def encode(self, batch):
        return batch["pixels"].flatten(1) / self.scales

    def decode(self, latents, labels):
        return (latents * self.scales).reshape(-1, 1, 4, 4)


class Doubling:
    """A randomiser that makes vectors large, and another that loses an entry."""

    def __init__(self, factor=1.0, size=SIZE):
        self.factor, self.size = factor, size

    def randomise(self, vectors):
        return np.full((len(vectors), self.size), self.factor)


def codec(model=None):
    space = Space(4, 1, ())
    return Codec(space, Coordinates(SIZE, lambda count: np.arange(count)), model)


def test_pixels_come_back_as_they_were(rng):
    pixels = rng.integers(0, 256, (3, 4, 4, 1), dtype=np.uint8)
    for model in (None, Scaled(np.linspace(0.5, 2, SIZE))):
        found = codec(model)
        assert np.array_equal(found.decode(found.encode(pixels)), pixels)


def test_what_an_image_cannot_show_is_clamped():
    far = np.array([[-7.0] * 8 + [7.0] * 8])
    assert set(codec().decode(far).ravel().tolist()) == {0, 255}


def test_strongest_coordinates_are_those_that_move_the_image_most_in_the_coarsest_levels():
    scales = np.array([1.0, 3.0, 0.5, 2.0, *[9.0] * 12])
    model = Scaled(scales)
    assert strongest(model.decode, SIZE, model.levels, 2, False).tolist() == [1, 3]
    # The fine level is looked at only where the coarse one is too small.
    assert set(strongest(model.decode, SIZE, model.levels, 5, False).tolist()) <= set(range(4, 16))


def test_a_flow_with_too_few_coordinates_is_refused():
    with pytest.raises(PluginError, match="16 in its levels"):
        latent_coordinates(Scaled(np.ones(SIZE)), Space(8, 1, ()))
    assert latent_coordinates(Scaled(np.ones(SIZE)), Space(4, 1, ())).size == SIZE


def test_a_mechanism_that_returns_something_else_is_named_before_anything_is_spent():
    with pytest.raises(PluginError, match="16 entries"):
        codec().rehearse(Doubling(size=15))
    with pytest.raises(PluginError, match="finite"):
        codec().rehearse(Doubling(factor=np.nan))


def test_a_decode_that_overflows_is_found_on_invented_vectors():
    class Bursting(Scaled):
        def decode(self, latents, labels):
            raise StageError("decode 0, level 1: NaN or infinite")

    with pytest.raises(StageError, match="level 1") as caught:
        codec(Bursting(np.ones(SIZE))).rehearse(Doubling())
    assert "before anything was spent" in "".join(caught.value.__notes__)


def test_an_image_that_is_no_picture_is_named():
    class Empty(Scaled):
        def decode(self, latents, labels):
            images = super().decode(latents, labels)
            images[2] = torch.nan
            return images

    with pytest.raises(StageError, match="vector 2"):
        codec(Empty(np.ones(SIZE))).decode(np.zeros((4, SIZE)))


def test_all_images_of_a_patient_are_priced_together():
    from privagams.ledger.accounting import epsilon
    from privagams.ledger.events import pure

    assert epsilon([cost_of_patient(pure(0.5), 4)], 1e-5)[0] == pytest.approx(2.0)


def records(counts, rng):
    patient = np.repeat([f"p{i}" for i in range(len(counts))], counts)
    return Records(rng.integers(0, 256, (len(patient), 4, 4, 1), dtype=np.uint8), {"patient": patient})


def test_exactly_so_many_images_are_taken_of_each_patient(rng):
    held = records([1, 3, 7], rng)
    found = images_of_each(held, np.ones(len(held), dtype=bool), 3, b"salt")
    assert {name: len(rows) for name, rows in found.items()} == {"p0": 3, "p1": 3, "p2": 3}
    assert set(found["p0"].tolist()) == {0}  # of one image, again and again: the number is public
    assert len(set(found["p2"].tolist())) == 3
    assert all(held.patient[row] == name for name, rows in found.items() for row in rows)


def test_which_images_are_taken_depends_on_salt_and_patient_alone(rng):
    few, more = records([5, 5], rng), records([5, 5, 9], rng)
    first, second = (images_of_each(r, np.ones(len(r), dtype=bool), 2, b"salt") for r in (few, more))
    assert first["p1"].tolist() == second["p1"].tolist()
    others = [images_of_each(few, np.ones(10, dtype=bool), 2, bytes([i]))["p1"].tolist() for i in range(20)]
    assert len({tuple(o) for o in others}) > 3


def test_latents_of_a_fitting_flow_look_normal_and_of_a_wrong_one_do_not(rng):
    scale = 0.3
    values = np.clip(rng.normal(0, scale, (200, 4, 4, 1)), -1, 1)
    held = Records(np.rint((values + 1) * 127.5).astype(np.uint8), {"patient": np.arange(200).astype(str)})
    fitting = latent_figures(codec(Scaled(np.full(SIZE, scale))), held, rng)
    wrong = latent_figures(codec(Scaled(np.full(SIZE, scale / 3))), held, rng)
    assert [level["sd"] for level in fitting["levels"]] == pytest.approx([1.0, 1.0], abs=0.1)
    assert all(level["sd"] > 2.5 for level in wrong["levels"])
    assert sum(fitting["histogram"]) == pytest.approx(1.0)
    assert len(fitting["histogram"]) == len(EDGES) - 1


def test_pixels_have_as_many_coordinates_as_values():
    assert pixel_coordinates(Space(8, 3, ())).size == 192


@pytest.fixture
def rng():
    return np.random.default_rng(5)
