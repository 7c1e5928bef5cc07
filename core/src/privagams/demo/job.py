"""`privagams demo`: invented patients, and the whole job on them with an embedded pipeline."""

from __future__ import annotations

import time
from pathlib import Path

import click

from privagams.errors import ExitCode
from privagams.journal import duration

PIPELINE = """\
# What `privagams demo` runs. The patients are invented; `slides.csv` says who is who.
api = 1
name = "demo"
seed = 7

[source]
use = "openslide"
dataset = "privagams-demo"
table = "slides.csv"

[tiles]
size = 32                 # px
mpp = 2.0                 # µm per px
per_patient = 24

[split]
members = 0.7
auxiliary = 0.5

[public]
patients = {patients}
classes = {{ benign = 0.5, tumour = 0.5 }}

[budget]
epsilon = 20.0
delta = 1e-4

[[releases]]              # what sharing the images themselves would cost
name = "raw"
of = "members"
yardstick = true

[[releases]]              # what a generator without protection would cost
name = "diffusion"
images = 1000
yardstick = true
generator = {{ use = "diffusion", steps = 1200, batch = 16 }}

[[releases]]              # one noisy sum over patients: what this many patients can afford
name = "one-shot"
images = 1000
generator = {{ use = "dp-merf", steps = 600 }}
mechanism = {{ use = "noisy-sum", epsilon = 8.0, delta = 1e-4 }}

[[releases]]              # noise at every step: what this many patients can not afford
name = "dp-diffusion"
images = 1000
generator = {{ use = "diffusion", steps = 100 }}
mechanism = {{ use = "dp-sgd", epsilon = 8.0, delta = 1e-4, patients_per_step = 32, noise_draws = 2 }}

[audit]                   # one more training per mechanism, on other invented patients, with planted canaries
canaries = 256

[[attacks]]               # can a released image be linked to its patient?
use = "nearest-patient"
[[attacks]]               # can a patient be singled out as having been used?
use = "calibrated-distance"
[[attacks]]
use = "pia"
[[attacks]]
use = "copies"
[[attacks]]               # can something unknown about a patient be inferred?
use = "attribute"

[[metrics]]
use = "kid"

[[metrics]]
use = "downstream-accuracy"
"""


def run_demo(folder: Path, patients: int, cohort_only: bool, jobs: int | None) -> ExitCode:
    """Make the cohort where it is not there yet, write the pipeline beside it, and run it."""
    from privagams.demo.cohort import make_cohort

    started = time.monotonic()
    if not (folder / "slides.csv").is_file():
        click.echo(f"Making {patients} invented patients in {folder} …")
        make_cohort(folder, patients)
        click.echo(f"Cohort: done in {duration(time.monotonic() - started)}")
    file = folder / "pipeline.toml"
    if not file.is_file():
        file.write_text(PIPELINE.format(patients=patients), encoding="utf-8")
    if cohort_only:
        click.echo(f"Images, table and pipeline are in {folder}; run it with: privagams run {file}")
        return ExitCode.OK
    from privagams.config import load
    from privagams.run import default_jobs, prepare, run_with_journal

    pipeline, registry = load(file)
    code = run_with_journal(prepare(pipeline, registry, folder / "runs"), jobs or default_jobs())
    click.echo(f"Demo: done in {duration(time.monotonic() - started)}. Read the report, then see {file}.")
    return code
