"""Every component that this project ships keeps every law of its role."""

from importlib.metadata import distribution

import pytest

from privagams.plugins import discover
from privagams.testing.catalogue import laws
from privagams.testing.subject import Bench, NotConcerned, find, role_of

pytestmark = [
    # tiatoolbox leaves a file of its own open when it is imported.
    pytest.mark.filterwarnings("ignore:(?s).*pretrained_model.yaml:pytest.PytestUnraisableExceptionWarning"),
]
SETTINGS = {
    # Small, so that a law takes a second; the laws are about behaviour, not about quality.
    "diffusion": {"channels": [8, 16], "sampling_steps": 2, "timesteps": 10},
    "glow": {"depth": 2, "width": 8},
    "dp-merf": {"features": 16, "width": 4, "batch": 4},
    "kid": {"resamples": 100},
    "downstream-accuracy": {"resamples": 100},
    "pathology-auc": {"positive": "tumour", "trainings": 1, "resamples": 100},
    "learned-linkage": {"steps": 30, "width": 8},
    "slide-descriptor": {"words": 8, "components": 16},
    "loss": {"noises": 2},
    "latent-laplace": {"epsilon": 8.0},
    "latent-gaussian": {"epsilon": 8.0, "delta": 1e-4},
    "latent-topk": {"epsilon": 8.0, "delta": 1e-4, "k": 4},
    "pixel-laplace": {"epsilon": 8.0},
    "lira": {"shadows": 4, "noises": 2},
    "rmia": {"shadows": 4, "noises": 2},
}


def first_party():
    for offer in discover().offers:
        if offer.distribution.startswith("privagams"):
            yield offer


def cases():
    for offer in first_party():
        role = role_of(offer.role, offer.component)
        for law in laws(role):
            name = f"{offer.component.name}-{law.__name__.removeprefix('check_')}"
            yield pytest.param(offer.component.name, role, law, id=name)


@pytest.fixture(scope="session")
def weights_file(tmp_path_factory):
    from safetensors.torch import save_file

    from privagams_metrics.timm_import import import_timm

    timm = import_timm()

    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_file(timm.create_model("test_resnet", pretrained=False).state_dict(), path)
    return path


@pytest.fixture(scope="session")
def subjects():
    """Found once: discovery for every case would take longer than the laws."""
    return {}


@pytest.mark.parametrize(("name", "role", "law"), list(cases()))
def test_a_shipped_component_keeps_the_law(name, role, law, subjects, tmp_path, request):
    if (name, role) not in subjects:
        settings = SETTINGS.get(name, {})
        if name == "weights":
            settings = {
                "model": "test_resnet",
                "file": str(request.getfixturevalue("weights_file")),
                "size": 32,
            }
        subjects.update({(name, found.role): found for found in find(name, settings)})
    try:
        law(subjects[name, role], Bench(tmp_path))
    except NotConcerned as reason:
        pytest.skip(str(reason))


def test_every_shipped_package_is_covered():
    offering = {offer.distribution for offer in first_party()}
    expected = {
        "privagams-attacks", "privagams-diffusion", "privagams-dp", "privagams-glow", "privagams-images",
        "privagams-metrics", "privagams-oneshot", "privagams-openslide", "privagams-tiatoolbox",
    }  # fmt: skip
    for name in expected:
        assert distribution(name) is not None
    assert expected <= offering
