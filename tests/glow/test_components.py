"""What the package offers."""

import subprocess
import sys

import pytest

import privagams_glow


def test_listing_loads_no_torch():
    code = (
        "import sys, privagams_glow as p; list(p.privagams_generators());"
        "print(sorted({'torch', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_generator_is_offered_as_one_that_encodes():
    (component,) = privagams_glow.privagams_generators()
    assert component.name == "glow"
    assert component.settings is privagams_glow.GlowSettings
    assert (component.training, component.encodes) == ("gradients", True)


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"levels": 0}, {"depth": 0}, {"width": 0}, {"temperature": 0.0}, {"learning_rate": -1.0},
     {"label_dropout": 1.0}, {"ema": 1.0}, {"train_on": "everyone"}, {"weight_decay": -0.1}],
)  # fmt: skip
def test_settings_out_of_bounds_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        privagams_glow.GlowSettings(**wrong)
