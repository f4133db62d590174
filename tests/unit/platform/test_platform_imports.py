"""What a process pays before it does anything: declarations do not import what does the work."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
MODELS = (
    "torch",
    "torchvision",
    "lightning",
    "olmoearth_pretrain_minimal",
    "sklearn",
    "matplotlib",
)
WORK = (*MODELS, "scipy", "rslearn", "rasterio", "geopandas", "numba", "duckdb")
DECLARATIONS = ("definitions", "geofm_assets.cli")
TABLES = (
    "geofm_assets.labels.calfire.samples",
    "geofm_assets.labels.csv.points",
    "geofm_assets.labels.streaming",
    "geofm_assets.labels.worldcereal.points",
    "geofm_assets.sampling.plan",
    "geofm_assets.windows.geometry",
    "geofm_assets.windows.masks",
)
"""What makes points, samples and windows."""
CODE = """
import importlib, json, sys, traceback

names = {names}
by = {{}}

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name in names and name not in by:
            stack = [f"{{f.filename}}:{{f.lineno}}" for f in traceback.extract_stack()]
            own = [place for place in stack if {root!r} in place]
            by[name] = own[-1] if own else stack[0]

sys.meta_path.insert(0, Watch())
said = []
for modules in {groups}:
    for module in modules:
        importlib.import_module(module)
    said.append({{name: by.get(name, "?") for name in names if name in sys.modules}})
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory) -> list[dict[str, str]]:
    """Libraries and the lines that import them: after the declarations, then with tables' work."""
    folder = tmp_path_factory.mktemp("imports")
    code = CODE.format(names=WORK, root=str(ROOT), groups=(DECLARATIONS, TABLES))
    environment = {**os.environ, "GEOFM_STORE": str(folder), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said: list[dict[str, str]] = json.loads(done.stdout.splitlines()[-1])
    return said


def test_declarations_and_the_command_line_import_nothing_that_does_the_work(loaded):
    assert loaded[0] == {}


def test_making_points_and_windows_imports_no_model_library(loaded):
    assert {name: line for name, line in loaded[1].items() if name in MODELS} == {}
