import torch

from privagams_oneshot.fitting import distance, trust


def test_distance_is_unbiased_for_any_batch():
    rng = torch.Generator().manual_seed(0)
    centre, target = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.5, 0.0, 0.5])
    batches = centre + 3 * torch.randn(20000, 2, 3, generator=rng)
    estimate = distance(batches, target.expand(20000, 3))
    truth = (centre - target).square().sum() - target.square().sum()
    assert abs(estimate.mean() - truth) < 4 * estimate.std() / 20000**0.5
    # The biased estimate would be off by 3 · 9 / 2.
    assert 4 * estimate.std() / 20000**0.5 < 13.5 / 10


def test_entries_that_hold_only_noise_are_not_trusted():
    rng = torch.Generator().manual_seed(1)
    groups = torch.arange(2).repeat_interleave(500)
    means = 0.1 * torch.randn(2, 1000, generator=rng)
    means[:, 500:] += 0.3
    weights = trust(means, torch.tensor([[0.1], [0.0]]), groups)
    assert weights[0, :500].max() < 0.2
    assert abs(weights[0, 500:].mean() - 0.9) < 0.03
    assert torch.equal(weights[1], torch.ones(1000))
