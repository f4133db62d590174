"""Modalities come in one order, whatever Python's hash seed."""

import io
import os
import subprocess
import sys
from contextlib import redirect_stdout

import geofm_assets.models.encoders  # noqa: F401 - puts the order in place

CODE = """
import geofm_assets.models.encoders
from olmoearth_pretrain_minimal.olmoearth_pretrain_v1.nn import flexi_vit
supported = ["sentinel2_l2a", "sentinel1", "landsat", "worldcover"]
print(flexi_vit.get_modalities_to_process(["landsat", "sentinel1", "sentinel2_l2a"], supported))
"""


def test_the_library_is_given_the_order_of_the_model_under_any_hash_seed():
    said = io.StringIO()
    with redirect_stdout(said):
        exec(CODE, {})
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        env={**os.environ, "PYTHONHASHSEED": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    found = {said.getvalue().strip(), done.stdout.strip()}
    assert found == {"['sentinel2_l2a', 'sentinel1', 'landsat']"}
