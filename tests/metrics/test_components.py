"""What the package offers."""

import subprocess
import sys

import privagams_metrics


def test_listing_loads_neither_torch_nor_numpy():
    code = (
        "import sys, privagams_metrics as p; list(p.privagams_embedders()); list(p.privagams_metrics());"
        "print(sorted({'torch', 'numpy', 'timm'} & set(sys.modules)))"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )


def test_components_are_built_from_their_settings():
    offered = [*privagams_metrics.privagams_embedders(), *privagams_metrics.privagams_metrics()]
    assert [c.name for c in offered] == ["texture", "weights", "kid", "downstream-accuracy"]
    for component in offered:
        if component.name != "weights":
            assert component.build(component.settings() if component.settings else None)
