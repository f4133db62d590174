"""Modalities come in one order, whatever Python's hash seed."""

import os
import subprocess
import sys

import geofm_assets.models.encoders  # noqa: F401 - puts the order in place

CODE = """
import geofm_assets.models.encoders
from olmoearth_pretrain_minimal.olmoearth_pretrain_v1.nn import flexi_vit
supported = ["sentinel2_l2a", "sentinel1", "landsat", "worldcover"]
print(flexi_vit.get_modalities_to_process(["landsat", "sentinel1", "sentinel2_l2a"], supported))
"""


def test_the_library_is_given_the_order_of_the_model_under_any_hash_seed():
    found = set()
    for seed in ("0", "2"):
        done = subprocess.run(
            [sys.executable, "-c", CODE],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        found.add(done.stdout.strip())
    assert found == {"['sentinel2_l2a', 'sentinel1', 'landsat']"}
