"""The grid: names, impossible combinations, the default."""

import contextlib
import subprocess
import sys

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from geofm_assets.core.errors import ExperimentError
from geofm_assets.models.names import ENCODER_NAMES
from geofm_assets.training.experiments import Experiment, ExperimentsConfig, grid, impossible

NANO = "olmoearth_v1_2_nano"
LAYERS = ("sentinel2_l2a", "sentinel1")


def config(**axes):
    given_axes = {
        "encoder": (NANO,),
        "modality": ("s2", "s1_s2"),
        "patch_size": (1, 2, 4, 8),
        "window_size": (1, 4, 8, 16, 32),
        "timesteps": (1, 12),
    }
    return ExperimentsConfig(**(given_axes | axes))


def make(config, size=32, months=12, **options):
    return grid(config, materialized_size=size, months=months, **options)


experiments = st.builds(
    Experiment,
    encoder=st.sampled_from(ENCODER_NAMES),
    modality=st.sampled_from(["s2", "s1", "s1_s2"]),
    patch_size=st.integers(1, 64),
    window_size=st.integers(1, 512),
    timesteps=st.integers(1, 99),
)


@given(experiments)
def test_name_and_experiment_are_one_thing(experiment):
    assert Experiment.parse(experiment.name) == experiment


@given(experiments, experiments)
def test_two_experiments_have_two_names(first, second):
    assert (first == second) == (first.name == second.name)


@given(st.text(max_size=40))
def test_other_text_is_refused_or_comes_back_unchanged(text):
    with contextlib.suppress(ExperimentError):
        assert Experiment.parse(text).name == text


@pytest.mark.parametrize(
    "name",
    [
        "",
        "olmoearth_v1_2_nano-s3-ps4-ws16-t12",
        "olmoearth_v1_2_nano-s2-ps04-ws16-t12",
        "olmoearth_v1_2_nano-s2-ps4-ws16-t0",
        "olmoearth_v1_2_nano-s2-ps4-ws16-t12\n",
        "../x-s2-ps4-ws16-t12",
    ],
)
def test_what_is_no_name_is_refused(name):
    with pytest.raises(ExperimentError, match="Not the name of an experiment"):
        Experiment.parse(name)


@given(experiments, st.integers(1, 64), st.integers(1, 24))
def test_feasible_means_tiles_fit_and_imagery_suffices(e, size, months):
    assume(e.encoder != "presto")
    possible = impossible(e, materialized_size=size, months=months, layers=LAYERS) is None
    assert possible == (
        e.window_size <= size
        and e.timesteps <= months
        and e.patch_size <= 8
        and e.window_size % e.patch_size == 0
    )


def test_every_combination_is_feasible_or_excluded():
    found = make(config())
    assert len(found.feasible) + len(found.excluded) == 2 * 4 * 5 * 2


def test_excluded_combination_says_why():
    reasons = dict(make(config()).excluded)
    assert reasons[f"{NANO}-s2-ps8-ws4-t1"] == "patch_size 8 is larger than window_size 4"


def test_patch_that_fits_no_window_is_refused():
    with pytest.raises(ExperimentError, match=r"patch_size 8 can be used in no .*window_size 4"):
        make(config(window_size=(1, 4)))


def test_window_beyond_the_materialized_one_is_refused():
    with pytest.raises(ExperimentError, match=r"window_size 64 .*windows\.size 32"):
        make(config(window_size=(16, 64)))


def test_timesteps_beyond_the_imagery_are_refused():
    with pytest.raises(ExperimentError, match=r"timesteps 24 .*12 months"):
        make(config(timesteps=(12, 24)))


def test_window_no_multiple_of_any_patch_is_refused():
    with pytest.raises(ExperimentError, match="window_size 6 is no multiple of patch_size 4"):
        make(config(patch_size=(4,), window_size=(4, 6)))


def test_modality_without_imagery_is_refused():
    with pytest.raises(ExperimentError, match="modality s1_s2 needs sentinel1"):
        make(config(), layers=("sentinel2_l2a",))


def test_error_names_the_axis():
    with pytest.raises(ExperimentError, match=r"at experiments\.timesteps"):
        make(config(timesteps=(24, 12)))


def test_overridden_size_excludes_instead():
    found = make(config(), size=1, overridden=True)
    assert {e.window_size for e in found.feasible} == {1}
    assert found.default.name == f"{NANO}-s1_s2-ps1-ws1-t12"


def test_nothing_feasible_is_refused_even_when_overridden():
    with pytest.raises(ExperimentError, match="No experiment of the grid can be"):
        make(config(patch_size=(4,)), size=1, overridden=True)


def test_presto_exists_at_patch_one_only():
    found = make(config(encoder=("presto",), patch_size=(1, 2)), overridden=True)
    assert {e.patch_size for e in found.feasible} == {1}


def test_default_of_the_file_is_taken():
    name = f"{NANO}-s2-ps2-ws8-t1"
    assert make(config(default=name)).default.name == name


def test_default_may_be_written_out():
    axes = {
        "encoder": NANO,
        "modality": "s2",
        "patch_size": 8,
        "window_size": 8,
        "timesteps": 12,
    }
    assert make(config(default=axes)).default.name == f"{NANO}-s2-ps8-ws8-t12"


def test_default_outside_the_grid_is_refused():
    with pytest.raises(ExperimentError, match="it is not in the grid"):
        make(config(default=f"{NANO}-s1-ps4-ws16-t12"))


def test_impossible_default_is_refused_with_its_reason():
    with pytest.raises(ExperimentError, match="patch_size 8 is larger than window_size 4"):
        make(config(default=f"{NANO}-s2-ps8-ws4-t12"))


def test_default_of_the_file_gives_way_when_overridden():
    found = make(config(default=f"{NANO}-s1_s2-ps4-ws16-t12"), size=8, overridden=True)
    assert found.default.name == f"{NANO}-s1_s2-ps4-ws8-t12"


def test_without_a_default_the_fullest_usual_experiment_is_taken():
    assert make(config()).default.name == f"{NANO}-s1_s2-ps4-ws16-t12"


def test_find_gives_the_reason_of_an_excluded_one():
    with pytest.raises(ExperimentError, match="cannot be: patch_size 8 is larger"):
        make(config()).find(f"{NANO}-s2-ps8-ws4-t12")


def test_find_refuses_a_stranger():
    with pytest.raises(ExperimentError, match="has no such experiment"):
        make(config()).find(f"{NANO}-s2-ps3-ws3-t12")


@pytest.mark.parametrize(
    ("axis", "values", "message"),
    [
        ("encoder", ("resnet",), "no encoder is named 'resnet'"),
        ("patch_size", (), "at least 1 item"),
        ("patch_size", (0,), "1 or more"),
        ("timesteps", (12, 12), "timesteps names a value twice"),
        ("modality", ("landsat",), "modality"),
    ],
)
def test_wrong_axis_is_refused(axis, values, message):
    with pytest.raises(ValidationError, match=message):
        config(**{axis: values})


def test_task_file_is_checked_without_torch():
    code = "import sys, geofm_assets.training.experiments; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
