"""A report as a run of four releases gives it: raw copies, plain diffusion, dp-merf, dp-sgd."""

import functools
import math

import numpy as np
import pytest

from privagams.evidence import Measurement
from privagams.report.data import (
    AttackResult,
    Budget,
    Chosen,
    Claim,
    Count,
    Curve,
    Examples,
    Failures,
    Gate,
    MetricResult,
    Needed,
    NotRun,
    PatientFigure,
    Plugin,
    Provenance,
    Release,
    Report,
    Selftest,
    StageTime,
    WorstOff,
)

ZERO_OUT = "zero-out of one patient, number of patients public"
MEMBERS = 216


def claim(epsilon, delta=1e-4, **more):
    return Claim(epsilon, delta, adjacency=ZERO_OUT, accountant="PLD, cross-checked with PRV", **more)


def tissue(rng, n, noise):
    """Drawn images with round dark spots on pink, the noisier the less of a picture."""
    y, x = np.mgrid[:64, :64]
    images = np.empty((n, 64, 64, 3))
    for image in images:
        image[:] = rng.normal([225, 175, 205], 6, 3)
        for _ in range(25):
            cx, cy, r = rng.uniform(0, 64), rng.uniform(0, 64), rng.uniform(2, 4)
            image[(x - cx) ** 2 + (y - cy) ** 2 < r * r] = rng.normal([110, 70, 150], 12, 3)
        image += rng.normal(0, noise, image.shape)
    return np.clip(images, 0, 255).astype(np.uint8)


@functools.cache
def examples(noise, n=16):
    rng = np.random.default_rng(3)
    return Examples(tissue(rng, n, noise), tuple("benign" if i < n // 2 else "tumour" for i in range(n)))


def linkage(name, value, low, high, chance, note=""):
    return Measurement(name, value, low, high, MEMBERS, chance=chance, note=note)


def accuracy(value, low, high):
    return MetricResult(
        "downstream-accuracy",
        "higher",
        (
            Measurement("accuracy", value, low, high, 144, chance=0.5),
            Measurement("accuracy-tumour", value - 0.02, low - 0.04, high + 0.01, 71, chance=0.5),
        ),
        "A classifier trained on the release alone, tested on patients kept out of it.",
    )


def kid(value, low, high):
    return MetricResult("kid", "lower", (Measurement("kid", value, low, high, 144),))


def raw_release():
    curve = Curve("rank", tuple((float(r), 1 - 0.03 / r) for r in range(1, 40)))
    return Release(
        name="raw",
        kind="raw copies",
        status="yardstick",
        images=3456,
        yardstick=True,
        claims=(Claim(math.inf, 1.0, accountant="none"),),
        attacks=(
            AttackResult(
                "nearest-patient",
                "linkage",
                "released images",
                (
                    linkage("top-1", 0.97, 0.938, 0.988, 1 / MEMBERS),
                    linkage("top-5", 0.991, 0.967, 0.999, 5 / MEMBERS),
                    linkage("mrr", 0.979, 0.955, 0.991, 0.027),
                ),
                relation="other slide of the same patient",
                sentence="Whoever holds one other slide of a patient names the right one of 216 at the "
                "first guess in 97 % "
                "of cases; guessing would do so in 0.5 %.",
                curves=(curve,),
            ),
        ),
        metrics=(accuracy(0.93, 0.88, 0.96), kid(0.0004, -0.0008, 0.0017)),
        worst_off=(
            WorstOff(
                "nearest-patient",
                "share of the patient's images linked at the first guess",
                linkage("top-1", 0.97, 0.938, 0.988, 1 / MEMBERS),
                (PatientFigure("p-7f3a", 1.0, 16, 0.794, 1.0), PatientFigure("p-02cc", 1.0, 2)),
                "For 201 of 216 patients every released image was linked.",
            ),
        ),
        adversary="Somebody with one other slide of a patient finds that patient's images in the release "
        "nearly always, "
        "and for 201 of 216 patients always.",
    )


def diffusion_release():
    roc = Curve("roc", tuple((f, min(1.0, f**0.7)) for f in (0.007, 0.02, 0.05, 0.1, 0.3, 1.0)))
    return Release(
        name="diffusion",
        kind="drawn images",
        status="yardstick",
        images=2000,
        yardstick=True,
        claims=(Claim(math.inf, 1.0, accountant="none"),),
        generator=Chosen("diffusion", {"steps": 3000, "channels": 48}),
        attacks=(
            AttackResult(
                "nearest-patient",
                "linkage",
                "released images",
                (linkage("auc", 0.641, 0.587, 0.692, 0.5),),
                relation="other slide of the same patient",
                sentence="Members' other slides lie closer to the drawn images than non-members' do, in "
                "64 of 100 pairs.",
                curves=(roc,),
            ),
        ),
        metrics=(accuracy(0.87, 0.81, 0.92), kid(0.021, 0.017, 0.026)),
        examples=examples(6),
        adversary="Somebody with one other slide of a patient can tell somewhat better than by guessing "
        "whether the "
        "patient was used.",
    )


def merf_release():
    return Release(
        name="dp-merf",
        kind="drawn images",
        status="waiting for approval",
        images=2000,
        claims=(claim(8.0, protects="everything drawn from the model", replace_one_epsilon=15.2),),
        total=claim(9.4),
        generator=Chosen("dp-merf", {"features": 1024, "steps": 2000}),
        mechanism=Chosen("noisy-sum", {"epsilon": 8.0, "delta": 1e-4, "clip_norm": 1.0}),
        attacks=(
            AttackResult(
                "nearest-patient",
                "linkage",
                "released images",
                (linkage("auc", 0.507, 0.462, 0.546, 0.5),),
                relation="other slide of the same patient",
                sentence="No attack told members from non-members better than guessing.",
                caps={"auc": 0.99966, "epsilon-lower-bound": 8.0},
                gate="passed",
            ),
            AttackResult(
                "canaries",
                "membership",
                "weights",
                (Measurement("epsilon-lower-bound", 0.41, 0.0, 1.9, 200, "canary"),),
                caps={"epsilon-lower-bound": 8.0},
                largest_bound=4.6,
                gate="passed",
                private=False,
            ),
        ),
        metrics=(accuracy(0.74, 0.66, 0.81), kid(0.11, 0.10, 0.12)),
        examples=examples(35),
        worst_off=(
            WorstOff(
                "nearest-patient",
                "rank of the patient among 360, as a share (1 is the most exposed)",
                Measurement("rank-share", 0.504, 0.465, 0.543, MEMBERS),
                (PatientFigure("p-5d10", 0.997, 16), PatientFigure("p-a914", 0.994, 12)),
            ),
        ),
        adversary="With the attacks tried, nobody does better than guessing, on average or for the "
        "worst-off.",
        needed=Needed(900, "At the same ε, an accuracy of 0.85 would need more patients."),
    )


def sgd_release():
    return Release(
        name="dp-sgd",
        kind="drawn images",
        status="waiting for approval",
        images=2000,
        claims=(claim(8.0, protects="the weights and everything drawn from them"),),
        total=claim(9.4),
        generator=Chosen("diffusion", {"steps": 300, "channels": 48}),
        mechanism=Chosen("dp-sgd", {"epsilon": 8.0, "delta": 1e-4, "clip_norm": 1.0, "noise_draws": 4}),
        attacks=(
            AttackResult(
                "nearest-patient",
                "linkage",
                "released images",
                (Measurement("auc", 0.52, 0.31, 0.73, 8, chance=0.5, note="same image"),),
                relation="same image",
                sentence="Eight patients are too few to say anything.",
                not_tested=("tpr@0.01: 4 non-member patients are too few for this false positive rate",),
                caps={"auc": 0.99966},
                gate="passed",
            ),
        ),
        metrics=(accuracy(0.49, 0.41, 0.57), kid(0.83, 0.80, 0.86)),
        examples=examples(120),
        notes=("The images are noise: the privacy noise was about 200 times the summed gradient.",),
        needed=Needed(12000, "At this number of patients the noise drowns what could be learned."),
    )


@pytest.fixture
def report():
    return Report(
        pipeline="breast-regions",
        dataset="breast-2026",
        created="2026-05-04 09:12 UTC",
        public_patients=400,
        releases=(raw_release(), diffusion_release(), merf_release(), sgd_release()),
        alone=claim(9.1, 2e-4),
        total=claim(9.4, 2e-4),
        budget=Budget(10.0, 1e-3, 1.2, 1e-5, 9.4, 2.1e-4),
        counts=(Count("patients, stated as a lower bound", 400, private=False), Count("tiles read", 25_600)),
        failures=Failures(712, 5, 3),
        not_run=(NotRun("lira", "dp-sgd", "32 shadow models would take 41 h; the shadow budget allows 2 h"),),
        not_protected=("The scanner model, which is the same for all slides of one site.",),
        warnings=("3 files could not be read.",),
        plugins=(
            Plugin("privagams-attacks", "0.1.0", ("nearest-patient", "canaries")),
            Plugin("privagams-dp", "0.1.0", ("dp-sgd", "noisy-sum")),
        ),
        gate=Gate(2, 0.001, "No bound is above its claim."),
        selftest=Selftest(14, 14, 31.0),
        provenance=Provenance(
            7,
            "3.12.3",
            "Linux x86_64, 2 cores",
            {"privagams": "0.1.0", "torch": "2.13.0"},
            {"pipeline.toml": "sha256:51ab" + "0" * 56, "ledger head": "sha256:9cc0" + "1" * 56},
            (
                StageTime("read and tile", 148.0, True),
                StageTime("fit dp-sgd", 96.2),
                StageTime("report", 0.9),
            ),
        ),
    )
