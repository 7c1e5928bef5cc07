"""What a lab copies works away from this repository: built, installed, found, checked, and run in a pipeline."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
PIPELINE = """\
api = 1
name = "away"

[source]
use = "images"
dataset = "away"
table = "images.csv"

[tiles]
size = 16
mpp = "native"
per_patient = 8
tissue = 0.0

[public]
patients = 40

[[releases]]
name = "raw"
of = "members"
yardstick = true

[[attacks]]
use = "mylab-nearest"
cells = 4
"""


def run(*command, cwd, **environment):
    # Nothing of this environment may help: no path of its modules, no venv, no settings of pytest.
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL", "PYTEST"))}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def away(tmp_path_factory):
    """A clean environment with the core, one reader and the example, from wheels; gives its python."""
    folder = tmp_path_factory.mktemp("away")
    wheels = folder / "wheels"
    for package in ("core", "plugins/privagams_images", "plugins/example_attack"):
        run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", wheels, cwd=ROOT / package)
    uv, python = Path(sys.executable).parent / "uv", folder / "venv" / "bin" / "python"
    links = {"UV_FIND_LINKS": os.environ["PIP_FIND_LINKS"]} if "PIP_FIND_LINKS" in os.environ else {}
    run(uv, "venv", "--quiet", "--python", sys.executable, folder / "venv", cwd=folder)
    run(
        uv, "pip", "install", "--quiet", "--python", python,
        "--constraints", ROOT / "requirements/constraints.txt", *sorted(wheels.glob("*.whl")), cwd=folder, **links,
    )  # fmt: skip
    return python


@pytest.fixture
def cohort(tmp_path):
    """40 patients of two small images in a colour of their own, and the secrets that split them.

    By secrets drawn anew, one cohort in 600 would have fewer than 15 members.
    """
    secrets = tmp_path / "home" / "away"
    secrets.mkdir(parents=True, mode=0o700)
    for name in ("key", "salt"):
        (secrets / name).write_bytes(hashlib.sha256(name.encode()).digest())
    rng = np.random.default_rng(0)
    lines = ["file,patient_id,slide_id"]
    for patient in range(40):
        colour = rng.integers(20, 235, 3)
        for slide in range(2):
            pixels = np.clip(colour + rng.normal(0, 10, (32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"{patient}-{slide}.png")
            lines.append(f"{patient}-{slide}.png,p{patient},s{patient}-{slide}")
    (tmp_path / "images.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "pipeline.toml").write_text(PIPELINE)
    return tmp_path


@pytest.mark.slow
def test_the_example_is_found_checked_and_run_away_from_the_repository(away, cohort):
    home = {"PRIVAGAMS_HOME": str(cohort / "home"), "OMP_NUM_THREADS": "1"}
    listed = json.loads(run(away, "-m", "privagams", "plugins", "--json", cwd=cohort))
    assert [(c["name"], c["distribution"]) for c in listed["components"] if c["role"] == "attacks"] == [
        ("mylab-nearest", "mylab-nearest")
    ]
    assert listed["failures"] == []
    run(away, "-c", "import importlib.util as u, sys; sys.exit(u.find_spec('torch') is not None)", cwd=cohort)
    assert "keeps 15 of 15 laws" in run(away, "-m", "privagams", "check", "mylab-nearest", cwd=cohort)
    run(away, "-m", "privagams", "run", cwd=cohort, **home)
    report = json.loads((cohort / "runs" / "away" / "report.json").read_text())
    (release,) = report["releases"]
    (attack,) = release["attacks"]
    assert attack["attack"] == "mylab-nearest"
    top = {m["name"]: m for m in attack["measurements"]}["top-1"]
    assert top["n"] >= 15
    assert top["value"] > top["chance"] + 0.3


@pytest.mark.slow
def test_a_scaffolded_plugin_passes_its_own_tests_from_the_start(away, tmp_path):
    run(away, "-m", "privagams", "new", "attack", "otherlab-edge", "--folder", tmp_path, cwd=tmp_path)
    made = tmp_path / "otherlab-edge"
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path / "wheels", cwd=made)
    uv = Path(sys.executable).parent / "uv"
    (wheel,) = (tmp_path / "wheels").glob("*.whl")
    run(uv, "pip", "install", "--quiet", "--python", away, "--no-deps", wheel, cwd=tmp_path)
    assert "keeps 15 of 15 laws" in run(away, "-m", "privagams", "check", "otherlab-edge", cwd=tmp_path)
