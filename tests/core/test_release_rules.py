"""Which generator, mechanism and kind of release go together: refused by TOML path, with the next step."""

import tomllib

import pytest

from privagams.config import check
from privagams.errors import ConfigError
from privagams.plugins import discover

BASE = """
api = 1
name = "p"
[source]
use = "images"
dataset = "d"
table = "t.csv"
[tiles]
size = 32
mpp = "native"
[public]
patients = 100
[budget]
epsilon = 10.0
delta = 1e-4
[[releases]]
name = "one"
"""
GLOW = 'generator = { use = "glow", train_on = "reference" }\n'
LATENT = 'mechanism = { use = "latent-laplace", epsilon = 8.0 }\n'
PIXEL = 'mechanism = { use = "pixel-laplace", epsilon = 8.0 }\n'
SGD = '{ use = "dp-sgd", epsilon = 4.0, delta = 1e-5 }\n'


@pytest.fixture(scope="module")
def registry():
    return discover()


@pytest.mark.parametrize(
    "table",
    [
        'of = "members"\n' + GLOW + LATENT,
        'of = "members"\nimages_per_patient = 3\n' + PIXEL,
        'of = "members"\ngenerator = { use = "glow" }\ntraining = ' + SGD + LATENT,
        'of = "members"\nyardstick = true\ngenerator = { use = "glow" }\n' + LATENT,
        'of = "members"\nyardstick = true\n',
    ],
)
def test_what_fits_is_accepted(table, registry, tmp_path):
    pipeline, _ = check(tomllib.loads(BASE + table), tmp_path, registry)
    assert pipeline.releases[0].name == "one"


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('of = "members"\n' + LATENT, ".generator: required by 'latent-laplace'"),
        (
            'of = "members"\ngenerator = { use = "diffusion" }\n' + LATENT,
            ".generator: 'diffusion' cannot encode images, and 'latent-laplace' randomises latent vectors; "
            "fitting generators: glow",
        ),
        ('of = "members"\n' + GLOW + PIXEL, "'pixel-laplace' randomises pixels and takes no generator"),
        ('of = "members"\nmechanism = ' + SGD, "latent-gaussian, latent-laplace"),
        ('of = "members"\nyardstick = true\n' + GLOW, ".of: raw copies take no generator"),
        ('of = "members"\nimages = 4\n' + PIXEL, ".of: copies of members take neither images nor weights"),
        ('of = "members"\n', ".mechanism: missing"),
        ("images = 4\n" + GLOW + LATENT, ".mechanism: 'latent-laplace' protects copies of images, one by one"),
        ("images = 4\nimages_per_patient = 1\n" + GLOW + "mechanism = " + SGD, ".images_per_patient: only for"),
        ("images = 4\ntraining = " + SGD + GLOW + "mechanism = " + SGD, ".training: only for randomised copies"),
        (
            'of = "members"\ntraining = { use = "noisy-sum", epsilon = 4.0, delta = 1e-5 }\n' + GLOW + LATENT,
            ".training: 'noisy-sum' protects summary, but generator 'glow' learns from gradients",
        ),
        ('of = "members"\nyardstick = true\ntraining = ' + SGD + GLOW + LATENT, ".yardstick: a yardstick has no"),
        ('of = "members"\nimages_per_patient = 0\n' + PIXEL, "images_per_patient"),
        (
            'of = "members"\nmechanism = { use = "pixel-laplace", epsilon = -1.0 }\n',
            "releases[0].mechanism.epsilon",
        ),
        (
            'of = "members"\nmechanism = { use = "pixel-laplace", epsilon = inf }\n',
            "releases[0].mechanism.epsilon",
        ),
        (
            'of = "members"\n' + GLOW + 'mechanism = { use = "latent-laplace", epsilon = 1.0, clip = 0.0 }\n',
            "releases[0].mechanism.clip",
        ),
        (
            'of = "members"\n' + GLOW + 'mechanism = { use = "latent-laplace" }\n',
            "either epsilon (of one patient, in total) or per_element_epsilon",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_the_next_step(table, said, registry, tmp_path):
    with pytest.raises(ConfigError) as caught:
        check(tomllib.loads(BASE + table), tmp_path, registry)
    assert said in "\n".join(caught.value.problems)
