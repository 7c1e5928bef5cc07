"""Linkage of copies by correlation: of pixels, and of latent vectors of the release's own flow."""

import math

import numpy as np
import pytest
import torch

from privagams.access import Access, Target, World
from privagams.errors import AccessError, NotApplicable
from privagams.judge.linkage import rank_probes
from privagams.records import Records
from privagams.testing.mirror import Mirror
from privagams_attacks import build_latent_matching, build_pixel_matching, correlation
from privagams_attacks import settings as s

SIDE = 16
SIZE = SIDE * SIDE
SPREAD = 0.4


def quiet(level, what):
    """A note that nobody reads."""


def latent():
    return Mirror((1, SIDE, SIDE), quiet)


def images_of(vectors):
    """Decode and round to 8 bits, as a release does."""
    images = latent().decode(torch.from_numpy(vectors), None).permute(0, 2, 3, 1).numpy()
    return np.clip(np.rint((images + 1) * 127.5), 0, 255).astype(np.uint8)


def records(pixels, patient, **columns):
    return Records(pixels, {"patient": np.asarray(patient, dtype=str), **columns})


def noised(vectors, noise, rng):
    """The Laplace mechanism with clip 3, shrunk as the mechanisms do."""
    return (np.clip(vectors, -3, 3) + rng.laplace(0, noise, vectors.shape)) / math.sqrt(1 + 2 * noise**2)


def case(rng, patients=40, noise=1.0, per=2, access=Access.WEIGHTS, model=latent):
    """Gaussian latents: the first image of each of the first half is released, and all are known."""
    latents = rng.standard_normal((patients, per, SIZE))
    names = np.array([f"p{i:03d}" for i in range(patients)])
    order = rng.permutation(patients * per)
    owner = np.repeat(names, per)[order]
    files = np.array([f"{n}-{k}" for n in names for k in range(per)])[order]
    candidates = records(images_of(latents.reshape(-1, SIZE))[order], owner, image=files)
    behind = rng.permutation(patients)[: patients // 2]
    released = records(
        images_of(noised(latents[behind, 0], noise, rng)), [""] * len(behind), group=np.arange(len(behind))
    )
    target = Target(released, access, len(behind), model=None if model is None else lambda: model())
    return target, World(candidates, names, None, (), features=lambda use, r: None), behind


def latent_matching(**given):
    return build_latent_matching(s.LatentMatchingSettings(**given))


def pixel_matching(**given):
    return build_pixel_matching(s.PixelMatchingSettings(**given))


def test_latent_scores_equal_the_formula():
    rng = np.random.default_rng(1)
    target, world, _ = case(rng, patients=6)
    scores = latent_matching(clip=1.5).run(target, world, rng)

    def vectors(pixels):
        scaled = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
        cut = latent().encode({"pixels": scaled}).clamp(-1.5, 1.5).numpy()
        return cut / np.linalg.norm(cut, axis=1, keepdims=True)

    alike = vectors(target.released.read()) @ vectors(world.candidates.read()).T
    for j, name in enumerate(world.patients):
        expected = alike[:, world.candidates.patient == name].max(axis=1)
        assert scores.values[:, j] == pytest.approx(expected, rel=1e-9)
    for j, name in enumerate(world.images):
        assert scores.by_image[:, j] == pytest.approx(
            alike[:, world.candidates.column("image") == name][:, 0]
        )


def test_pixel_scores_are_pearsons_correlation():
    rng = np.random.default_rng(2)
    target, world, _ = case(rng, patients=5, access=Access.RELEASED, model=None)
    values = pixel_matching().run(target, world, rng).values
    flat = target.released.read().reshape(len(target.released), -1)
    for g in range(target.groups):
        for j, name in enumerate(world.patients):
            known = world.candidates.read()[world.candidates.patient == name]
            expected = max(np.corrcoef(flat[g], other.ravel())[0, 1] for other in known)
            assert values[g, j] == pytest.approx(expected, rel=1e-9)


def test_several_images_of_a_group_are_averaged():
    rng = np.random.default_rng(3)
    target, world, _ = case(rng, patients=8)
    values = latent_matching().run(target, world, rng).values
    table = {**target.released.table, "group": np.array([0, 0, 1, 1])}
    pairs = Target(Records(target.released.pixels, table), Access.WEIGHTS, 2, model=latent)
    expected = values.reshape(2, 2, -1).mean(axis=1)
    assert latent_matching().run(pairs, world, rng).values == pytest.approx(expected, rel=1e-9)


def test_latent_noise_hides_nobody_before_the_predicted_threshold():
    """√(d / (1 + 2b²)) = √(2 ln N) at b*; far below it all are linked, far above nobody is."""
    rng = np.random.default_rng(4)
    patients, per = 60, 1
    critical = math.sqrt((SIZE / (2 * math.log(patients * per)) - 1) / 2)
    found = {}
    for share in (0.25, 8.0):
        target, world, behind = case(rng, patients, share * critical, per)
        values = latent_matching().run(target, world, rng).values
        probes = rank_probes(values, world.patients[behind], world.patients, np.ones(patients, dtype=bool))
        found[share] = probes.top1[np.arange(len(probes.own)), probes.own].mean()
    assert found[0.25] > 0.9
    assert found[8.0] < 0.15


@pytest.mark.parametrize("make", [latent_matching, pixel_matching])
def test_a_row_depends_on_its_own_group_alone(make, monkeypatch):
    rng = np.random.default_rng(5)
    target, world, _ = case(rng)
    full = make().run(target, world, rng)
    alone = target.released.take(np.array([3]))
    alone = Records(alone.read(), {**alone.table, "group": np.array([0])})
    one = make().run(Target(alone, Access.WEIGHTS, 1, model=latent), world, rng)
    assert one.values[0] == pytest.approx(full.values[3], rel=1e-9)
    assert one.by_image[0] == pytest.approx(full.by_image[3], rel=1e-9)


@pytest.mark.parametrize("make", [latent_matching, pixel_matching])
def test_small_chunks_change_nothing(make, monkeypatch):
    rng = np.random.default_rng(6)
    target, world, _ = case(rng)
    expected = make().run(target, world, rng)
    monkeypatch.setattr(correlation, "_CHUNK_BYTES", 8 * SIZE * 3)
    monkeypatch.setattr(correlation, "_GALLERY_ROWS", 7)
    found = make().run(target, world, rng)
    assert found.values == pytest.approx(expected.values, rel=1e-9)
    assert found.by_image == pytest.approx(expected.by_image, rel=1e-9)


def test_the_coarsest_coordinates_can_be_compared_alone():
    rng = np.random.default_rng(7)
    target, world, behind = case(rng, noise=0.1)
    few, all_of_them = latent_matching(coordinates=16), latent_matching()
    values, full = few.run(target, world, rng).values, all_of_them.run(target, world, rng).values
    assert not np.allclose(values, full)
    assert (values.argmax(axis=1) == behind).mean() > 0.9


def test_extreme_coordinates_are_cut():
    """One coordinate sent far out, the same for all, hides what the others say unless it is cut."""

    class Odd(Mirror):
        def encode(self, batch):
            vectors = super().encode(batch).clone()
            vectors[:, 0] = 1e4
            return vectors

    rng = np.random.default_rng(8)
    target, world, behind = case(rng, noise=2.0, model=lambda: Odd((1, SIDE, SIDE), quiet))
    cut = latent_matching().run(target, world, rng).values
    uncut = latent_matching(clip=1e9).run(target, world, rng).values
    assert (cut.argmax(axis=1) == behind).mean() > 0.8
    assert np.ptp(uncut) < 1e-3


def test_a_blank_copy_looks_like_nobody():
    rng = np.random.default_rng(9)
    target, world, _ = case(rng, patients=4)
    blank = Records(np.full_like(target.released.read(), 127), target.released.table)
    values = pixel_matching().run(Target(blank, Access.RELEASED, target.groups), world, rng).values
    assert (values == 0).all()


def test_labels_of_copies_and_candidates_are_not_told_to_the_flow():
    told = []

    class Asking(Mirror):
        def encode(self, batch):
            told.append(batch["labels"])
            return super().encode(batch)

    rng = np.random.default_rng(10)
    target, world, _ = case(rng)
    table = {**target.released.table, "label": np.full(len(target.released), "ill")}
    labelled = Target(
        Records(target.released.pixels, table), Access.WEIGHTS, target.groups,
        model=lambda: Asking((1, SIDE, SIDE), quiet), classes=("ill", "well"),
    )  # fmt: skip
    latent_matching().run(labelled, world, rng)
    assert told
    assert all((labels == -1).all() for labels in told)


@pytest.mark.parametrize(
    ("model", "why"), [(None, "no model behind"), (lambda: object(), "gives no latent vectors")]
)
def test_without_a_flow_latent_matching_is_not_applicable(model, why):
    rng = np.random.default_rng(11)
    target, world, _ = case(rng, patients=4, model=model)
    with pytest.raises(NotApplicable, match=why):
        latent_matching().run(target, world, rng)


@pytest.mark.parametrize("make", [latent_matching, pixel_matching])
def test_drawn_images_are_not_applicable(make):
    rng = np.random.default_rng(12)
    target, world, _ = case(rng, patients=4)
    drawn = Target(target.released, Access.WEIGHTS, None, model=latent)
    with pytest.raises(NotApplicable, match="were drawn"):
        make().run(drawn, world, rng)


def test_the_flow_takes_access_to_weights():
    rng = np.random.default_rng(13)
    target, world, _ = case(rng, patients=4, access=Access.LOSS)
    with pytest.raises(AccessError, match="weights"):
        latent_matching().run(target, world, rng)


@pytest.mark.parametrize("make", [latent_matching, pixel_matching])
def test_the_gallery_is_what_the_adversary_holds(make):
    assert make().holds == "other images"
    assert make(gallery="all images").holds == "all images"
