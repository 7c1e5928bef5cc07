"""Downstream accuracy of one-shot generators on MNIST: train a classifier on drawn digits, test it on real ones.

    python benchmarks/mnist_oneshot.py --data FOLDER --generator scatter --epsilon 10 --runs 5 --part tune

FOLDER holds train-images-idx3-ubyte.gz and its labels, and for --part test the same of t10k or test3000. The unit of
privacy is the image, delta 1e-5, without public data. The mechanism is `noisy-sum`, with a ledger in a temporary
folder; its noise comes from the operating system and is fresh in each run. Settings are chosen with --part tune
alone, which trains on the first 55,000 training images and tests on the last 5,000; --part test trains on all 60,000
and touches the test images.

"raw": the classifier learns from the images as the network draws them (`shift` = 0). "shifted": from the same, each
moved by up to 1 px at random, which is what `shift` = 1 releases. A large gap between the two says that labels leak
through marks of single pixels. 95 % Wilson intervals; they cover the test images, not the noise: see the spread.
FID and KID of the images as drawn, by the extractor of `mnist_likeness.py`, against the real images tested on.
"""

import argparse
import gzip
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from attrs import frozen
from mnist_likeness import Likeness
from torch import nn
from torch.nn import functional as F

import privagams_dp
import privagams_oneshot
from privagams.ledger.ledger import Ledger
from privagams.records import Records
from privagams.roles import Space
from privagams.training.train import fit

CLASSES = tuple("0123456789")
TUNING = 5000
"""Images at the end of the training set that settings are chosen with."""
LIKENESS = 10_000
"""Drawn images that FID and KID are computed from."""


def read_idx(path):
    """Read an IDX file, uint8 of any shape."""
    content = gzip.decompress(path.read_bytes())
    shape = [int.from_bytes(content[4 + 4 * i : 8 + 4 * i], "big") for i in range(content[3])]
    return np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape)).reshape(shape).copy()


def read_part(folder, name):
    return read_idx(folder / f"{name}-images-idx3-ubyte.gz"), read_idx(
        folder / f"{name}-labels-idx1-ubyte.gz"
    )


def load(folder, part):
    """Return what is trained on and what is tested on, each as images "n 28 28" and labels "n"."""
    images, labels = read_part(folder, "train")
    if part == "tune":
        return (images[:-TUNING], labels[:-TUNING]), (images[-TUNING:], labels[-TUNING:])
    name = "t10k" if (folder / "t10k-images-idx3-ubyte.gz").exists() else "test3000"
    return (images, labels), read_part(folder, name)


def component(listed, name):
    return next(c for c in listed if c.name == name)


def trained(asked, settings, members, seed):
    """Train a generator through the core: mechanism, ledger and all. Returns it with its seconds by part."""
    images, labels = members
    names = np.array([f"{i:016x}" for i in range(len(images))])
    records = Records(images[..., None], {"patient": names, "label": np.array(CLASSES)[labels]})
    noisy_sum = component(privagams_dp.privagams_mechanisms(), "noisy-sum")
    mechanism = noisy_sum.build(noisy_sum.settings(epsilon=asked.epsilon, delta=asked.delta))
    generator = component(privagams_oneshot.privagams_generators(), asked.generator)
    space = Space(28, 1, CLASSES)
    model = generator.build(generator.settings(**settings)).model(space, seed)
    fitting = []
    with tempfile.TemporaryDirectory() as folder:
        folders = [Path(folder) / name for name in ("ledger", "run", "fit")]
        for path in folders:
            path.mkdir(mode=0o700)
        account = Ledger(folders[0]).account(
            run="benchmark",
            release="digits",
            fit="fit",
            patients=names.tolist(),
            budget=None,
            run_folder=folders[1],
        )
        watched = Watch(asked.generator, fitting)
        start = time.process_time()
        fit(
            model, records, None, space, mechanism, len(images), seed, folders[2], account, watched,
            threads=asked.threads,
        )  # fmt: skip
        end = time.process_time()
    return model, {"sums": fitting[0] - start, "fit": end - fitting[0]}


@frozen
class Watch:
    """Shows progress, and notes when the fit's first step was over: then the sums had been told."""

    name: str
    seen: list

    def __call__(self, done, total):
        if done == 1 or (total > 1 and not self.seen):
            self.seen.append(time.process_time())
        if done % 500 == 0:
            print(f"  {self.name}: {done} of {total}", flush=True)


def classifier():
    def block(inputs, outputs):
        return nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)

    head = nn.Flatten(), nn.Dropout(0.25), nn.Linear(32 * 49, 128), nn.ReLU(), nn.Linear(128, 10)
    return nn.Sequential(*block(1, 16), *block(16, 32), *head).to(memory_format=torch.channels_last)


def scaled(images):
    return torch.from_numpy(images)[:, None].float() / 127.5 - 1


def learnt(images, labels, seed, epochs=4, batch=100):
    """A classifier trained on `images`."""
    torch.manual_seed(seed)
    net, truth = classifier(), torch.from_numpy(labels.astype(np.int64))
    adam = torch.optim.Adam(net.parameters())
    steps = epochs * -(-len(images) // batch)
    rates = torch.optim.lr_scheduler.OneCycleLR(adam, 4e-3, total_steps=steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(batch):
            adam.zero_grad()
            F.cross_entropy(net(scaled(images[rows.numpy()])), truth[rows]).backward()
            adam.step()
            rates.step()
    return net.eval()


def accuracy(images, labels, real, seed):
    """Train the classifier on `images` and count how many of the `real` ones it names: (right, of)."""
    net = learnt(images, labels, seed)
    with torch.no_grad():
        found = torch.cat([net(part).argmax(1) for part in scaled(real[0]).split(500)]).numpy()
    return int((found == real[1]).sum()), len(found)


def wilson(right, of, z=1.96):
    """95 % interval of a proportion, per cent."""
    p, w = right / of, z * z / of
    half = z * np.sqrt(p * (1 - p) / of + w / (4 * of))
    return [round(100 * (p + w / 2 + sign * half) / (1 + w), 2) for sign in (-1, 1)]


def moved(images, rng):
    """Each image moved by up to 1 px along either axis, edges repeated."""
    wide = np.pad(images, ((0, 0), (1, 1), (1, 1)), mode="edge")
    places = rng.integers(0, 3, (len(images), 2))
    return np.stack([image[y : y + 28, x : x + 28] for image, (y, x) in zip(wide, places, strict=True)])


def one_run(asked, settings, members, real, likeness, seed):
    """Train, draw, classify; one line of the result."""
    shift = {"shift": 0} if asked.generator == "scatter" else {}
    model, seconds = trained(asked, settings | shift, members, seed)
    start = time.process_time()
    labels = np.arange(asked.images) % 10
    drawn = model.sample(labels, torch.Generator().manual_seed(seed), lambda done, total: None)[..., 0]
    seconds["draw"] = time.process_time() - start
    if asked.keep:
        np.savez_compressed(asked.keep, images=drawn[:400], labels=labels[:400])
    start = time.process_time()
    results = {
        "raw": accuracy(drawn, labels, real, seed),
        "shifted": accuracy(moved(drawn, np.random.default_rng(seed)), labels, real, seed),
    }
    seconds["classify"] = time.process_time() - start
    alike = likeness.of(drawn[:LIKENESS])
    scores = {name: round(100 * right / of, 2) for name, (right, of) in results.items()}
    scores |= {f"{name} 95 %": wilson(*counts) for name, counts in results.items()}
    facts = {
        name: getattr(asked, name) for name in ("generator", "epsilon", "delta", "part", "images", "threads")
    }
    return facts | {
        "settings": settings,
        "fit seed": seed,
        **scores,
        **alike,
        "cpu seconds": rounded(seconds),
    }


def rounded(seconds):
    return {name: round(value) for name, value in seconds.items()}


def setting(text):
    """KEY=VALUE, the value as JSON."""
    name, value = text.split("=", 1)
    return name, json.loads(value)


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of IDX files")
    parser.add_argument("--generator", choices=["scatter", "dp-merf"], default="scatter")
    parser.add_argument("--epsilon", type=float, required=True)
    parser.add_argument("--delta", type=float, default=1e-5)
    parser.add_argument("--part", choices=["tune", "test"], default="tune")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument(
        "--fit-seed", type=int, default=1, help="of the first run; later ones count on from it"
    )
    parser.add_argument(
        "--images", type=int, default=40000, help="drawn images that the classifier learns from"
    )
    parser.add_argument("--set", type=setting, action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="file that gets one line of JSON per run")
    parser.add_argument("--keep", type=Path, help="npz file for 400 drawn images of the last run")
    return parser.parse_args()


def main():
    asked = arguments()
    torch.set_num_threads(asked.threads)
    members, real = load(asked.data, asked.part)
    likeness = Likeness(learnt(*members, seed=0), real[0], scaled)
    print(f"floor, real training images: {likeness.of(members[0][:LIKENESS])}", flush=True)
    lines = []
    for seed in range(asked.fit_seed, asked.fit_seed + asked.runs):
        lines.append(one_run(asked, dict(asked.set), members, real, likeness, seed))
        print(json.dumps(lines[-1]), flush=True)
        if asked.out:
            with asked.out.open("a") as file:
                file.write(json.dumps(lines[-1]) + "\n")
    for name in ("raw", "shifted"):
        found = [line[name] for line in lines]
        print(f"{name}: mean {np.mean(found):.2f}, least {min(found)}, most {max(found)}, {len(found)} runs")


if __name__ == "__main__":
    main()
