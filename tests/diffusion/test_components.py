"""What the package offers."""

import subprocess
import sys

import privagams_diffusion


def test_listing_loads_neither_torch_nor_diffusers():
    code = (
        "import sys, privagams_diffusion as p; list(p.privagams_generators());"
        "print(sorted({'torch', 'numpy', 'diffusers'} & set(sys.modules)))"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )


def test_the_generator_is_offered_with_its_settings():
    (component,) = privagams_diffusion.privagams_generators()
    assert component.name == "diffusion"
    assert component.settings is privagams_diffusion.DiffusionSettings
