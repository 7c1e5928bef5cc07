import contextlib
import hashlib
import io
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from privagams.cli import cli

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
    """Write 24 patients of two small images each, a table, and pipeline.toml; beside it the data set's secrets.

    Secrets of the test's own: by secrets drawn anew one project in thirty would have a role with nobody in it, or
    a class. These give every role patients of both classes, with and without reference patients.
    """
    secrets = folder.parent / "home" / "tiny"
    secrets.mkdir(parents=True, mode=0o700)
    (secrets / "key").write_bytes(hashlib.sha256(b"the key of the tiny data set").digest())
    (secrets / "salt").write_bytes(hashlib.sha256(b"the salt of the tiny data set 2771").digest())
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
def once_for_all(tmp_path_factory):
    """`once_for_all(name, make)`: a folder that `make` fills once, whichever of the test processes comes first."""

    def of(name, make):
        shared = tmp_path_factory.getbasetemp()
        shared = shared.parent if os.environ.get("PYTEST_XDIST_WORKER") else shared
        with FileLock(shared / f"{name}.lock"):
            if not (shared / name / "made").exists():
                shutil.rmtree(shared / name, ignore_errors=True)
                make(shared / name)
                (shared / name / "made").touch()
        return shared / name

    return of


@pytest.fixture(scope="session")
def _finished(once_for_all):
    """One project run to its report; tests work on copies."""

    def make(base):
        make_project(base / "project")
        done = run_program(base, "run")
        assert done.returncode == 0, done.stdout + done.stderr

    return once_for_all("finished", make)


@pytest.fixture
def finished(_finished, tmp_path, monkeypatch):
    """A copy of a project that was run to its report. Keys survive the move."""
    for name in ("project", "home"):
        shutil.copytree(_finished / name, tmp_path / name)
    monkeypatch.setenv("PRIVAGAMS_HOME", str(tmp_path / "home"))
    return tmp_path / "project"


def run_program(base, *arguments, timeout=600, **environment):
    """The program in a process of its own, in base/project with base/home; returns the finished process."""
    return subprocess.run(
        [sys.executable, "-m", "privagams", *map(str, arguments)],
        cwd=base / "project", capture_output=True, text=True, timeout=timeout, check=False,
        env={**os.environ, "PRIVAGAMS_HOME": str(base / "home"), **environment},
    )  # fmt: skip


@pytest.fixture(scope="session")
def program():
    return run_program


@pytest.fixture
def privagams(tmp_path, monkeypatch):
    """Run the command line in the project's folder; returns what it said and its exit code.

    Only `run` is a process of its own, of one stage at a time: others would spend most of their time on imports.
    """

    def run(*arguments):
        if arguments[0] == "run":
            return run_program(tmp_path, *arguments, "--jobs", 1)
        said, errors = io.StringIO(), io.StringIO()
        with monkeypatch.context() as patch:
            patch.chdir(tmp_path / "project")
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(errors):
                code = cli.main([*map(str, arguments)], prog_name="privagams")
        return subprocess.CompletedProcess(arguments, code, said.getvalue(), errors.getvalue())

    return run


@pytest.fixture
def heard(tmp_path):
    """Wait until the project's run has said `text` in its journal; for tests that end it there."""

    def until(text, process, seconds=300):
        journal = tmp_path / "project" / "runs" / "tiny" / "events.jsonl"
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if journal.is_file() and text in journal.read_text():
                return
            assert process.poll() is None, f"it ended before {text!r}"
            time.sleep(0.05)
        raise AssertionError(f"nothing of {text!r} within {seconds} s")

    return until


@pytest.fixture
def artifacts(tmp_path):
    """Names of the finished artifacts of the project's run."""

    def names() -> set[str]:
        folder = Path(tmp_path / "project" / "runs" / "tiny" / "artifacts")
        return {path.name for path in folder.iterdir() if not path.name.startswith(".")}

    return names
