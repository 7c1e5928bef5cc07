"""DP diffusion on MNIST: what a classifier learns from drawn digits, and what they cost in processor seconds.

    python benchmarks/mnist_diffusion.py --mnist FOLDER [--epsilon 10] [--steps 200] [--patients-per-step 512]
        [--set prediction='"edm"'] [--mechanism noise_draws=4] [--part tune] [--threads 1] [--out FILE.jsonl]
        [--folder FOLDER] [--weights FILE] [--sheet FILE.png]

Each image is a patient of its own. The generator learns from the first 55,000 training images through the
product's own training loop and `dp-sgd` at δ = 1e-5; what it cost is read from its account, not from what was
asked for. A small convolutional network trained on drawn digits alone, the classes in equal parts, is judged on
the last 5,000 training images (`--part tune`) or on a file of test images (`--part test`), with Wilson's interval.
`--epsilon 0` trains without a mechanism. `--weights` draws from an earlier run's file in place of training.
"""

import argparse
import gzip
import json
import resource
import tempfile
import time
import tomllib
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from privagams.judge.calls import wilson
from privagams.ledger import accounting
from privagams.ledger.uncharged import Uncharged
from privagams.records import Records
from privagams.roles import Space
from privagams.settings import structure
from privagams.training.train import fit
from privagams_diffusion import DiffusionSettings, build_diffusion
from privagams_dp.dp_sgd import DpSgd
from privagams_dp.settings import DpSgdSettings

CLASSES = tuple("0123456789")
SPACE = Space(28, 1, CLASSES)
MEMBERS = 55_000
DELTA = 1e-5


def idx(path):
    """An IDX file of bytes, as an array."""
    data = gzip.decompress(path.read_bytes())
    rank = data[3]
    shape = np.frombuffer(data, ">i4", rank, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)


def load(folder, name):
    return idx(folder / f"{name}-images-idx3-ubyte.gz")[..., None], idx(
        folder / f"{name}-labels-idx1-ubyte.gz"
    )


def train(model, pixels, labels, arguments, folder):
    """Fit through the core; the account's ε, and the last noise multiplier."""
    patients = np.array([f"p{i:05d}" for i in range(len(pixels))], dtype=object)
    members = Records(pixels, {"patient": patients, "label": np.array(CLASSES, dtype=object)[labels]})
    mechanism = account = None
    if arguments.epsilon > 0:
        chosen = {
            "epsilon": arguments.epsilon, "delta": DELTA, "patients_per_step": arguments.patients_per_step,
            "noise_draws": 1, **parsed(arguments.mechanism),
        }  # fmt: skip
        mechanism, account = DpSgd(structure(chosen, DpSgdSettings)), Uncharged()
    result = fit(
        model, members, None, SPACE, mechanism, len(pixels), arguments.seed, folder, account,
        lambda *progress: None, device=arguments.device,
    )  # fmt: skip
    spent = accounting.epsilon(result.events, DELTA)[0] if mechanism is not None else None
    return spent, result.noise_multiplier


def parsed(pairs):
    """TOML values of "key=value"."""
    return {key: tomllib.loads(f"v = {value}")["v"] for key, _, value in (p.partition("=") for p in pairs)}


class Judge(nn.Sequential):
    """A small convolutional classifier of digits."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(),
            nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64 * 49, 128), nn.ReLU(), nn.Dropout(0.3), nn.Linear(128, 10),
        )  # fmt: skip


def judged(drawn, labels, pixels, truth, seed, epochs, device):
    """Right answers of a classifier that saw drawn digits alone."""
    torch.manual_seed(seed)
    net, x, y = Judge().to(device), scaled(drawn).to(device), torch.from_numpy(labels).to(device)
    batches = len(x) // 64
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=epochs * batches)
    for _ in range(epochs):
        for rows in torch.randperm(len(x))[: batches * 64].reshape(batches, 64):
            optimizer.zero_grad()
            functional.cross_entropy(net(x[rows]), y[rows]).backward()
            optimizer.step()
            schedule.step()
    net.eval()
    with torch.no_grad():
        said = torch.cat([net(part.to(device)).argmax(1).cpu() for part in scaled(pixels).split(500)])
    return int((said.numpy() == truth).sum())


def scaled(pixels):
    return torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1


def sheet(drawn, labels, path):
    """Ten digits of each class, a row each."""
    from PIL import Image

    rows = [np.concatenate(list(drawn[labels == k][:10, ..., 0]), axis=1) for k in range(10)]
    Image.fromarray(np.concatenate(rows)).resize((840, 840), Image.Resampling.NEAREST).save(path)


def main(arguments):
    torch.set_num_threads(arguments.threads)
    settings = structure({"steps": arguments.steps, **parsed(arguments.set)}, DiffusionSettings)
    pixels, labels = load(arguments.mnist, "train")
    if arguments.part == "tune":
        seen, truth = pixels[MEMBERS:], labels[MEMBERS:]
    else:
        seen, truth = load(arguments.mnist, arguments.test)
    pixels, labels = pixels[:MEMBERS], labels[:MEMBERS]
    model = build_diffusion(settings).model(SPACE, arguments.seed)
    found = {
        "part": arguments.part, "set": arguments.set, "mechanism": arguments.mechanism, "steps": arguments.steps,
        "patients_per_step": arguments.patients_per_step, "threads": arguments.threads, "seed": arguments.seed,
        "parameters": sum(p.numel() for p in model.parameters()), "device": arguments.device,
    }  # fmt: skip
    clock = Clock()
    if arguments.weights is None:
        with tempfile.TemporaryDirectory() as scratch:
            folder = arguments.folder or Path(scratch)
            folder.mkdir(parents=True, exist_ok=True)
            found["epsilon"], found["noise_multiplier"] = train(model, pixels, labels, arguments, folder)
        found["training_s"] = clock.lap()
    else:
        from safetensors.torch import load_file

        model.load_state_dict(load_file(arguments.weights))
        model.to(arguments.device)
    told = np.arange(arguments.images) % 10
    drawn = model.sample(told, torch.Generator().manual_seed(arguments.seed), lambda *progress: None)
    found["drawing_s"] = clock.lap()
    if arguments.sheet:
        sheet(drawn, told, arguments.sheet)
    right = judged(drawn, told, seen, truth, arguments.seed, arguments.epochs, arguments.device)
    centre, half = wilson(right, len(truth))
    found |= {
        "images": len(drawn), "judged_s": clock.lap(), "n": len(truth), "accuracy": right / len(truth),
        "low": centre - half, "high": centre + half,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }  # fmt: skip
    print(
        f"accuracy {found['accuracy']:.4f} ({found['low']:.4f} to {found['high']:.4f}), "
        f"processor seconds: {found.get('training_s', 0):.0f} training, {found['drawing_s']:.0f} drawing"
    )
    print(json.dumps(found))
    if arguments.out:
        with arguments.out.open("a") as stream:
            stream.write(json.dumps(found) + "\n")


class Clock:
    """Processor seconds between laps; other work on the machine does not count."""

    def __init__(self):
        self._last = time.process_time()

    def lap(self):
        before, self._last = self._last, time.process_time()
        return round(self._last - before, 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--mnist", type=Path, required=True, help="folder of train-images-idx3-ubyte.gz and so on"
    )
    parser.add_argument("--epsilon", type=float, default=10.0, help="0: no mechanism")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--patients-per-step", type=int, default=512)
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="of the generator, as TOML"
    )
    parser.add_argument(
        "--mechanism", action="append", default=[], metavar="KEY=VALUE", help="of dp-sgd, as TOML"
    )
    parser.add_argument("--part", choices=["tune", "test"], default="tune")
    parser.add_argument(
        "--test", default="test3000", help="prefix of the files that --part test is judged on"
    )
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--folder", type=Path, help="keeps the weights; a killed run goes on there")
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--out", type=Path)
    main(parser.parse_args())
