import pytest
import torch

from privagams.roles import Summary
from privagams_oneshot.fitting import distance
from privagams_oneshot.scatter_blocks import direction_groups
from privagams_oneshot.scatter_fitting import scatter_distance
from privagams_oneshot.scatter_target import Target


@pytest.fixture
def known(scatter, cohort, tell):
    """A model that was told, images as it might draw them, and the explicit vectors of these."""

    def make(quadratic=True, caution=0.0, sigma=0.5):
        model = scatter(quadratic=quadratic, caution=caution)
        _, summary = tell(model, *cohort, sigma)
        pixels = torch.rand(12, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
        vectors = model.blocks.vectors(pixels, model._whitening).double().view(2, 6, -1)
        y, short = (part.view(2, 6, -1) for part in model.blocks.parts(pixels, model._whitening))
        return model, summary, vectors, scatter_distance(y, short, model._target)

    return make


@pytest.mark.parametrize("quadratic", [True, False])
def test_the_distance_by_gram_matrices_is_that_of_the_explicit_vectors(known, quadratic):
    model, summary, vectors, found = known(quadratic)
    counts = (summary.totals[0][:, :1] / model.blocks.roots[0]).double()
    means = summary.totals[0].double() / counts
    torch.testing.assert_close(
        found.double(), distance(vectors[:, :, 1:], means[:, 1:]), atol=1e-5, rtol=1e-4
    )


def test_weights_of_the_long_block_act_as_on_the_explicit_vectors(known):
    model, summary, vectors, found = known(caution=1.0)
    target, sizes = model._target, model.blocks.sizes
    row, column = torch.triu_indices(sizes[1], sizes[1])
    quadratic = target.pairs[:, target.groups[row], target.groups[column]]
    linear, rest = target.weights[:, : sizes[1]], target.weights[:, sizes[1] :]
    weights = torch.cat([torch.zeros(2, 1), linear, quadratic, rest], 1).double()
    assert 0 < quadratic.mean() < 1
    means = (summary.totals[0] / (summary.totals[0][:, :1] / model.blocks.roots[0])).double()
    expected = distance(vectors * weights.sqrt()[:, None], means * weights.sqrt())
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-4)


def test_the_scatter_distance_is_unbiased():
    rng = torch.Generator().manual_seed(0)
    matrix = torch.diag(torch.tensor([1.0, 0.5, 0.0, 0.0]))
    k = 20000
    target = Target(
        torch.zeros(k, 1),
        torch.ones(k, 1),
        matrix.expand(k, 4, 4),
        torch.ones(k, 1, 1),
        torch.zeros(4, dtype=torch.int64),
    )
    y = torch.randn(k, 2, 4, generator=rng)
    found = scatter_distance(y, torch.zeros(k, 2, 1), target)
    # E y y' = 1, so that |1 - M|^2 - |M|^2 = 0.25 + 2 - 1.25.
    error = found.std() / k**0.5
    assert abs(found.mean() - 1.0) < 4 * error
    # The biased estimate is off by (E |y|^4 - |E y y'|^2) / 2 = (24 - 4) / 2.
    assert 4 * error < 1.0


def test_blocks_of_noise_are_set_aside_and_signal_is_kept(scatter):
    blocks = scatter().blocks
    rng = torch.Generator().manual_seed(0)
    totals = torch.randn(1, 2, sum(blocks.sizes), generator=rng)
    totals[:, :, 0] = 100 * blocks.roots[0]
    totals[:, :, 1:9] += 50
    target = Target.of(Summary(totals, 200.0, 1.0), blocks, 1.0)
    assert target.weights[:, :8].min() > 0.99
    assert target.weights[:, 8:].mean() < 0.1
    assert target.pairs.max() < 0.5
    exact = Target.of(Summary(totals, 200.0, 0.0), blocks, 1.0)
    assert torch.equal(exact.weights, torch.ones_like(exact.weights))
    torch.testing.assert_close(exact.pairs, torch.ones_like(exact.pairs))


@pytest.mark.parametrize("d", [5, 8, 30, 980])
def test_every_direction_has_a_group(d):
    groups = direction_groups(d)
    assert len(groups) == d
    assert (groups.diff() >= 0).all()
    assert groups.bincount().min() > 0
