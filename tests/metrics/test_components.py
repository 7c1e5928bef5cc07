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
    names = ["texture", "weights", "kid", "downstream-accuracy", "psnr", "ssim", "pathology-auc"]
    assert [c.name for c in offered] == names
    required = {"pathology-auc": {"positive": "tumour"}}
    for component in offered:
        if component.name != "weights":
            given = required.get(component.name, {})
            assert component.build(component.settings(**given) if component.settings else None)
