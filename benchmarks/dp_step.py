"""What privacy costs per training step, and what the framework costs round the loop; ratios of one run.

    python benchmarks/dp_step.py [--rounds 7] [--patients 8] [--device cpu]

diffusers' UNet2DModel with attention, 28 px, 0.7 million parameters; K = 4 draws per record, one record per
patient. Process time, one thread, least of several alternating rounds: other work on the machine adds, never
takes away. On a GPU wall time, synchronised. "error" is the largest distance between a patient's gradient and
the same computed by itself through plain autograd, relative to its norm; ghost clipping makes no gradients of
patients, so that it has none. Memory: the peak of a
process of its own over that of one that only imports and builds the network.
"""

import argparse
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DModel
from opacus import GradSampleModule
from opacus.grad_sample import GradSampleModuleFastGradientClipping
from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping
from opacus.utils.fast_gradient_clipping_utils import DPTensorFastGradientClipping
from torch import nn

from privagams.records import Records
from privagams.roles import Phase, Space
from privagams.training.feed import Feed
from privagams.training.gradients import PatientGradients
from privagams.training.phase_run import PhaseRun, PrivateSteps
from privagams.training.train import fit
from privagams_dp import entropy
from privagams_dp.noisy_sum import GaussianSum

SIZE, DRAWS = 28, 4


class Loss(nn.Module):
    """Noise prediction, one loss per record."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.unet = UNet2DModel(
            sample_size=SIZE, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(32, 64),
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"), norm_num_groups=8, attention_head_dim=8,
        )  # fmt: skip

    def forward(self, batch, noise):
        guess = self.unet(0.7 * batch["pixels"] + 0.7 * noise["eps"], noise["t"], return_dict=False)[0]
        return (guess - noise["eps"]).square().flatten(1).mean(1)


class Model(nn.Module):
    """A generator's model for `fit`: one phase of noise prediction."""

    def __init__(self, steps, batch):
        super().__init__()
        self.net, self.steps, self.batch = Loss(), steps, batch

    def phases(self):
        return [Phase("denoise", self.net, draw, self.steps, 3e-4, self.batch, ema=0.999)]

    def sample(self, labels, rng, progress):
        raise NotImplementedError


class Fixed:
    """A mechanism of fixed noise: calibration happens once a training and is no part of a step."""

    kind, adjacency, protects = "gradients", "zero-out", "a benchmark"
    epsilon, delta, clip_norm, tiles_per_step, noise_draws = 8.0, 1e-4, 1.0, 1, DRAWS

    def __init__(self, patients):
        self.physical_patients = patients

    def sampling_rate(self, patients):
        return 1.0

    def noisy_sum(self, like, noise_multiplier, patients):
        return GaussianSum(like, 1.0, 1.0, 1.0)


def draw(n, rng):
    return {
        "eps": torch.randn(n, 1, SIZE, SIZE, generator=rng),
        "t": torch.randint(0, 1000, (n,), generator=rng),
    }


def records(patients):
    pixels = np.random.default_rng(0).integers(0, 256, (patients, SIZE, SIZE, 1), dtype=np.uint8)
    return Records(pixels, {"patient": np.array([f"p{i:03d}" for i in range(patients)])})


def plain_step(patients, device):
    """The same records × draws in one ordinary minibatch, AdamW and moving average."""
    phase = Model(1, patients * DRAWS).to(device).phases()[0]
    run, feed = PhaseRun(phase), Feed(records(patients), (), device)
    rng, rows = torch.Generator().manual_seed(0), np.repeat(np.arange(patients), DRAWS)

    def step():
        noise = {k: t.to(device) for k, t in draw(len(rows), rng).items()}
        loss = phase.module(feed.batch(rows), noise).mean()
        run.apply(list(torch.autograd.grad(loss, list(run.parameters.values()))))

    return step


def private_step(patients, device):
    """The product's: coins, draws, one gradient per patient, clip, noise, AdamW, moving average."""
    phase = Model(1, 1).to(device).phases()[0]
    run, mechanism = PhaseRun(phase), Fixed(patients)
    door = mechanism.noisy_sum(list(run.parameters.values()), 1.0, patients)
    steps = PrivateSteps(
        phase, list(run.parameters), Feed(records(patients), (), device), mechanism, door, patients, device
    )
    return lambda: run.apply(steps.gradients(0))


def opacus_step(patients, device, functorch):
    """Opacus' functorch mode or hooks: every draw a sample; averaged per patient before clipping by hand."""
    module = Loss().to(device)
    wrapped = GradSampleModule(module, force_functorch=functorch, loss_reduction="sum", batch_first=True)
    adam = torch.optim.AdamW(module.parameters(), lr=3e-4)
    optimiser = DPOptimizer(adam, noise_multiplier=1.0, max_grad_norm=1.0, expected_batch_size=patients)
    feed, rng = Feed(records(patients), (), device), torch.Generator().manual_seed(0)
    rows = np.repeat(np.arange(patients), DRAWS)

    def step():
        noise = {k: t.to(device) for k, t in draw(len(rows), rng).items()}
        wrapped(feed.batch(rows), noise).sum().backward()
        for p in module.parameters():
            p.grad_sample = p.grad_sample.unflatten(0, (patients, DRAWS)).mean(1)
        optimiser.step()
        optimiser.zero_grad()

    return step


def ghost(module, samples, noise_multiplier=1.0, clip_norm=1.0):
    wrapped = GradSampleModuleFastGradientClipping(
        module, loss_reduction="sum", max_grad_norm=clip_norm, use_ghost_clipping=True
    )
    optimiser = DPOptimizerFastGradientClipping(
        torch.optim.AdamW(module.parameters(), lr=3e-4), noise_multiplier=noise_multiplier,
        max_grad_norm=clip_norm, expected_batch_size=samples, loss_reduction="sum",
    )  # fmt: skip
    return wrapped, optimiser


def ghost_step(patients, device):
    """Opacus' ghost clipping: every draw is clipped by itself, since it has no gradient of a patient to average."""
    module = Loss().to(device)
    feed, rng = Feed(records(patients), (), device), torch.Generator().manual_seed(0)
    rows = np.repeat(np.arange(patients), DRAWS)
    wrapped, optimiser = ghost(module, len(rows))

    def step():
        noise = {k: t.to(device) for k, t in draw(len(rows), rng).items()}
        losses = wrapped(feed.batch(rows), noise)
        DPTensorFastGradientClipping(wrapped, optimiser, losses, loss_reduction="sum").backward()
        optimiser.step()
        optimiser.zero_grad()

    return step


def errors(patients=3):
    """Largest relative error of a patient's gradient: ours, and Opacus' modes."""
    module, rng = Loss(), torch.Generator().manual_seed(1)
    batch = {"pixels": torch.randn(patients * DRAWS, 1, SIZE, SIZE, generator=rng)}
    noise = draw(patients * DRAWS, rng)
    parameters = dict(module.named_parameters())
    expected = []
    for i in range(patients):
        rows = slice(i * DRAWS, (i + 1) * DRAWS)
        loss = module({"pixels": batch["pixels"][rows]}, {k: t[rows] for k, t in noise.items()}).mean()
        expected.append(flat(torch.autograd.grad(loss, list(parameters.values()))))
    found = {"PRIVAGAMS": PatientGradients(module, list(parameters))(batch, noise, patients)}
    for name, functorch in (("Opacus functorch", True), ("Opacus hooks", False)):
        other = Loss()
        wrapped = GradSampleModule(other, force_functorch=functorch, loss_reduction="sum")
        wrapped(batch, noise).sum().backward()
        found[name] = [p.grad_sample.unflatten(0, (patients, DRAWS)).mean(1) for p in other.parameters()]
    return {
        name: max(
            float((flat([t[i] for t in tensors]) - e).norm() / e.norm()) for i, e in enumerate(expected)
        )
        for name, tensors in found.items()
    }


def flat(tensors):
    return torch.cat([t.flatten() for t in tensors])


def clock(device):
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def fastest(steps, rounds, device):
    """Least time of each step; rounds alternate, so that a slow minute meets all of them."""
    best = dict.fromkeys(steps, float("inf"))
    for step in steps.values():
        step()
    for _ in range(rounds):
        for name, step in steps.items():
            start = clock(device)
            step()
            best[name] = min(best[name], clock(device) - start)
    return best


def peaks(patients, device):
    """MB beyond what a process needs that only imports and builds the network."""
    found = {}
    for name in ("nothing", *makers()):
        command = [
            sys.executable,
            __file__,
            "--memory-of",
            name,
            "--patients",
            str(patients),
            "--device",
            device,
        ]
        found[name] = int(subprocess.run(command, capture_output=True, check=True, text=True).stdout) / 1024
    nothing = found.pop("nothing")
    return {name: peak - nothing for name, peak in found.items()}


def peak_of(name, patients, device):
    """KiB at the peak of two steps."""
    if name == "nothing":
        Loss()
    else:
        step = makers()[name](patients, device)
        for _ in range(2):
            step()
    if device != "cpu":
        return torch.cuda.max_memory_allocated() // 1024
    # Not getrusage: there a child starts with its parent's peak.
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in status if line.startswith("VmHWM")))


def overhead(rounds, device, steps=50, batch=32):
    """`fit` against a bare loop of the same computations: 50 steps, one block, one checkpoint, weights."""
    best = {"bare": float("inf"), "fit": float("inf")}
    for _ in range(rounds):
        start = clock(device)
        bare_loop(steps, batch, device)
        best["bare"] = min(best["bare"], clock(device) - start)
        with tempfile.TemporaryDirectory() as folder:
            start = clock(device)
            fit(
                Model(steps, batch), records(64), None, Space(SIZE, 1), None, 64, 0, Path(folder), None,
                lambda done, total: None, device=device, watch=False,
            )  # fmt: skip
            best["fit"] = min(best["fit"], clock(device) - start)
    return best


def bare_loop(steps, batch, device):
    net = Loss().to(device)
    average = [p.detach().clone() for p in net.parameters()]
    pixels = torch.from_numpy(records(64).pixels).permute(0, 3, 1, 2).float().div(127.5).sub(1).contiguous()
    adam, rng = (
        torch.optim.AdamW(net.parameters(), lr=3e-4, weight_decay=0.0),
        torch.Generator().manual_seed(0),
    )
    for _ in range(steps):
        rows = torch.randint(0, len(pixels), (batch,), generator=rng)
        noise = {k: t.to(device) for k, t in draw(batch, rng).items()}
        net({"pixels": pixels[rows].to(device)}, noise).mean().backward()
        adam.step()
        adam.zero_grad(set_to_none=True)
        with torch.no_grad():
            torch._foreach_lerp_(average, list(net.parameters()), 0.001)


def makers():
    return {
        "without privacy": plain_step,
        "PRIVAGAMS": private_step,
        "Opacus functorch": lambda *where: opacus_step(*where, functorch=True),
        "Opacus hooks": lambda *where: opacus_step(*where, functorch=False),
        "Opacus ghost": ghost_step,
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--patients", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--memory-of", help="run two steps of one kind and print the peak, KiB")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message=r"(?s).*batching rule for aten::_scaled_dot_product")
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch")
    warnings.filterwarnings("ignore", message=".*[Ff]ull backward hook")
    device, patients = asked.device, asked.patients
    if asked.memory_of:
        print(peak_of(asked.memory_of, patients, device))
        return
    entries = sum(p.numel() for p in Loss().parameters())
    best = fastest({k: make(patients, device) for k, make in makers().items()}, asked.rounds, device)
    report_steps(best, errors(), peaks(patients, device), patients, entries, device)
    noise = fastest({"noise": lambda: entropy.gaussian(torch.Size([entries]), 1.0)}, asked.rounds, device)
    share = noise["noise"] / best["PRIVAGAMS"]
    print(f"noise: {1e3 * noise['noise']:.1f} ms, {share:.1%} of a step,", end=" ")
    print(f"{noise['noise'] / entries * 1e6:.3f} s per million entries")
    loop = overhead(max(2, asked.rounds // 3), device)
    print(f"50 steps without privacy: bare loop {loop['bare']:.2f} s, fit {loop['fit']:.2f} s,", end=" ")
    print(f"overhead {loop['fit'] / loop['bare'] - 1:+.1%}")


def report_steps(best, wrong, peak, patients, entries, device):
    print(
        f"UNet2DModel {SIZE} px, {entries / 1e6:.2f} M parameters, {patients} patients, K = {DRAWS}, {device}"
    )
    print(f"{'step':24}{'ms':>10}{'ratio':>8}{'MB':>8}{'ratio':>8}{'error':>11}")
    for name, seconds in best.items():
        error = f"{wrong[name]:.1e}" if name in wrong else "-"
        time_ratio, memory_ratio = (d[name] / d["without privacy"] for d in (best, peak))
        print(
            f"{name:24}{1e3 * seconds:10.1f}{time_ratio:8.2f}{peak[name]:8.0f}{memory_ratio:8.2f}{error:>11}"
        )


if __name__ == "__main__":
    main()
