"""No file of data or weights runs code: how the package may read, looked for in its source."""

import ast
from pathlib import Path

import pytest
import torch

import geofm_assets
from geofm_assets.core.errors import WeightsError
from geofm_assets.training.checkpoint import read_checkpoint

SOURCES = sorted(Path(geofm_assets.__file__).parent.rglob("*.py"))
REFUSED = {
    "pickle.load",
    "pickle.loads",
    "joblib.load",
    "yaml.load",
    "yaml.unsafe_load",
    "yaml.full_load",
    "os.system",
    "eval",
    "exec",
    "marshal.loads",
}
LOADING = ("torch.load", "load_from_checkpoint")


def calls(path):
    tree = ast.parse(path.read_text("utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def said(call):
    return {k.arg: k.value.value for k in call.keywords if isinstance(k.value, ast.Constant)}


def faults(call):
    """What a call says that could run code of a file."""
    name, options = ast.unparse(call.func), said(call)
    if name in REFUSED or name.rpartition(".")[2] in ("extractall", "extract"):
        yield name
    if options.get("allow_pickle") is True or options.get("shell") is True:
        yield f"{name} with allow_pickle or shell"
    loads = name in LOADING or name.endswith(tuple(f".{loading}" for loading in LOADING))
    resumes = "ckpt_path" in {keyword.arg for keyword in call.keywords}
    if (loads or resumes) and options.get("weights_only") is not True:
        yield f"{name} without weights_only"


def test_files_are_read_without_running_code():
    found = [
        f"{path}:{call.lineno} {fault}"
        for path in SOURCES
        for call in calls(path)
        for fault in faults(call)
    ]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "Module.load_from_checkpoint(path)",
        "trainer.fit(module, ckpt_path=last)",
        "np.load(path, allow_pickle=True)",
        "pickle.loads(data)",
        "archive.extractall(folder)",
        "subprocess.run(text, shell=True)",
    ],
)
def test_what_would_run_code_is_seen(text):
    (call,) = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call))
    assert list(faults(call))


def test_a_checkpoint_never_runs_code(tmp_path):
    class Malice:
        def __reduce__(self):
            return open, (str(tmp_path / "ran"), "w")

    torch.save({"format": Malice()}, tmp_path / "checkpoint.ckpt")
    with pytest.raises(WeightsError, match="cannot be read"):
        read_checkpoint(tmp_path / "checkpoint.ckpt")
    assert not (tmp_path / "ran").exists()
