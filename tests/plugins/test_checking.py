"""`privagams check` and `conformance`: what they print, refuse and return."""

import pytest

from privagams.cli import cli
from privagams.errors import PluginError
from privagams.testing import conformance

SOUND = """\
from privagams import Component, hookimpl
from attrs import field, frozen

class Embedder:
    def embed(self, pixels):
        import numpy as np
        return pixels.reshape(len(pixels), -1).astype(np.float32)DIVISOR

@frozen
class Settings:
    share: float = field(metadata={"doc": "needed"})

def build(settings):
    return Embedder()

@hookimpl
def privagams_embedders():
    yield Component("alab-pixels", "Pixels as they are.", buildSETTINGS)
"""
BATCH_LAW = "check_rows_are_independent"


@pytest.fixture
def pixels(lab):
    def install(divisor="", settings=""):
        lab("alab-plugin", SOUND.replace("DIVISOR", divisor).replace("SETTINGS", settings))

    return install


def test_a_sound_component_passes_and_exits_0(pixels, capsys):
    pixels()
    assert cli.main(["check", "alab-pixels"]) == 0
    said = capsys.readouterr().out
    assert "passed  rows_are_independent" in said
    assert "keeps 11 of 11 laws" in said


def test_a_broken_law_is_told_with_what_to_do_and_exits_3(pixels, capsys):
    pixels(divisor=" / pixels.sum()")
    assert cli.main(["check", "alab-pixels"]) == 3
    said = capsys.readouterr().out
    assert "FAILED  rows_are_independent" in said
    assert "when it is embedded alone" in said
    assert "If this fails, take no mean, scale or whitening" in said


def test_a_name_that_nobody_offers_is_a_plugin_error(pixels, capsys):
    pixels()
    assert cli.main(["check", "alab-pixel"]) == 3
    assert "did you mean 'alab-pixels'?" in capsys.readouterr().err


def test_settings_without_defaults_are_asked_for(pixels, capsys):
    pixels(settings=", Settings")
    assert cli.main(["check", "alab-pixels"]) == 3
    assert "share: required setting missing" in capsys.readouterr().err
    conformance("alab-pixels", settings={"share": 0.5})


def test_an_expected_failure_must_name_a_law_and_a_reason(pixels):
    pixels()
    with pytest.raises(
        PluginError, match=r"check_rows_are_alone, which is no law.*check_rows_are_independent"
    ):
        conformance("alab-pixels", expected_failures={"check_rows_are_alone": "it is"})
    with pytest.raises(PluginError, match="gives no reason for check_rows_are_independent"):
        conformance("alab-pixels", expected_failures={BATCH_LAW: " "})


def cases(test):
    (mark,) = test.pytestmark
    return {case.values[1].__name__: case for case in mark.args[1]}


def test_each_law_is_a_case_and_an_expected_failure_is_strict(pixels):
    pixels()
    found = cases(conformance("alab-pixels", expected_failures={BATCH_LAW: "whitens on purpose"}))
    assert len(found) == 11
    (mark,) = found[BATCH_LAW].marks
    assert (mark.name, mark.kwargs["strict"], mark.kwargs["reason"]) == ("xfail", True, "whitens on purpose")
    assert not any(case.marks for name, case in found.items() if name != BATCH_LAW)
