"""Configuration: every fault at once, each with its TOML path and the next step."""

import subprocess
import sys
import tomllib

import pytest

from privagams.config import check, load
from privagams.errors import ConfigError
from privagams.pipeline import AuditSettings
from privagams.plugins import Registry, discover

GOOD = """
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
classes = { a = 0.5, b = 0.5 }
[budget]
epsilon = 10.0
delta = 1e-4
[[releases]]
name = "one"
images = 10
generator = { use = "dp-merf" }
mechanism = { use = "noisy-sum", epsilon = 8, delta = 1e-4 }
[[attacks]]
use = "nearest-patient"
"""


@pytest.fixture(scope="module")
def registry():
    return discover()


@pytest.fixture
def faults(registry, tmp_path):
    def of(text: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            check(tomllib.loads(text), tmp_path, registry)
        return caught.value.problems

    return of


def test_a_sound_file_is_accepted_with_its_defaults_filled_in(registry, tmp_path):
    pipeline, _ = check(tomllib.loads(GOOD), tmp_path, registry)
    assert pipeline.releases[0].mechanism.settings["epsilon"] == 8.0
    assert pipeline.resolved["split"]["members"] == 0.6
    assert pipeline.attacks[0].settings["embedder"] == {"use": "texture"}


def test_all_faults_are_told_at_once_with_their_paths(faults):
    text = (
        GOOD.replace("epsilon = 8,", "epsilom = 8,")
        .replace("size = 32", 'size = "32"')
        .replace('use = "nearest-patient"', 'use = "nearest-pacient"')
        .replace("patients = 100", "patients = true")
    )
    found = "\n".join(faults(text))
    assert "releases[0].mechanism.epsilom: unknown setting 'epsilom'; did you mean 'epsilon'?" in found
    assert "releases[0].mechanism.epsilon: required setting missing" in found
    assert 'tiles.size: expected a whole number, found "32"' in found
    assert "attacks[0].use: no attack named 'nearest-pacient'; did you mean 'nearest-patient'?" in found
    assert "public.patients: expected a whole number, found true" in found


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("size = 32", "size = 2.9", "tiles.size: expected a whole number, found 2.9"),
        ("epsilon = 8,", "epsilon = true,", "releases[0].mechanism.epsilon: expected a number, found true"),
        ("epsilon = 8,", 'epsilon = "8",', 'releases[0].mechanism.epsilon: expected a number, found "8"'),
        ("epsilon = 8,", "epsilon = -1,", "releases[0].mechanism.epsilon: must be > 0: -1"),
        ("a = 0.5", "a = 0.7", "add up to 1.2"),
        ('use = "noisy-sum"', 'use = "dp-sgd"', "learns from summary; fitting mechanisms: noisy-sum"),
        ("[budget]\nepsilon = 10.0\ndelta = 1e-4", "", "budget: required when a release has a mechanism"),
        ("images = 10\n", "", "releases[0].images: required for drawn images"),
        ("api = 1", "api = 2", "api: expected 1, found 2"),
        ('name = "p"', 'name = "../p"', "name: expected letters"),
        ("[[attacks]]", "[atacks]", "atacks: unknown setting; did you mean 'attacks'?"),
    ],
)
def test_each_fault_has_its_text(faults, old, new, said):
    assert old in GOOD
    assert said in "\n".join(faults(GOOD.replace(old, new, 1)))


def test_a_release_without_mechanism_must_call_itself_a_yardstick(faults):
    text = GOOD.replace('mechanism = { use = "noisy-sum", epsilon = 8, delta = 1e-4 }\n', "")
    assert "nothing would protect the patients" in "\n".join(faults(text))


def test_settings_can_be_overridden_from_outside(tmp_path, registry):
    file = tmp_path / "pipeline.toml"
    file.write_text(GOOD)
    pipeline, _ = load(file, ["releases.0.mechanism.epsilon=4", "tiles.mpp=2.0"], registry)
    assert pipeline.releases[0].mechanism.settings["epsilon"] == 4.0
    assert pipeline.tiles.mpp == 2.0
    with pytest.raises(ConfigError, match="there is no releases"):
        load(file, ["releases.7.images=4"], registry)


def test_validate_imports_no_torch(tmp_path):
    file = tmp_path / "pipeline.toml"
    file.write_text(GOOD)
    code = (
        "import sys\nfrom pathlib import Path\nfrom privagams.config import load\n"
        f"load(Path({str(file)!r}))\n"
        "heavy = {'torch', 'dp_accounting', 'scipy', 'skimage', 'zarr', 'pyarrow'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_core_without_plugins_says_what_to_install(tmp_path):
    with pytest.raises(ConfigError) as caught:
        check(tomllib.loads(GOOD), tmp_path, Registry())
    found = "\n".join(caught.value.problems)
    assert "source.use: no reader named 'images'; installed: none; install privagams-openslide" in found
    assert (
        "releases[0].mechanism.use: no mechanism named 'noisy-sum'; installed: none; install privagams-dp"
        in found
    )


@pytest.mark.parametrize(
    ("canaries", "refused"), [(0, False), (8, True), (63, True), (64, False), (-1, True)]
)
def test_an_audit_of_so_few_canaries_that_chance_looks_like_a_fault_is_refused(canaries, refused):
    if refused:
        with pytest.raises(ValueError, match="at least 64"):
            AuditSettings(canaries=canaries)
    else:
        assert AuditSettings(canaries=canaries).canaries == canaries
