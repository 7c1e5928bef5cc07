"""The picture of a sweep over the noise of randomised copies."""

import pytest
from attrs import evolve

from privagams.evidence import Measurement
from privagams.report.data import AttackResult, Chosen, Claim, MetricResult, Release
from privagams.report.pages import public_page, steward_page, sweep


def copies(name, mechanism, epsilon, linked, use, **more):
    top1 = Measurement("top-1", linked, linked - 0.05, linked + 0.05, 40, chance=0.02, note="same image")
    other = Measurement("top-1", linked / 3, 0.0, linked, 40, chance=0.02)
    return Release(
        name=name, kind="randomised copies", status="waiting for approval", images=40, yardstick=False,
        claims=(Claim(epsilon, 0.0, adjacency="replace-one"),), mechanism=Chosen(mechanism),
        attacks=(
            AttackResult("weak", "linkage", "released", (evolve(top1, value=linked / 2),)),
            AttackResult("strong", "linkage", "released", (top1, other)),
        ),
        metrics=(MetricResult("psnr", "higher", (Measurement("psnr", use, use - 1, use + 1, 40),)),),
        **more,
    )  # fmt: skip


@pytest.fixture
def swept(report):
    made = [copies(f"l{e}", "latent-laplace", e, x, u) for e, x, u in ((8.0, 0.1, 9.0), (4096.0, 0.9, 20.0))]
    made.append(copies("p8", "pixel-laplace", 8.0, 0.1, 5.0))
    return evolve(report, releases=(*report.releases, *made))


def test_each_mechanism_is_a_curve_of_its_strongest_linkage_against_use(swept):
    found = sweep(swept)
    assert found.metric == ("psnr", "psnr")
    assert found.note == "same image"
    text = str(found.svg)
    assert "latent-laplace" in text
    assert "pixel-laplace" in text
    assert "ε = 4,096" in text
    assert "How much noise is worth what" in steward_page(swept)


def test_a_report_without_a_sweep_has_no_such_picture(report, swept):
    assert sweep(report) is None
    assert sweep(evolve(swept, releases=(swept.releases[-1], swept.releases[-2]))) is None
    assert "How much noise" not in steward_page(report)


def test_the_public_page_has_no_such_picture(swept):
    assert "How much noise" not in public_page(swept, include_figures_from_members=True)
