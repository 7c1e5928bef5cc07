"""The diffusion model as the training loop and a release use it."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.func import functional_call, grad, vmap

from privagams.errors import ConfigError
from privagams.roles import Denoising, Trained
from privagams_diffusion import DiffusionSettings

PREDICTIONS = ["v", "epsilon", "edm"]


def trained_a_little(bench, model, steps=3, rate=1e-2):
    """Away from fresh biases of zero, where wrong gradients could hide."""
    batch = bench.batch(model, 8)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    rng = bench.rng(5)
    for _ in range(steps):
        model(batch, model.draw(8, rng)).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


def quiet(done, total):
    pass


@pytest.mark.parametrize("classes", [(), ("benign", "tumour")])
@pytest.mark.parametrize("planes", [1, 3])
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_there_is_one_finite_loss_per_record(bench, classes, planes, prediction):
    model = bench.make(classes=classes, planes=planes, prediction=prediction)
    losses = model(bench.batch(model, 5), model.draw(5, bench.rng()))
    assert losses.shape == (5,)
    assert torch.isfinite(losses).all()


def test_the_model_is_trained_by_one_phase_with_the_settings_numbers(bench):
    model = bench.make(learning_rate=0.01, ema=0.9)
    assert isinstance(model, Trained)
    (phase,) = model.phases()
    assert (phase.steps, phase.batch, phase.learning_rate, phase.ema) == (10, 8, 0.01, 0.9)
    assert phase.data == "members"


def test_all_noise_has_the_records_as_its_first_axis(bench):
    drawn = bench.make().draw(7, bench.rng())
    assert {len(tensor) for tensor in drawn.values()} == {7}


def test_replacing_one_record_changes_no_other_loss(bench):
    model = trained_a_little(bench, bench.make())
    batch, noise = bench.batch(model, 6), model.draw(6, bench.rng())
    before = model(batch, noise)
    pixels, labels = batch["pixels"].clone(), batch["labels"].clone()
    pixels[2], labels[2] = -pixels[2], 1 - labels[2]
    after = model({"pixels": pixels, "labels": labels}, noise)
    others = [0, 1, 3, 4, 5]
    torch.testing.assert_close(after[others], before[others], rtol=1e-6, atol=1e-6)
    assert abs(after[2] - before[2]) > 1e-4


def test_computing_losses_leaves_the_state_as_it_was(bench):
    model = bench.make()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model(bench.batch(model, 4), model.draw(4, bench.rng())).mean().backward()
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("attention", [True, False])
def test_gradients_by_vmap_equal_those_of_a_loop(bench, attention):
    model = trained_a_little(bench, bench.make(attention=attention, label_dropout=0.3))
    batch, noise = bench.batch(model, 4), model.draw(4, bench.rng())
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


def test_every_parameter_learns(bench):
    model = trained_a_little(bench, bench.make())
    model(bench.batch(model, 4), model.draw(4, bench.rng())).mean().backward()
    still = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    # One number added to all keys cancels in softmax, so only rounding moves that bias.
    assert {name for name in still if not name.endswith("to_k.bias")} == set()


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_few_steps_teach_the_loss_and_the_noise_prediction(bench, prediction):
    model = bench.make(size=8, planes=1, classes=(), prediction=prediction)
    batch = bench.batch(model, 8)
    batch["pixels"] = batch["pixels"].mean((2, 3), keepdim=True).sign().expand(-1, -1, 8, 8).clone()
    noise = model.draw(8, bench.rng(3))
    first = model(batch, noise).mean().item()
    optimizer, source = torch.optim.AdamW(model.parameters(), lr=3e-3), bench.rng(4)
    for _ in range(60):
        loss = model(batch, model.draw(8, source)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert model(batch, noise).mean().item() < 0.7 * first
    timestep = (model.levels - 0.5).abs().argmin().expand(8)
    level = model.levels[timestep][:, None, None, None]
    noisy = level.sqrt() * batch["pixels"] + (1 - level).sqrt() * noise["noise"]
    with torch.no_grad():
        found = model.predict_noise(noisy, timestep, None)
    left = (found - noise["noise"]).square().mean() / noise["noise"].square().mean()
    assert left < 0.7


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_noise_and_image_as_predicted_make_up_what_was_given(bench, prediction):
    model = bench.moved(bench.make(prediction=prediction))
    assert isinstance(model, Denoising)
    assert model.levels.shape == (50,)
    assert (model.levels[1:] < model.levels[:-1]).all()
    assert 0 < model.levels[-1] < model.levels[0] < 1
    noisy, labels = torch.randn(50, 3, 16, 16, generator=bench.rng()), torch.arange(50) % 3 - 1
    with torch.no_grad():
        noise = model.predict_noise(noisy, torch.arange(50), labels)
        level = model.levels.double()[:, None, None, None]
        sigma = ((1 - level) / level).sqrt()
        told = torch.where(labels < 0, model.hidden, labels)
        image = model._denoise(noisy.double() / level.sqrt(), sigma, told)
    assert noise.dtype == torch.float32
    made = level.sqrt() * image + (1 - level).sqrt() * noise
    torch.testing.assert_close(made, noisy.double(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_loss_is_the_weighted_error_of_the_image(bench, prediction):
    model = bench.moved(bench.make(prediction=prediction))
    batch, noise = bench.batch(model, 6), model.draw(6, bench.rng())
    sigma = noise["sigma"][:, None, None, None]
    with torch.no_grad():
        image = model._denoise(batch["pixels"] + sigma * noise["noise"], sigma, batch["labels"])
        losses = model(batch, noise)
    weight = {"v": 1 + 1 / sigma**2, "epsilon": 1 / sigma**2, "edm": (sigma**2 + 0.25) / (0.5 * sigma) ** 2}
    error = weight[prediction] * (image - batch["pixels"]) ** 2
    torch.testing.assert_close(losses, error.flatten(1).mean(1), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("sampler", ["ddim", "heun"])
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_each_sampler_draws_from_each_prediction(bench, prediction, sampler):
    model = bench.moved(bench.make(prediction=prediction, sampler=sampler, sampling_steps=3))
    drawn = model.sample(np.array([0, 1, -1]), bench.rng(), quiet)
    assert drawn.shape == (3, 16, 16, 3)
    assert drawn.std() > 1
    assert not np.array_equal(drawn[0], drawn[1])


def test_numbers_inside_the_network_may_be_coarser_and_losses_are_not(bench):
    fine, coarse = (bench.moved(bench.make(precision=p)) for p in ("float32", "bf16"))
    batch, noise = bench.batch(fine, 4), fine.draw(4, bench.rng())
    exact, rough = fine(batch, noise), coarse(batch, noise)
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    torch.testing.assert_close(rough, exact, rtol=0.05, atol=0.01)
    assert all(p.dtype == torch.float32 for p in coarse.parameters())


def test_drawn_images_are_bytes_of_the_space_and_depend_on_the_seed_alone(bench):
    model = trained_a_little(bench, bench.make())
    labels = np.array([0, 1, 1, -1, 0])
    drawn = model.sample(labels, bench.rng(7), quiet)
    assert drawn.dtype == np.uint8
    assert drawn.shape == (5, 16, 16, 3)
    assert np.array_equal(drawn, model.sample(labels, bench.rng(7), quiet))
    assert not np.array_equal(drawn, model.sample(labels, bench.rng(8), quiet))
    assert len(np.unique(drawn.reshape(5, -1), axis=0)) == 5


def test_the_label_changes_what_is_drawn(bench):
    model = trained_a_little(bench, bench.make(), steps=20)
    one, other = (model.sample(np.full(3, label), bench.rng(7), quiet) for label in (0, 1))
    assert not np.array_equal(one, other)


def test_no_images_are_drawn_for_no_labels(bench):
    assert bench.make().sample(np.empty(0, dtype=np.int64), bench.rng(), quiet).shape == (0, 16, 16, 3)


def test_progress_ends_at_its_total(bench):
    told = []
    bench.make(sampling_batch=2).sample(
        np.zeros(5, dtype=np.int64), bench.rng(), lambda done, total: told.append((done, total))
    )
    assert told == [(i + 1, 15) for i in range(15)]


def test_equal_seeds_give_equal_weights_and_leave_the_global_generator_alone(bench):
    torch.manual_seed(11)
    expected = torch.rand(1)
    torch.manual_seed(11)
    one, same, other = bench.make(seed=3), bench.make(seed=3), bench.make(seed=4)
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_a_saved_model_draws_the_same_images(bench, tmp_path):
    model, labels = trained_a_little(bench, bench.make()), np.array([0, 1])
    save_file(dict(model.state_dict()), tmp_path / "model.safetensors")
    fresh = bench.make(seed=9)
    fresh.load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert np.array_equal(model.sample(labels, bench.rng(), quiet), fresh.sample(labels, bench.rng(), quiet))


def test_guidance_needs_and_uses_hidden_labels(bench):
    with pytest.raises(ValueError, match=r"guidance: 2\.0 needs .* set label_dropout to about 0\.1"):
        DiffusionSettings(guidance=2.0)
    plain = trained_a_little(bench, bench.make(label_dropout=0.2), steps=10)
    guided = bench.make(label_dropout=0.2, guidance=3.0)
    guided.load_state_dict(plain.state_dict())
    labels = np.array([0, 1])
    assert not np.array_equal(
        plain.sample(labels, bench.rng(), quiet), guided.sample(labels, bench.rng(), quiet)
    )
    x, sigma = torch.randn(2, 3, 16, 16, generator=bench.rng()), torch.full((2, 1, 1, 1), 0.7)
    with torch.no_grad():
        told, blind = (plain._denoise(x, sigma, torch.tensor(k)) for k in ([0, 1], [2, 2]))
        found = guided._guided(x, sigma, torch.tensor([0, 1]))
    torch.testing.assert_close(found, blind + 3 * (told - blind))


def test_hidden_labels_do_not_reach_the_loss(bench):
    model = trained_a_little(bench, bench.make(label_dropout=0.5))
    batch, noise = bench.batch(model, 4), dict(model.draw(4, bench.rng()))
    noise["hide"] = torch.ones(4, dtype=torch.bool)
    flipped = {"pixels": batch["pixels"], "labels": 1 - batch["labels"]}
    assert torch.equal(model(batch, noise), model(flipped, noise))
    noise["hide"] = torch.zeros(4, dtype=torch.bool)
    assert not torch.equal(model(batch, noise), model(flipped, noise))


@pytest.mark.parametrize(
    ("size", "settings", "nearest"), [(30, {}, 32), (18, {"patch": 1, "channels": (8, 16, 16)}, 20)]
)
def test_a_size_that_cannot_be_halved_names_the_settings_and_the_way_out(bench, size, settings, nearest):
    with pytest.raises(
        ConfigError, match=rf"channels.*patch.*multiple of 4 px, found {size} px.*tiles\.size to {nearest}"
    ):
        bench.make(size=size, **settings)


@pytest.mark.parametrize("widths", [(), (12,), (0, 8)])
def test_widths_that_cannot_be_normalised_are_refused(widths):
    with pytest.raises(ValueError, match="multiple of 8"):
        DiffusionSettings(channels=widths)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"timesteps": 10, "sampling_steps": 20}, "at most timesteps"),
        ({"sigma_min": 5.0, "sigma_max": 2.0}, "sigma_min: expected less than sigma_max"),
        ({"tune": "lora"}, r"tune: .*set pretrain \(with a \[reference\]\) or start"),
        ({"tune": "attention", "pretrain": 5, "attention": False}, "tune: .*set attention = true"),
        ({"start_sha256": "00"}, "start_sha256: .*no start"),
        ({"warmup": 3, "train_on": "reference"}, r"warmup: .*set warmup to 0"),
        ({"warmup": -1}, "warmup"),
        ({"central_share": 1.0}, "central_share"),
        ({"prediction": "x"}, "prediction"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused_with_a_way_out(settings, text):
    with pytest.raises(ValueError, match=text):
        DiffusionSettings(**settings)


def test_heun_may_take_more_steps_than_there_are_timesteps():
    assert DiffusionSettings(timesteps=10, sampling_steps=20, sampler="heun").sampling_steps == 20
