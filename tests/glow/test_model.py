"""The model as the training loop, a local mechanism and a release use it."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.func import functional_call, grad, vmap

from privagams.errors import ConfigError, StageError
from privagams.roles import Invertible, Likelihood, Trained


def rng(seed=2):
    return torch.Generator().manual_seed(seed)


def quiet(done, total):
    pass


def test_the_model_plays_its_three_roles(make):
    model = make()
    assert isinstance(model, Trained)
    assert isinstance(model, Likelihood)
    assert isinstance(model, Invertible)


def test_the_phase_has_the_settings_numbers_and_data(make):
    (phase,) = make(learning_rate=0.01, ema=0.9, weight_decay=0.2, train_on="reference").phases()
    assert (phase.steps, phase.batch, phase.learning_rate, phase.ema) == (10, 8, 0.01, 0.9)
    assert (phase.weight_decay, phase.data) == (0.2, "reference")
    assert make().phases()[0].data == "members"


@pytest.mark.parametrize(("size", "count"), [(32, 3), (64, 4), (128, 5), (256, 6), (28, 2)])
def test_there_are_as_many_levels_as_fit_and_their_coordinates_add_up(make, size, count):
    model = make(size=size, depth=1, width=1)
    assert len(model.levels) == count
    assert sum(model.levels) == model.dimensions == size**2
    assert list(model.levels) == sorted(model.levels)


def test_the_coarsest_level_comes_first(make, perturbed, images):
    model = perturbed(make())
    latents = model.encode(images(model, 2))
    shifted = latents.clone()
    shifted[:, : model.levels[0]] += 1
    finest = latents.clone()
    finest[:, -1] += 1
    labels = torch.tensor([0, 1])
    before = model.decode(latents, labels)
    assert ((model.decode(shifted, labels) - before).abs() > 1e-4).float().mean() > 0.5
    assert ((model.decode(finest, labels) - before).abs() > 1e-4).float().mean() < 0.5


@pytest.mark.parametrize("classes", [(), ("benign", "tumour")])
def test_there_is_one_finite_loss_per_record_and_it_is_bits_per_dimension(make, perturbed, images, classes):
    model = perturbed(make(classes=classes))
    batch, noise = images(model, 5), model.draw(5, rng())
    noise["place"], noise["hide"] = torch.full_like(noise["place"], 0.5), torch.zeros(5, dtype=torch.bool)
    losses = model(batch, noise)
    assert losses.shape == (5,)
    torch.testing.assert_close(losses, model.bits_per_dimension(model.log_prob(batch)))


def test_replacing_one_record_changes_no_other_loss(make, perturbed, images):
    model = perturbed(make())
    batch, noise = images(model, 6), model.draw(6, rng())
    before = model(batch, noise)
    batch["pixels"][2] = -batch["pixels"][2]
    after = model(batch, noise)
    others = [0, 1, 3, 4, 5]
    torch.testing.assert_close(after[others], before[others], rtol=1e-6, atol=1e-6)
    assert abs(after[2] - before[2]) > 1e-4


def test_latents_and_images_of_a_row_depend_on_that_row_alone(make, perturbed, images):
    model = perturbed(make())
    batch = images(model, 4)
    latents = model.encode(batch)
    alone = model.encode({name: t[1:2] for name, t in batch.items()})
    torch.testing.assert_close(latents[1:2], alone, rtol=1e-4, atol=1e-5)
    decoded = model.decode(latents, batch["labels"])
    torch.testing.assert_close(
        model.decode(latents[1:2], batch["labels"][1:2]), decoded[1:2], rtol=1e-4, atol=1e-5
    )


def test_many_images_are_coded_as_few_at_once_are(make, perturbed, images, monkeypatch):
    model = perturbed(make())
    batch = images(model, 7)
    whole = model.encode(batch)
    monkeypatch.setattr("privagams_glow.model.POSITIONS_AT_ONCE", 3 * 64)
    torch.testing.assert_close(model.encode(batch), whole, rtol=1e-4, atol=1e-5)
    assert model.encode({"pixels": torch.empty(0, 1, 16, 16)}).shape == (0, 256)


def test_computing_losses_leaves_the_state_as_it_was(make, images):
    model = make()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model(images(model, 4), model.draw(4, rng())).mean().backward()
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("classes", [(), ("benign", "tumour")])
def test_gradients_by_vmap_equal_those_of_a_loop(make, perturbed, images, classes):
    model = perturbed(make(label_dropout=0.3, planes=3, classes=classes))
    batch, noise = images(model, 4), model.draw(4, rng())
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def loss(parameters, batch, noise):
        one = ({k: t[None] for k, t in batch.items()}, {k: t[None] for k, t in noise.items()})
        return functional_call(model, parameters, one).sum()

    at_once = vmap(grad(loss), in_dims=(None, 0, 0))(parameters, batch, noise)
    for i in range(4):
        model.zero_grad()
        row = slice(i, i + 1)
        model({k: t[row] for k, t in batch.items()}, {k: t[row] for k, t in noise.items()}).sum().backward()
        norm = torch.cat([p.grad.flatten() for p in model.parameters()]).norm()
        for name, parameter in model.named_parameters():
            assert (at_once[name][i] - parameter.grad).norm() < 1e-5 * norm, name


def test_every_parameter_learns(make, perturbed, images):
    model = perturbed(make())
    model(images(model, 6), model.draw(6, rng())).mean().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_bits_per_dimension_fall_in_training(make, trained, images):
    model = make()
    batch = images(model, 32)
    before = model.bits_per_dimension(model.log_prob(batch)).mean()
    after = model.bits_per_dimension(trained(model, steps=60).log_prob(batch)).mean()
    assert after < before - 0.3


def test_latents_of_drawn_images_are_standard_normal(make, trained):
    model = trained(make())
    labels = torch.zeros(200, dtype=torch.int64)
    drawn = torch.randn((200, model.dimensions), generator=rng())
    images = model.decode(drawn, labels)
    inside = (images.abs() <= 1).flatten(1).all(1)
    latents = model.encode({"pixels": images, "labels": labels})
    assert abs(float(latents.mean())) < 0.02
    assert abs(float(latents.std()) - 1) < 0.02
    assert inside.any() or float(images.abs().max()) < 100


def test_the_class_changes_the_prior_and_no_class_is_between(make, trained, images):
    model = trained(make())
    batch = images(model, 3)
    told = {label: model.log_prob(batch | {"labels": torch.full((3,), label)}) for label in (-1, 0, 1)}
    assert not torch.allclose(told[0], told[1])
    assert not torch.allclose(told[0], told[-1])
    without = model.log_prob({"pixels": batch["pixels"]})
    torch.testing.assert_close(without, told[-1])
    latents = model.encode(batch)
    assert not torch.allclose(model.decode(latents, torch.zeros(3, dtype=torch.int64)),
                              model.decode(latents, torch.ones(3, dtype=torch.int64)))  # fmt: skip
    torch.testing.assert_close(model.decode(latents, None), model.decode(latents, torch.full((3,), -1)))


def test_hidden_labels_do_not_reach_the_loss(make, trained, images):
    model = trained(make(label_dropout=0.5))
    batch, noise = images(model, 4), dict(model.draw(4, rng()))
    batch["labels"] = torch.tensor([0, 1, 0, 1])
    flipped = batch | {"labels": 1 - batch["labels"]}
    noise["hide"] = torch.ones(4, dtype=torch.bool)
    assert torch.equal(model(batch, noise), model(flipped, noise))
    noise["hide"] = torch.zeros(4, dtype=torch.bool)
    assert not torch.equal(model(batch, noise), model(flipped, noise))


@pytest.mark.parametrize("value", [-1.0, 0.0, 1.0])
def test_latents_of_constant_images_are_finite(make, trained, value):
    model = trained(make())
    latents = model.encode({"pixels": torch.full((1, 1, 16, 16), value), "labels": torch.tensor([0])})
    assert torch.isfinite(latents).all()
    back = model.decode(latents, torch.tensor([0]))
    assert (back - value).abs().max() < 1e-3


def test_drawn_images_are_bytes_and_depend_on_the_seed_and_the_temperature(make, trained):
    model = trained(make(planes=3))
    labels = np.array([0, 1, 1, -1, 0])
    told = []
    drawn = model.sample(labels, rng(7), lambda done, total: told.append((done, total)))
    assert drawn.dtype == np.uint8
    assert drawn.shape == (5, 16, 16, 3)
    assert told[-1] == (5, 5)
    assert np.array_equal(drawn, model.sample(labels, rng(7), quiet))
    assert not np.array_equal(drawn, model.sample(labels, rng(8), quiet))
    assert model.sample(labels[:0], rng(), quiet).shape == (0, 16, 16, 3)
    cold = make(planes=3, temperature=0.1)
    cold.load_state_dict(model.state_dict())
    calm, lively = (
        m.sample(np.zeros(50, dtype=np.int64), rng(1), quiet).std(0).mean() for m in (cold, model)
    )
    assert calm < 0.5 * lively


def test_equal_seeds_give_equal_weights_and_leave_the_global_generator_alone(make):
    torch.manual_seed(11)
    expected = torch.rand(1)
    torch.manual_seed(11)
    one, same, other = (make(seed=seed).state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_a_saved_model_draws_the_same_images(make, trained, tmp_path):
    model, labels = trained(make()), np.array([0, 1])
    save_file(dict(model.state_dict()), tmp_path / "model.safetensors")
    fresh = make(seed=9)
    fresh.load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert np.array_equal(model.sample(labels, rng(), quiet), fresh.sample(labels, rng(), quiet))


@pytest.mark.parametrize(
    ("size", "levels", "nearest"), [(36, 3, "40|32"), (48, 5, "64|32"), (33, None, "32|34")]
)
def test_a_size_that_cannot_be_halved_names_the_nearest_that_can(make, size, levels, nearest):
    with pytest.raises(ConfigError, match=rf"found {size} px; change tiles\.size to ({nearest})"):
        make(size=size, levels=levels)


def test_the_record_and_block_where_numbers_overflow_are_named(make, perturbed, images):
    model = perturbed(make())
    batch = images(model, 5)
    batch["pixels"][3, 0, 2, 2] = float("nan")
    with pytest.raises(StageError, match=r"encode: image 3, as given"):
        model.encode(batch)
    latents = torch.zeros(4, model.dimensions)
    latents[2, 0] = float("inf")
    with pytest.raises(StageError, match=r"decode: vector 2, as given"):
        model.decode(latents, None)
    latents[2, 0] = 3e38
    with pytest.raises(StageError, match=r"decode: vector 2, level \d+, (prior|step \d+): expected finite"):
        model.decode(latents, None)
    with torch.no_grad():
        model.net.levels[1].log_scale[1] = 29.5
    with pytest.raises(StageError, match=r"encode: image 0, level 2, step 2: expected finite"):
        model.encode(images(model, 5) | {"pixels": images(model, 5)["pixels"] * 10})


def test_images_and_latents_of_another_size_are_refused(make):
    model = make()
    with pytest.raises(StageError, match=r"expected images of shape \(n, 1, 16, 16\), found \(2, 1, 8, 8\)"):
        model.encode({"pixels": torch.zeros(2, 1, 8, 8)})
    with pytest.raises(StageError, match=r"expected images of shape"):
        model.log_prob({"pixels": torch.zeros(2, 3, 16, 16)})
    with pytest.raises(StageError, match=r"expected latents of shape \(n, 256\), found \(2, 64\)"):
        model.decode(torch.zeros(2, 64), None)


@pytest.mark.parametrize(
    ("other", "named"),
    [({"width": 4}, r"near\.weight: expected .*8.*, found .*4"), ({"depth": 3}, r"couplings\.2\.\S+ is unknown"),
     ({"depth": 1}, r"couplings\.1\.\S+ is missing"), ({"classes": ()}, "by_class is missing"),
     ({"levels": 1}, "is missing")],
)  # fmt: skip
def test_weights_of_another_architecture_are_refused_by_name(make, other, named):
    with pytest.raises(StageError, match=rf"expected those of this architecture, found others .*{named}"):
        make().load_state_dict(make(**other).state_dict())


def test_damaged_weights_are_refused_by_name(make):
    model = make()
    for name, value in (("net.base", float("nan")), ("net.levels.0.order", 0), ("net.levels.1.sign", 0.5)):
        state = {key: tensor.clone() for key, tensor in model.state_dict().items()}
        state[name].fill_(value)
        with pytest.raises(StageError, match=rf"damaged {name}"):
            model.load_state_dict(state)
