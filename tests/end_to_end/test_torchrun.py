"""The command line under torchrun: two processes, one ledger, one report."""

import json
import os
import subprocess
import sys

import pytest

RELEASE = """
[[releases]]
name = "private"
images = 4
generator = { use = "diffusion", steps = 3, batch = 4, channels = [8, 16], sampling_steps = 2 }
mechanism = { use = "dp-sgd", epsilon = 4.0, delta = 1e-3, patients_per_step = 8 }
"""


def torchrun(project, home, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "privagams", *arguments],
        cwd=project, capture_output=True, text=True, timeout=600, check=False,
        env=os.environ | {"PRIVAGAMS_HOME": str(home), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
    )  # fmt: skip


@pytest.fixture
def short(project):
    """One release with a mechanism, and nothing that attacks it."""
    toml = project / "pipeline.toml"
    toml.write_text(toml.read_text().split("[[releases]]")[0] + RELEASE)
    return project


@pytest.mark.slow
def test_a_run_by_two_processes_trains_together_and_reports_once(short, tmp_path):
    done = torchrun(short, tmp_path / "home", "run", "pipeline.toml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.count("process 1 helped: fit private") == 1
    assert done.stdout.count("Report:") == 1
    (facts,) = (short / "runs" / "tiny" / "artifacts").glob("fit-*/facts.json")
    assert json.loads(facts.read_text())["steps"] == 3
    entries = (tmp_path / "home" / "tiny" / "ledger.jsonl").read_text().splitlines()
    assert len(entries) == len(set(entries))

    again = torchrun(short, tmp_path / "home", "run", "pipeline.toml")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "Nothing to do" in again.stdout
    assert "helped" not in again.stderr


def test_several_processes_without_torchrun_are_refused(short, program, tmp_path):
    done = program(tmp_path, "run", "pipeline.toml", WORLD_SIZE="2", RANK="1")
    assert done.returncode == 2
    assert "torchrun" in done.stdout + done.stderr
