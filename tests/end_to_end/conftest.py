import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PIPELINE = """\
api = 1
name = "tiny"
seed = 3

[source]
use = "images"
dataset = "tiny"
table = "images.csv"

[tiles]
size = 16
mpp = "native"
per_patient = 8
tissue = 0.0

[public]
patients = 24
classes = { dark = 0.5, light = 0.5 }

[budget]
epsilon = 9.0
delta = 1e-3

[[releases]]
name = "raw"
of = "members"
yardstick = true

[[releases]]
name = "drawn"
images = 12
yardstick = true
generator = { use = "diffusion", steps = 3, batch = 4, channels = [8, 16], sampling_steps = 2 }

[[releases]]
name = "one-shot"
images = 12
generator = { use = "dp-merf", steps = 3, features = 16, batch = 2, width = 4 }
mechanism = { use = "noisy-sum", epsilon = 4.0, delta = 1e-3 }

[[attacks]]
use = "nearest-patient"

[[metrics]]
use = "kid"
"""


def make_project(folder):
    """Write 24 patients of two small images each, a table, and pipeline.toml."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    lines = ["file,patient_id,slide_id,label"]
    for patient in range(24):
        label = ("dark", "light")[patient % 2]
        colour = rng.integers(0, 60, 3) + (40 if label == "dark" else 140)
        for slide in range(2):
            pixels = np.clip(colour + rng.normal(0, 20, (48, 48, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"CASE{patient:03d}-{slide}.png")
            lines.append(f"CASE{patient:03d}-{slide}.png,CASE{patient:03d},CASE{patient:03d}-{slide},{label}")
    (folder / "images.csv").write_text("\n".join(lines) + "\n")
    (folder / "pipeline.toml").write_text(PIPELINE)


@pytest.fixture(scope="session")
def make_tiny_project():
    return make_project


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project that was never run, with its own PRIVAGAMS_HOME."""
    make_project(tmp_path / "project")
    monkeypatch.setenv("PRIVAGAMS_HOME", str(tmp_path / "home"))
    return tmp_path / "project"


@pytest.fixture(scope="session")
def _finished(tmp_path_factory):
    """One project run to its report; tests work on copies."""
    base = tmp_path_factory.mktemp("finished")
    make_project(base / "project")
    run = subprocess.run(
        [sys.executable, "-m", "privagams", "run"], cwd=base / "project", capture_output=True, text=True,
        env={**os.environ, "PRIVAGAMS_HOME": str(base / "home")}, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    return base


@pytest.fixture
def finished(_finished, tmp_path, monkeypatch):
    """A copy of a project that was run to its report. Keys survive the move."""
    for name in ("project", "home"):
        shutil.copytree(_finished / name, tmp_path / name)
    monkeypatch.setenv("PRIVAGAMS_HOME", str(tmp_path / "home"))
    return tmp_path / "project"


@pytest.fixture
def privagams(tmp_path):
    """Run the command line in the project's folder; returns the finished process."""

    def run(*arguments, timeout=600, **environment):
        return subprocess.run(
            [sys.executable, "-m", "privagams", *map(str, arguments)],
            cwd=tmp_path / "project", capture_output=True, text=True, timeout=timeout,
            env={**os.environ, **environment},
        )  # fmt: skip

    return run


@pytest.fixture
def artifacts(tmp_path):
    """Names of the finished artifacts of the project's run."""

    def names() -> set[str]:
        folder = Path(tmp_path / "project" / "runs" / "tiny" / "artifacts")
        return {path.name for path in folder.iterdir() if not path.name.startswith(".")}

    return names
