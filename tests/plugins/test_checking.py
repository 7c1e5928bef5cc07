"""`privagams check` and `conformance`: what they print, refuse and return."""

import os
import subprocess
import sys

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
    pixels(divisor=" / float(pixels.mean() + 1)")
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


def test_a_module_of_one_line_runs_the_laws_under_pytest(pixels, lab, tmp_path):
    pixels(divisor=" / float(pixels.mean() + 1)")
    excuse = f'expected_failures={{"{BATCH_LAW}": "whitens on purpose"}}'
    needless = 'expected_failures={"check_different_images_differ": "it does not"}'
    modules = []
    for name, more in (("plain", ""), ("excused", excuse), ("needless", needless)):
        module = tmp_path / f"test_{name}.py"
        module.write_text(
            f'from privagams.testing import conformance\ntest_pixels = conformance("alab-pixels", {more})\n'
        )
        modules.append(module)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", *map(str, modules)],
        env={**os.environ, "PYTHONPATH": str(lab.site)}, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    said = done.stdout
    assert "FAILED test_plain.py::test_pixels[rows_are_independent]" in said
    assert "XFAIL test_excused.py::test_pixels[rows_are_independent] - whitens on purpose" in said
    assert "[XPASS(strict)] it does not" in said
    assert "3 failed, 29 passed, 1 xfailed" in said


def test_what_every_pytest_run_loads_is_light():
    code = "import sys, privagams.testing.pytest_plugin; sys.exit(bool({'torch', 'numpy', 'scipy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
