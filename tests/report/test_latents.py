"""The latents of held-out images: told to the steward, once for each flow, and to nobody else."""

import json
import math

from attrs import evolve

from privagams.report.data import LatentLevel, Latents
from privagams.report.interface import as_json
from privagams.report.latent_picture import latent_picture
from privagams.report.pages import public_page, steward_page
from privagams.report.public import for_public

LATENTS = Latents(
    images=87,
    levels=(LatentLevel(48, 0.031, 1.234, 0.0191), LatentLevel(208, -0.02, 0.97, 0.003)),
    histogram=(0.25, 0.25, 0.25, 0.25),
    edges=(-6.0, -3.0, 0.0, 3.0, 6.0),
)


def with_latents(report, *found):
    releases = zip(report.releases, (*found, *[None] * len(report.releases)), strict=False)
    return evolve(report, releases=tuple(evolve(r, latents=latents) for r, latents in releases))


def test_the_steward_reads_mean_and_spread_of_each_level(report):
    page = steward_page(with_latents(report, LATENTS))
    assert "how normal its latents are" in page
    assert "1.23" in page
    assert "0.0191" in page
    assert json.loads(as_json(with_latents(report, LATENTS)))["releases"][0]["latents"]["images"] == 87


def test_releases_of_one_flow_show_its_latents_once(report):
    other = evolve(LATENTS, images=88)
    page = steward_page(with_latents(report, LATENTS, LATENTS, other))
    assert page.count("how normal its latents are") == 2


def test_the_public_page_says_nothing_of_non_members_latents(report):
    shown = with_latents(report, LATENTS)
    assert "latents are" not in public_page(shown, include_figures_from_members=True)
    assert json.loads(as_json(for_public(shown)))["releases"][0]["latents"] is None


def test_the_bars_have_the_heights_of_their_densities():
    svg = str(latent_picture(evolve(LATENTS, histogram=(0.0, 0.6, 0.3, 0.1))))
    heights = [float(part.split('height="')[1].split('"')[0]) for part in svg.split("<rect ")[1:]]
    assert heights[0] == 0
    assert math.isclose(heights[1], 2 * heights[2], rel_tol=0.02)
