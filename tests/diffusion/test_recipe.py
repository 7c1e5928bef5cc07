"""In which stretches a model learns, and what each of them trains."""

import numpy as np
import pytest
import torch

from privagams.records import Records
from privagams.roles import Phase, Space, Sums
from privagams.testing.catalogue import laws
from privagams.testing.subject import Bench as LawBench
from privagams.testing.subject import NotConcerned, Subject
from privagams.training.gradients import PatientGradients, trained_parameters
from privagams.training.train import fit
from privagams_diffusion import privagams_generators

RECIPES = {
    "all": {},
    "edm": {"prediction": "edm", "sampler": "heun"},
    "attention": {"tune": "attention", "pretrain": 2},
    "lora": {"tune": "lora", "pretrain": 2, "label_dropout": 0.3},
    "lora with convolutions": {"tune": "lora", "pretrain": 2, "lora_convs": True, "prediction": "edm"},
    "warm-up": {"warmup": 2, "central_images": 2},
    "everything": {"pretrain": 2, "warmup": 2, "central_images": 2, "tune": "lora"},
}


def shown(part):
    if isinstance(part, Sums):
        return part.name, "sums", part.count, part.share
    return part.name, part.data, part.steps, part.share


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({}, [("denoise", "members", 10, 1.0)]),
        ({"train_on": "reference"}, [("denoise", "reference", 10, 1.0)]),
        ({"pretrain": 7}, [("pre-train", "reference", 7, 1.0), ("denoise", "members", 10, 1.0)]),
        (
            {"warmup": 5, "central_images": 3, "central_share": 0.2},
            [
                ("central images", "sums", 3, 0.2),
                ("warm up", "released", 5, 1.0),
                ("denoise", "members", 10, 0.8),
            ],
        ),
        (
            {"pretrain": 7, "warmup": 5, "central_images": 3, "central_share": 0.25, "tune": "attention"},
            [
                ("pre-train", "reference", 7, 1.0),
                ("central images", "sums", 3, 0.25),
                ("warm up", "released", 5, 1.0),
                ("denoise", "members", 10, 0.75),
            ],
        ),
    ],
)
def test_each_recipe_has_its_phases_in_order(bench, settings, parts):
    assert [shown(part) for part in bench.make(**settings).phases()] == parts


def test_each_phase_has_its_own_numbers(bench):
    model = bench.make(
        pretrain=1, pretrain_learning_rate=0.1, warmup=1, warmup_learning_rate=0.2, learning_rate=0.3, ema=0.9
    )
    phases = [part for part in model.phases() if isinstance(part, Phase)]
    assert [(p.learning_rate, p.batch, p.ema) for p in phases] == [
        (0.1, 8, 0.9),
        (0.2, 8, 0.9),
        (0.3, 8, 0.9),
    ]


def names(phase):
    return set(trained_parameters(phase.module, phase.trains))


def test_attention_alone_learns_from_members_where_asked(bench):
    before, members = bench.make(pretrain=1, tune="attention").phases()
    assert names(before) == {name for name, _ in before.module.named_parameters()}
    assert names(members)
    assert all(".attentions." in name for name in names(members))


@pytest.mark.parametrize("convs", [False, True])
def test_adapters_alone_learn_from_members_and_all_else_before(bench, convs):
    before, members = bench.make(pretrain=1, tune="lora", lora_convs=convs).phases()
    everything = {name for name, _ in before.module.named_parameters()}
    assert all(".lora_" in name for name in names(members))
    assert names(before) == everything - names(members)
    assert all(p.requires_grad for p in before.module.parameters())
    assert any("conv" in name for name in names(members)) == convs
    assert {name.split(".lora_")[0].split("attentions.0.")[-1] for name in names(members)} >= {
        "to_q", "to_k", "to_v", "to_out.0"
    }  # fmt: skip


def test_adapters_start_as_no_change_and_change_the_loss_once_trained(bench):
    plain, adapted = bench.make(), bench.make(tune="lora", pretrain=1, lora_convs=True, lora_rank=2)
    batch, noise = bench.batch(plain, 4), plain.draw(4, bench.rng())
    torch.testing.assert_close(adapted(batch, noise), plain(batch, noise))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if ".lora_" in name:
                parameter.add_(0.1)
    assert not torch.allclose(adapted(batch, noise), plain(batch, noise))


def test_adapters_are_part_of_what_is_saved(bench):
    model = bench.moved(bench.make(tune="lora", pretrain=1))
    fresh = bench.make(tune="lora", pretrain=1, seed=9)
    fresh.load_state_dict({name: tensor.clone() for name, tensor in model.state_dict().items()})
    batch, noise = bench.batch(model, 4), model.draw(4, bench.rng())
    assert any(".lora_" in name for name in model.state_dict())
    assert torch.equal(model(batch, noise), fresh(batch, noise))


@pytest.mark.parametrize("recipe", RECIPES)
def test_gradients_per_patient_equal_those_of_a_loop(bench, recipe):
    model = bench.moved(bench.make(**RECIPES[recipe]))
    batch, noise = bench.batch(model, 6), model.draw(6, bench.rng())
    for phase in (part for part in model.phases() if isinstance(part, Phase)):
        parameters = trained_parameters(model, phase.trains)
        found = PatientGradients(model, list(parameters))(batch, noise, 3)
        for i in range(3):
            row = slice(2 * i, 2 * i + 2)
            loss = model({k: t[row] for k, t in batch.items()}, {k: t[row] for k, t in noise.items()}).mean()
            alone = torch.autograd.grad(loss, list(parameters.values()))
            norm = torch.cat([g.flatten() for g in alone]).norm()
            for name, gradient, wanted in zip(parameters, found, alone, strict=True):
                assert (gradient[i] - wanted).norm() < 1e-5 * norm, (phase.name, name)


@pytest.mark.parametrize("recipe", ["edm", "everything"])
@pytest.mark.parametrize("law", laws("generators"), ids=lambda law: law.__name__.removeprefix("check_"))
def test_a_recipe_keeps_the_laws_of_generators(tmp_path, recipe, law):
    (component,) = privagams_generators()
    small = {"channels": [8, 16], "sampling_steps": 2, "timesteps": 10, "steps": 2}
    subject = Subject("generators", component, small | RECIPES[recipe], ("privagams_diffusion",))
    try:
        law(subject, LawBench(tmp_path))
    except NotConcerned as reason:
        pytest.skip(str(reason))


def records(patients, seed):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (patients, 16, 16, 3), dtype=np.uint8)
    label = np.array(["benign", "tumour"], dtype=object)[np.arange(patients) % 2]
    return Records(
        pixels, {"patient": np.array([f"p{i}" for i in range(patients)], dtype=object), "label": label}
    )


@pytest.mark.parametrize("members", [True, False])
def test_the_core_trains_the_longest_recipe_and_members_move_adapters_alone(bench, tmp_path, members):
    still = 1e-30
    model = bench.make(
        **RECIPES["everything"],
        steps=3,
        learning_rate=0.1 if members else still,
        warmup_learning_rate=still if members else 0.1,
        pretrain_learning_rate=still,
    )
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    space = Space(16, 3, ("benign", "tumour"))
    result = fit(
        model, records(12, 0), records(12, 1), space, None, 12, 3, tmp_path, None, lambda *progress: None
    )
    assert result.steps == 2 + 2 + 2 + 3
    assert model.central.images()["pixels"].shape == (2 * 2 * 9, 3, 16, 16)
    moved = {
        name for name, tensor in model.state_dict().items() if (tensor - before[name]).abs().max() > 1e-9
    }
    assert moved
    assert all((".lora_" in name) == members for name in moved)
