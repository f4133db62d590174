"""Sweeps through a store's own Dagster instance: what the command line leaves for the grid."""

import dagster as dg
import pytest

from geofm_assets.core.errors import ConfigError, RegistryError, WeightsError
from geofm_assets.core.settings import load_settings
from geofm_assets.core.store import Store
from geofm_assets.evaluation.sweeps.leaderboard import PAGE_KEY, TABLE_KEY
from geofm_assets.evaluation.sweeps.partitions import Cell
from geofm_assets.evaluation.sweeps.run import SweepError, run_sweep
from geofm_assets.evaluation.sweeps.settings import SweepSettings
from geofm_assets.platform.evaluations import (
    EMBEDDINGS,
    LEADERBOARD,
    SCORES,
    Evaluations,
)
from geofm_assets.platform.materialize import UnexpectedError
from tests.sweep_world import MemorySamples, ToyModel, make_entry, store_dataset

NANO = "olmoearth_v1_2_nano"
DEFAULTS = SweepSettings(sweep="defaults")
CHECKS = {
    (EMBEDDINGS, "encodings_once"),
    (EMBEDDINGS, "weights"),
    (SCORES, "schema"),
    (SCORES, "seen_in_training"),
}


def make_store(folder, *names):
    store = Store(folder)
    for name in names:
        store_dataset(store, MemorySamples(count=30), make_entry(count=30, name=name))
    return store


class Opener:
    """Opens toy models, and counts how often; `broken` ones it cannot."""

    def __init__(self, broken=(), fails_at=None):
        self.opened, self.broken, self.fails_at = [], set(broken), fails_at

    def __call__(self, store, name, hub):
        self.opened.append(name)
        if name in self.broken:
            raise WeightsError(f"No weights of {name}", fix="Give a folder")
        seed = sum(map(ord, name)) % 100
        return ToyModel(seed=seed, name=name, fails_at=self.fails_at)


def evaluations(store, opener=None, report=lambda *_: None):
    return Evaluations(load_settings(store.url, {}), report, opener or Opener())


def records(instance, key, partition=None):
    wanted = dg.AssetRecordsFilter(
        asset_key=key, asset_partitions=None if partition is None else [partition]
    )
    found = instance.fetch_materializations(wanted, limit=100).records
    return [record.asset_materialization for record in found]


def checks(instance, key, name, partition):
    history = instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(key, name), limit=100
    )
    return [r.status.value for r in history if r.partition == partition]


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Two models on two datasets, swept once. Tests only read it, or sweep it unchanged."""
    store = make_store(tmp_path_factory.mktemp("swept") / "store", "toy", "other")
    opener, lines = Opener(), []
    driver = evaluations(store, opener, lambda *line: lines.append(line))
    result = driver.sweep([NANO, "presto"], ["toy", "other"], DEFAULTS)
    return store, driver, result, opener, lines


def test_every_cell_is_materialized_with_metadata_version_and_passing_checks(swept):
    _, driver, result, _, _ = swept
    assert len(result.cells) == 4
    for cell in result.cells:
        partition = cell.cell.partition
        (embeddings,) = records(driver.instance, EMBEDDINGS, partition)
        (scores,) = records(driver.instance, SCORES, partition)
        assert embeddings.metadata["samples_encoded_now"].value == cell.encoded == 30
        assert "accuracy" in scores.metadata["scores"].value
        for record in (embeddings, scores):
            assert len(record.tags["dagster/data_version"]) == 64
            assert record.tags["geofm/inputs"]
        for key, name in CHECKS:
            assert checks(driver.instance, key, name, partition) == ["SUCCEEDED"]


def test_models_and_datasets_are_partitions_and_the_leaderboard_is_recorded(swept):
    store, driver, result, _, _ = swept
    assert driver.instance.get_dynamic_partitions("eval_models") == [NANO, "presto"]
    assert driver.instance.get_dynamic_partitions("eval_datasets") == ["toy", "other"]
    (record,) = records(driver.instance, LEADERBOARD)
    assert "presto" in record.metadata["leaderboard"].value
    assert result.leaderboard == f"{store.url}/{PAGE_KEY}"
    assert store.exists(PAGE_KEY)


def test_the_result_is_the_plain_functions(swept, tmp_path):
    _, _, result, _, _ = swept
    plain = make_store(tmp_path, "toy", "other")
    opener = Opener()
    models, tasks = [NANO, "presto"], ["toy", "other"]
    expected = run_sweep(
        plain, models, tasks, settings=DEFAULTS, build=lambda name: opener(plain, name, None)
    )
    assert result.test == expected.test
    assert result.encoded == expected.encoded
    assert [c.cell for c in result.cells] == [c.cell for c in expected.cells]


def test_a_model_is_opened_once_for_all_its_cells(swept):
    assert swept[3].opened == [NANO, "presto"]


def test_progress_says_of_which_cell_it_is(swept):
    assert (30, 30, f"{NANO} on toy: pretrained ps4") in swept[4]


def test_an_unchanged_sweep_starts_no_run_and_gives_the_same(swept):
    store, driver, result, _, _ = swept
    before = driver.instance.get_runs_count()
    again = evaluations(store).sweep([NANO, "presto"], ["toy", "other"], DEFAULTS)
    assert again.test == result.test
    assert (again.encoded, again.leaderboard) == (0, result.leaderboard)
    assert all(cell.skipped for cell in again.cells)
    assert driver.instance.get_runs_count() == before


def test_another_setting_is_recorded_without_encoding_again(tmp_path):
    store = make_store(tmp_path, "toy")
    driver = evaluations(store)
    driver.sweep([NANO], ["toy"], DEFAULTS)
    result = driver.sweep([NANO], ["toy"], DEFAULTS.model_copy(update={"seed": 3}))
    assert result.encoded == 0
    assert not result.cells[0].skipped
    assert len(records(driver.instance, SCORES, Cell(NANO, "toy").partition)) == 2
    assert driver.sweep([NANO], ["toy"], DEFAULTS, force=True).encoded == 30


def test_a_model_that_fails_stops_no_other_and_shows_in_the_grid(tmp_path):
    store = make_store(tmp_path, "toy")
    opener = Opener(broken=["presto", "galileo_nano"])
    driver = evaluations(store, opener)
    names, tasks = ["presto", "galileo_nano", NANO], ["toy"]
    with pytest.raises(SweepError) as caught:
        driver.sweep(names, tasks, DEFAULTS)
    with pytest.raises(SweepError) as plain:
        run_sweep(
            make_store(tmp_path / "plain", *tasks), names, tasks, settings=DEFAULTS,
            build=lambda name: opener(store, name, None),
        )  # fmt: skip
    assert str(caught.value) == str(plain.value)
    assert opener.opened[:3] == ["presto", "galileo_nano", NANO]
    assert set(store.read_table(TABLE_KEY)["model"].to_pylist()) == {NANO}
    failed = driver.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))
    assert len(failed) == 2


def test_a_cell_that_failed_is_recorded_once_it_is_mended(tmp_path):
    store = make_store(tmp_path, "toy")
    driver = evaluations(store)
    broken = evaluations(store, Opener(broken=[NANO]))
    with pytest.raises(WeightsError) as caught:
        broken.sweep([NANO], ["toy"], DEFAULTS)
    assert str(caught.value) == f"No weights of {NANO}. Give a folder."
    assert not store.exists(PAGE_KEY)
    assert driver.sweep([NANO], ["toy"], DEFAULTS).encoded == 30
    with pytest.raises(WeightsError):
        broken.sweep([NANO], ["toy"], DEFAULTS, force=True)
    result = driver.sweep([NANO], ["toy"], DEFAULTS)
    assert (result.encoded, result.cells[0].skipped) == (0, False)
    assert driver.sweep([NANO], ["toy"], DEFAULTS).cells[0].skipped


def test_what_nobody_foresaw_is_one_line_too_and_stops_no_other(tmp_path):
    store = make_store(tmp_path, "toy")

    class Broken(ToyModel):
        def embed(self, samples, *more):
            raise RuntimeError("out of memory")

    def opening(store, name, hub):
        return Broken(name=name) if name == "presto" else ToyModel(name=name)

    result = evaluations(store, opening).attempt(["presto", NANO], ["toy"], DEFAULTS)
    assert [cell.cell.model for cell in result.cells] == [NANO]
    (failure,) = result.failures.values()
    assert isinstance(failure, UnexpectedError)
    assert str(failure).startswith("RuntimeError: out of memory at toy|presto. The log of")
    with pytest.raises(SweepError, match="presto on toy: RuntimeError: out of memory"):
        result.require_all_done(2)
    assert store.read_table(TABLE_KEY)["model"].unique().to_pylist() == [NANO]


@pytest.mark.parametrize(
    ("models", "tasks", "settings", "error"),
    [
        (["nano"], ["toy"], DEFAULTS, ConfigError),
        ([NANO], ["nothing"], DEFAULTS, RegistryError),
        ([NANO], ["toy"], DEFAULTS.model_copy(update={"epochs": 3}), ConfigError),
    ],
)
def test_what_cannot_be_leaves_no_trace(swept, models, tasks, settings, error):
    _, driver, _, _, _ = swept
    before = driver.instance.get_runs_count(), driver.instance.get_dynamic_partitions("eval_models")
    with pytest.raises(error):
        driver.sweep(models, tasks, settings)
    after = driver.instance.get_runs_count(), driver.instance.get_dynamic_partitions("eval_models")
    assert after == before
