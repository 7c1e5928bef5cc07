"""GLOW against normflows' Glow: images per second, bits per dimension, and what privacy costs a step.

    pip install --target FOLDER --no-deps normflows
    python benchmarks/glow.py [speed bits private] --normflows FOLDER [--mnist FOLDER] [--xrays FOLDER]
        [--widths 64 256] [--threads 1 2] [--rounds 7] [--steps 300]

Equal levels, depth, width and batch, in one process; both with LU, affine coupling, AdamW. normflows has one mean
and scale per channel where ours has learnt split priors (the small difference in parameters is printed), and its
ActNorm starts from the first batch, which no private training may do.
speed: least wall time of rounds that alternate, so that a slow minute meets all; "bare convolutions" are those of
the coupling networks alone, on the same shapes, by torch in the faster of its two layouts.
bits: the same batches with the same dequantisation noise, the same steps; bits per dimension of held-out images.
private: process time, one thread: the product's DP-SGD step against an ordinary one of as many records.
Without normflows its rows are left out, and the rest is printed.
"""

import argparse
import gzip
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from privagams.records import Records
from privagams.roles import Space
from privagams.training.feed import Feed
from privagams.training.phase_run import PhaseRun, PrivateSteps
from privagams_dp.noisy_sum import GaussianSum
from privagams_glow import GlowSettings, build_glow

DRAWS = 4


def ours(size, channels, levels, depth, width, **settings):
    chosen = GlowSettings(levels=levels, depth=depth, width=width, **settings)
    return build_glow(chosen).model(Space(size, channels), 0)


class Theirs(torch.nn.Module):
    """normflows' Glow as its own example builds it, behind the same three questions."""

    def __init__(self, size, channels, levels, depth, width):
        import normflows as nf

        super().__init__()
        torch.manual_seed(0)
        bases, merges, flows = [], [], []
        for i in range(levels):
            steps = [nf.flows.GlowBlock(channels * 2 ** (levels + 1 - i), width) for _ in range(depth)]
            flows.append([*steps, nf.flows.Squeeze()])
            side = size // 2 ** (levels - i)
            folded = channels * 2 ** (levels - i + (i == 0))
            merges += [nf.flows.Merge()] if i else []
            bases.append(nf.distributions.GlowBase((folded, side, side)))
        self.flow = nf.MultiscaleFlow(bases, flows, merges, class_cond=False)

    def loss(self, pixels, place):
        x = ((pixels + 1) * 127.5 + place) / 256 - 0.5
        return 8 - self.flow.log_prob(x, None).mean() / (math.log(2) * pixels[0].numel())

    def encode(self, pixels):
        return self.flow.inverse_and_log_det(((pixels + 1) * 127.5 + 0.5) / 256 - 0.5)[0]

    def decode(self, latents):
        return self.flow.forward_and_log_det(latents)[0]


class Ours(torch.nn.Module):
    """The product's model behind the same three questions."""

    def __init__(self, *shape, **settings):
        super().__init__()
        self.model = ours(*shape, **settings)

    def loss(self, pixels, place):
        hide = torch.zeros(len(pixels), dtype=torch.bool)
        return self.model({"pixels": pixels}, {"place": place, "hide": hide}).mean()

    def encode(self, pixels):
        return self.model.encode({"pixels": pixels})

    def decode(self, latents):
        return self.model.decode(latents, None)


class Bare:
    """The coupling networks' convolutions and nothing else, forward and backward, on the shapes they have."""

    def __init__(self, n, size, channels, levels, depth, width):
        self.layers = []
        for level in range(levels):
            side, c = size // 2 ** (level + 1), channels * 2 ** (level + 2)
            for inside, outside, kernel in ((c // 2, width, 3), (width, width, 1), (width, c, 3)):
                weight = torch.randn(outside, inside, kernel, kernel) * 0.01
                self.layers.append((torch.randn(n, inside, side, side), weight))
        self.depth = depth

    def run(self, layout, training):
        for x, weight in self.layers:
            x = x.to(memory_format=layout).requires_grad_(training)
            weight = weight.to(memory_format=layout).requires_grad_(training)
            for _ in range(self.depth):
                with torch.set_grad_enabled(training):
                    y = functional.conv2d(x, weight, padding=weight.shape[2] // 2)
                if training:
                    torch.autograd.grad(y, (x, weight), torch.ones_like(y))


def fastest(jobs, rounds, clock=time.perf_counter):
    """Least time of each job; rounds alternate."""
    best = dict.fromkeys(jobs, float("inf"))
    for job in jobs.values():
        job()
    for _ in range(rounds):
        for name, job in jobs.items():
            start = clock()
            job()
            best[name] = min(best[name], clock() - start)
    return best


def stepper(model, pixels):
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)
    place = torch.rand(pixels.shape, generator=torch.Generator().manual_seed(0))

    def step():
        optimiser.zero_grad(set_to_none=True)
        model.loss(pixels, place).backward()
        optimiser.step()

    return step


def quietly(call, *given):
    def job():
        with torch.no_grad():
            call(*given)

    return job


def speed(asked):
    shape = (asked.size, asked.channels, asked.levels, asked.depth)
    rng = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (asked.batch, asked.channels, asked.size, asked.size), generator=rng)
    pixels = pixels / 127.5 - 1
    print(f"speed: {asked.batch} images of {asked.size} px, {asked.channels} channels,", end=" ")
    print(f"{asked.levels} levels, depth {asked.depth}; images/s")
    head = (
        f"{'width':>5}{'threads':>8}  {'what':10}{'ours':>9}{'normflows':>11}{'ratio':>7}{'bare conv.':>12}"
    )
    print(head)
    for width in asked.widths:
        models = {"ours": Ours(*shape, width)}
        if asked.normflows_found:
            models["normflows"] = Theirs(*shape, width)
        print("      parameters:", {name: weights(model) for name, model in models.items()})
        bare = Bare(asked.batch, *shape, width)
        for threads in asked.threads:
            torch.set_num_threads(threads)
            rows(models, bare, pixels, asked.rounds, f"{width:5}{threads:8}")


def rows(models, bare, pixels, rounds, begin):
    # Other work on the machine adds to wall time; on one thread the processor's own clock tells.
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    for what in ("training", "encode", "decode"):
        jobs = {}
        for name, model in models.items():
            if what == "training":
                jobs[name] = stepper(model, pixels)
            else:
                given = pixels
                if what == "decode":
                    with torch.no_grad():
                        given = model.encode(pixels)
                jobs[name] = quietly(getattr(model, what), given)
        for layout in (torch.contiguous_format, torch.channels_last):
            jobs[layout] = lambda layout=layout, what=what: bare.run(layout, what == "training")
        best = {name: len(pixels) / seconds for name, seconds in fastest(jobs, rounds, clock).items()}
        other = best.get("normflows")
        compared = f"{other:11.0f}{best['ours'] / other:7.2f}" if other else f"{'-':>11}{'-':>7}"
        ceiling = max(best[torch.contiguous_format], best[torch.channels_last])
        print(f"{begin}  {what:10}{best['ours']:9.0f}{compared}{ceiling:12.0f}", flush=True)


def weights(model):
    """Parameters that count: of an L or a U only the half that is not masked away."""
    total = sum(p.numel() for p in model.parameters())
    for name, p in model.named_parameters():
        if name.endswith((".L", ".U")):
            total -= p.shape[0] * (p.shape[0] + 1) // 2
        if name.endswith(".triangles"):
            total -= p.shape[0] * p.shape[1]
    return total


def bits(asked):
    torch.set_num_threads(asked.threads[0])
    sets = {"MNIST, padded to 32 px": asked.mnist and mnist(asked.mnist),
            "X-rays, 32 px": asked.xrays and xrays(asked.xrays, 32)}  # fmt: skip
    width, shape = asked.widths[0], (32, 1, 3, asked.depth)
    print(f"bits per dimension of held-out images after {asked.steps} steps of 32, width {width}")
    for name, found in sets.items():
        if not found:
            print(f"{name}: not given")
            continue
        train, held = found
        makers = {"ours": Ours} | ({"normflows": Theirs} if asked.normflows_found else {})
        for rate in asked.rates:
            reached = {
                k: learnt(make(*shape, width), train, held, asked.steps, rate) for k, make in makers.items()
            }
            print(
                f"{name}, learning rate {rate:g}:", {k: round(v, 3) for k, v in reached.items()}, flush=True
            )


def learnt(model, train, held, steps, rate):
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)
    rng = torch.Generator().manual_seed(1)
    for _ in range(steps):
        pixels = train[torch.randint(0, len(train), (32,), generator=rng)]
        optimiser.zero_grad(set_to_none=True)
        model.loss(pixels, torch.rand(pixels.shape, generator=rng)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 100.0)
        optimiser.step()
    rng = torch.Generator().manual_seed(2)
    with torch.no_grad():
        losses = [float(model.loss(some, torch.rand(some.shape, generator=rng))) for some in held.split(100)]
    return sum(losses) / len(losses)


def mnist(folder):
    def read(name):
        raw = gzip.decompress((Path(folder) / name).read_bytes())
        images = torch.frombuffer(bytearray(raw[16:]), dtype=torch.uint8).view(-1, 1, 28, 28)
        return functional.pad(images, (2, 2, 2, 2)) / 127.5 - 1

    return read("train-images-idx3-ubyte.gz")[:20000], read("test3000-images-idx3-ubyte.gz")[:1000]


def xrays(folder, size):
    """Grey images; every fifth patient is held out. A file's name begins with the patient's number."""
    from PIL import Image

    files = sorted(Path(folder).glob("*.png"))
    images = [
        np.asarray(Image.open(f).convert("L").resize((size, size), Image.Resampling.BOX)) for f in files
    ]
    pixels = torch.from_numpy(np.stack(images))[:, None] / 127.5 - 1
    held = torch.tensor([int(f.name.split("_")[0]) % 5 == 0 for f in files])
    keep = int(held.sum()) // 100 * 100 or int(held.sum())
    return pixels[~held], pixels[held][:keep]


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


def private(asked):
    torch.set_num_threads(1)
    print(f"DP-SGD step, {asked.patients} patients × {DRAWS} draws, one thread, process time")
    for size in (32, 64):
        for width in asked.widths:
            jobs, gap = private_jobs(asked, size, width)
            best = fastest(jobs, max(3, asked.rounds), time.process_time)
            ratio = best["private"] / best["plain"]
            print(f"{size} px, width {width}: plain {1e3 * best['plain']:.0f} ms,", end=" ")
            print(
                f"private {1e3 * best['private']:.0f} ms, ratio {ratio:.2f}; gradient error {gap:.0e}",
                flush=True,
            )


def private_jobs(asked, size, width):
    shape = (size, asked.channels, None, asked.depth, width)
    patients = asked.patients
    pixels = np.random.default_rng(0).integers(0, 256, (patients, size, size, asked.channels), dtype=np.uint8)
    feed = Feed(Records(pixels, {"patient": np.array([f"p{i:03d}" for i in range(patients)])}), ())
    plain, secret = ours(*shape).phases()[0], ours(*shape).phases()[0]
    run, noisy = PhaseRun(plain), PhaseRun(secret)
    rng, places = torch.Generator().manual_seed(0), np.repeat(np.arange(patients), DRAWS)
    mechanism = Fixed(patients)
    door = mechanism.noisy_sum(list(noisy.parameters.values()), 1.0, patients)
    steps = PrivateSteps(secret, list(noisy.parameters), feed, mechanism, door, patients, "cpu")

    def step():
        loss = plain.module(feed.batch(places), plain.draw(len(places), rng)).mean()
        run.apply(list(torch.autograd.grad(loss, list(run.parameters.values()))))

    return {"plain": step, "private": lambda: noisy.apply(steps.gradients(0))}, error(asked, size, width)


def error(asked, size, width, patients=3):
    """Largest relative error of a patient's gradient by `vmap` against plain autograd."""
    from privagams.training.gradients import PatientGradients

    module, rng = ours(size, asked.channels, None, 2, width), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(torch.randn(p.shape, generator=rng) * 0.02)
    batch = {"pixels": torch.rand(patients, asked.channels, size, size, generator=rng) * 2 - 1}
    noise, names = module.draw(patients, rng), [name for name, _ in module.named_parameters()]
    found, worst = PatientGradients(module, names)(batch, noise, patients), 0.0
    for i in range(patients):
        one = [{k: t[i : i + 1] for k, t in some.items()} for some in (batch, noise)]
        expected = torch.autograd.grad(module(*one).sum(), list(module.parameters()))
        gap = math.sqrt(sum(float((f[i] - e).square().sum()) for f, e in zip(found, expected, strict=True)))
        worst = max(worst, gap / math.sqrt(sum(float(e.square().sum()) for e in expected)))
    return worst


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = {"speed": speed, "bits": bits, "private": private}
    parser.add_argument("parts", nargs="*", choices=[*parts, []], default=[])
    parser.add_argument("--normflows", help="folder that holds the package, where it is not installed")
    parser.add_argument("--mnist", help="folder of the idx.gz files")
    parser.add_argument("--xrays", help="folder of PATIENT_NUMBER.png files")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--channels", type=int, default=1)
    parser.add_argument("--levels", type=int, default=3)
    parser.add_argument("--depth", type=int, default=8)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-3])
    parser.add_argument("--patients", type=int, default=8)
    asked = parser.parse_args()
    if asked.normflows:
        sys.path.append(asked.normflows)
    try:
        import normflows

        asked.normflows_found = bool(normflows)
    except ImportError as missing:
        asked.normflows_found = False
        print(f"normflows is not installed ({missing}): its rows are left out; see --help")
    for part in asked.parts or parts:
        parts[part](asked)


if __name__ == "__main__":
    main()
