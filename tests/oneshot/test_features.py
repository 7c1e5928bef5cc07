import pytest
import torch

EXTREMES = {
    "random": lambda shape: torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1,
    "black": lambda shape: torch.full(shape, -1.0),
    "white": lambda shape: torch.full(shape, 1.0),
    "exploding": lambda shape: 1e30 * torch.randn(shape, generator=torch.Generator().manual_seed(0)),
    "infinite": lambda shape: torch.full(shape, float("inf")),
    "not a number": lambda shape: torch.full(shape, float("nan")),
}


@pytest.mark.parametrize("kind", EXTREMES)
@pytest.mark.parametrize(("size", "channels"), [(16, 3), (32, 1), (4, 1), (21, 3)])
@pytest.mark.parametrize("classes", [(), ("a", "b", "c")])
def test_features_have_norm_at_most_one_for_any_input(make, kind, size, channels, classes):
    model = make(size, channels, classes)
    batch = {"pixels": EXTREMES[kind]((6, channels, size, size)), "labels": torch.tensor([0, 1, 2, 2, 1, -1])}
    (asked,) = model.sums()
    features = asked.features(batch)
    norms = features.double().norm(dim=1)
    assert features.dtype == torch.float32
    assert norms.isfinite().all()
    assert norms.max() <= 1


def test_a_constant_image_uses_most_of_the_norm(make):
    # Noise is the same whatever the features are: a block that were always small would be thrown away.
    features = make(32, 3, ()).embedding(torch.zeros(1, 3, 32, 32))
    assert features.norm() > 0.9


def test_a_records_features_do_not_depend_on_other_records(make):
    model, rng = make(), torch.Generator().manual_seed(4)
    pixels = torch.rand(5, 3, 16, 16, generator=rng) * 2 - 1
    changed = torch.cat([pixels[:1], 1e6 * pixels[1:]])
    together, beside_others, alone = (model.embedding(x)[0] for x in (pixels, changed, pixels[:1]))
    torch.testing.assert_close(together, beside_others, atol=1e-6, rtol=0)
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)


def test_equal_seeds_give_equal_weights_and_frequencies(make):
    one, same, other = make(seed=5), make(seed=5), make(seed=6)
    pixels = torch.linspace(-1, 1, 768).view(1, 3, 16, 16)
    assert torch.equal(one.embedding(pixels), same.embedding(pixels))
    assert not torch.equal(one.embedding(pixels), other.embedding(pixels))
    for name, value in one.state_dict().items():
        assert torch.equal(value, same.state_dict()[name])


def test_building_a_model_leaves_the_global_random_state_alone(make):
    before = torch.random.get_rng_state()
    make(seed=9)
    assert torch.equal(before, torch.random.get_rng_state())


def test_speckle_and_blur_move_the_features(make):
    # Both are small against what classes differ by; without patterns of contours they vanish in the noise.
    rng = torch.Generator().manual_seed(2)
    pixels = (torch.rand(64, 3, 8, 8, generator=rng) - 0.5).repeat_interleave(4, 2).repeat_interleave(4, 3)
    model = make(32, 3, (), features=128)

    def moved(other):
        return (model.embedding(pixels) - model.embedding(other)).mean(0).norm()

    assert moved(pixels + 0.15 * torch.randn(pixels.shape, generator=rng)) > 0.05
    assert moved(torch.nn.functional.avg_pool2d(pixels, 3, 1, padding=1, count_include_pad=False)) > 0.05
