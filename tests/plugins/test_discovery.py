"""Plugins are found through their metadata; what is wrong with one is told and hurts no other."""

import json
from importlib.metadata import distributions

import pytest

from privagams.errors import PluginError
from privagams.listing import doctor, list_plugins
from privagams.plugins import discover, fingerprint

SOUND = """\
from privagams import Component, hookimpl

def build(settings):
    return object()

@hookimpl
def privagams_attacks():
    yield Component("NAME", "An attack.", build)
"""


def offering(name: str) -> str:
    return SOUND.replace("NAME", name)


@pytest.fixture
def found(lab):
    """Discover only what the test installed."""
    return lambda allow=None: discover(allow, distributions(path=[str(lab.site)]))


def test_a_plugin_is_found_with_its_distribution_and_version(lab, found):
    lab("alab-plugin", offering("alab-attack"), "2.3")
    registry = found()
    offer = registry.get("attacks", "alab-attack")
    assert (offer.distribution, offer.version, offer.source) == ("alab-plugin", "2.3", "alab-plugin 2.3")
    assert not registry.failures
    assert not registry.clashes


def test_order_on_the_path_changes_nothing(lab, found):
    lab("zlab-plugin", offering("zlab-attack"))
    lab("alab-plugin", offering("alab-attack"))
    backwards = discover(None, list(distributions(path=[str(lab.site)]))[::-1])
    assert found().names("attacks") == ["alab-attack", "zlab-attack"]
    assert [o.source for o in found().offers] == [o.source for o in backwards.offers]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import no_such_library\n", "ModuleNotFoundError: No module named 'no_such_library'"),
        ("raise RuntimeError('no licence file')\n", "RuntimeError: no licence file"),
        ("def broken(:\n", "SyntaxError"),
        (
            offering("blab-attack").replace("def privagams_attacks", "def privagams_atacks"),
            "privagams_atacks",
        ),
        (
            offering("blab-attack").replace("def privagams_attacks()", "def privagams_attacks(config)"),
            "config",
        ),
        (
            offering("blab-attack").replace('Component("blab-attack", "An attack.", build)', "build"),
            "must yield Component",
        ),
        (offering("blab-attack").replace("yield", "raise ValueError('late');"), "ValueError: late"),
    ],
    ids=["import", "raises", "syntax", "hook-typo", "hook-argument", "wrong-type", "raises-late"],
)
def test_a_broken_plugin_is_told_and_the_others_are_found(lab, found, code, reason):
    lab("alab-plugin", offering("alab-attack"))
    lab("blab-plugin", code, "0.4")
    registry = found()
    assert registry.names("attacks") == ["alab-attack"]
    (failure,) = registry.failures
    assert (failure.distribution, failure.version) == ("blab-plugin", "0.4")
    assert reason in failure.reason


def test_asking_for_a_component_of_a_broken_plugin_says_why_it_is_not_there(lab, found):
    lab("alab-plugin", offering("alab-attack"))
    lab("blab-plugin", "import no_such_library\n", "0.4")
    with pytest.raises(PluginError) as refused:
        found().get("attacks", "alab-atack")
    text = str(refused.value)
    assert "did you mean 'alab-attack'?" in text
    assert "blab-plugin 0.4 could not be loaded: ModuleNotFoundError" in text


def test_one_name_offered_twice_names_both_distributions(lab, found):
    lab("alab-plugin", offering("shared-attack"), "1.0")
    lab("blab-plugin", offering("shared-attack"), "0.2")
    registry = found()
    with pytest.raises(PluginError, match=r"alab-plugin 1\.0 and blab-plugin 0\.2"):
        registry.refuse_clashes()


def test_one_name_in_two_roles_is_no_clash(lab, found):
    lab("alab-plugin", offering("alab-thing"))
    lab("blab-plugin", offering("alab-thing").replace("privagams_attacks", "privagams_metrics"))
    registry = found()
    registry.refuse_clashes()
    assert registry.names("metrics") == registry.names("attacks") == ["alab-thing"]


def test_allow_admits_by_distribution_version_and_hash(lab, found):
    lab("alab-plugin", offering("alab-attack"), "1.0")
    lab("blab-plugin", offering("blab-attack"), "1.0")
    (dist,) = (d for d in distributions(path=[str(lab.site)]) if d.name == "alab-plugin")
    digest = fingerprint(dist)
    assert found(["alab-plugin"]).names("attacks") == ["alab-attack"]
    assert found(["Alab-Plugin==1.0"]).names("attacks") == ["alab-attack"]
    assert found(["alab-plugin==1.1"]).names("attacks") == []
    assert found([f"alab-plugin==1.0 sha256:{digest}"]).names("attacks") == ["alab-attack"]
    (lab.site / "alab_plugin.py").write_text(offering("alab-attack") + "# changed\n")
    assert found([f"alab-plugin==1.0 sha256:{digest}"]).names("attacks") == []


def test_a_plugin_that_is_not_allowed_is_not_even_imported(lab, found, tmp_path):
    trace = tmp_path / "imported"
    lab("blab-plugin", f"open({str(trace)!r}, 'w').close()\n")
    found(["alab-plugin"])
    assert not trace.exists()
    found()
    assert trace.exists()


def test_doctor_tells_what_is_wrong_and_exits_3(lab, capsys):
    lab("blab-plugin", "import no_such_library\n", "0.4")
    assert doctor() == 3
    assert "blab-plugin 0.4 could not be loaded" in capsys.readouterr().out


def test_the_list_for_programs_names_components_with_their_settings(lab, capsys):
    lab("alab-plugin", offering("alab-attack"), "2.3")
    assert list_plugins(as_json=True) == 0
    listed = {c["name"]: c for c in json.loads(capsys.readouterr().out)["components"]}
    assert listed["alab-attack"]["distribution"] == "alab-plugin"
    assert listed["alab-attack"]["role"] == "attacks"
    cells = [s for s in listed["dp-sgd"]["settings"] if s["name"] == "clip_norm"]
    assert cells[0]["doc"]
