"""The leaderboard: one page without a network, and what produced each number."""

import re
from html.parser import HTMLParser

import pyarrow as pa
import pytest

from geofm_assets.core.store import Store
from geofm_assets.evaluation.registry.registry import Registry
from geofm_assets.evaluation.sweeps.leaderboard import (
    PAGE_KEY,
    SCORES_VERSION,
    TABLE_KEY,
    leaderboard,
    leaderboard_inputs,
    score_key,
)
from geofm_assets.evaluation.sweeps.schema import PROBE_SCORE, ProbeScore
from tests.sweep_world import make_entry


def score(model="presto", seed=1, dataset=None, **fields):
    """A val and a test row of one chosen setting."""
    entry = dataset or make_entry()
    row = {
        "model": model,
        "model_id": f"{seed:064x}",
        "start": "random initialisation, seed 1",
        "dataset": entry.name,
        "dataset_id": entry.dataset_id,
        "sweep": "full",
        "probe": "linear",
        "normalization": "pretrained",
        "pooling": "mean",
        "patch_size": 4,
        "precision": "float",
        "subset": 100.0,
        "seed": 0,
        "epochs": 50,
        "batch_size": 128,
        "eval_every": 5,
        "resamples": 1000,
        "default_patch": True,
        "test_samples": 12,
        "seen_in_training": None,
        "cosine_mean": None,
        "cosine_min": None,
        "rate": 0.01,
        "best_epoch": 20,
        "metric": entry.metric,
        "value": 0.8,
        "low": 0.7,
        "high": 0.9,
        "n": 12,
        "chosen": True,
        "main": True,
        "embeddings": f"evaluation/embeddings/{seed:064x}/x/pretrained-ps4.safetensors",
        "inputs": "c" * 64,
        "simulated": True,
        **fields,
    }
    if row["probe"] == "knn":
        row |= {"rate": None, "best_epoch": None}
    return [{**row, "split": "val", "value": row["value"] - 0.1, "low": None, "high": None},
            {**row, "split": "test"}]  # fmt: skip


def write(store, rows):
    first = rows[0]
    store.write_table(
        score_key(first["model_id"], first["dataset_id"]),
        pa.Table.from_pylist(rows, schema=PROBE_SCORE),
        ProbeScore,
        inputs="i",
        code_version=SCORES_VERSION,
        simulated=True,
    )


@pytest.fixture
def store(tmp_path):
    opened = Store(tmp_path)
    registry = Registry(opened)
    registry.put(make_entry(), overwrite=False)
    registry.put(make_entry("window_regression", name="height"), overwrite=False)
    return opened


def page(store):
    leaderboard(store)
    return store.read_bytes(PAGE_KEY).decode()


class Wellformed(HTMLParser):
    """Fails on a tag that is closed before it was opened, or never."""

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "br", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_an_empty_store_gives_a_page_that_says_so(tmp_path):
    text = page(Store(tmp_path))
    assert "Nothing has been scored yet" in text
    assert "0 models, 0 tasks" in text


def test_the_page_is_well_formed_and_needs_no_network(store):
    write(store, score())
    text = page(store)
    parser = Wellformed()
    parser.feed(text)
    assert parser.open == []
    assert not re.findall(r"https?:|//|src=|@import|url\(", text)


def test_every_number_has_its_interval_setting_ids_and_files(store):
    write(store, score(probe="knn") + score())
    text = page(store)
    assert "0.800" in text
    assert "0.700 to 0.900" in text
    assert "pretrained, mean, patch 4, rate 0.01, epoch 20" in text
    assert f"{1:064x}"[:12] in text
    assert make_entry().dataset_id in text
    files = re.findall(r'href="([^#"]+)"', text)
    assert f"probes/{1:064x}/{make_entry().dataset_id}/scores.parquet" in files
    assert store.exists("evaluation/" + files[1])


def test_simulated_numbers_say_so(store):
    write(store, score())
    assert "SIMULATED" in page(store)
    write(store, score(simulated=False))
    assert "SIMULATED" not in page(store)


def best_of(text):
    return re.findall(r'class="score best" data-value="([^"]+)"', text)


def test_the_best_of_an_error_is_the_smallest(store):
    error = make_entry("window_regression", name="height")
    for seed, value in ((1, 2.0), (2, 5.0)):
        write(store, score(seed=seed, dataset=error, value=value, low=value, high=value))
    assert best_of(page(store)) == ["2.0"]


def test_the_best_of_an_accuracy_is_the_largest(store):
    for seed, value in ((1, 0.5), (2, 0.8)):
        write(store, score(seed=seed, value=value))
    assert best_of(page(store)) == ["0.8"]


def test_the_best_model_stands_first(store):
    for seed, name, value in ((1, "a", 0.5), (2, "b", 0.9), (3, "c", 0.7)):
        write(store, score(model=name, seed=seed, value=value, high=1.0, low=0.1))
    first_table = page(store).split("<tbody>")[1]
    assert re.findall(r'<tr><td class="model" data-value="(\w)"', first_table)[:3] == [
        "b",
        "c",
        "a",
    ]


def test_names_cannot_inject_markup(store):
    write(store, score(model='x@path:/a"><script>alert(1)</script>'))
    text = page(store)
    assert "<script>alert" not in text
    assert text.count("<script>") == 1


def test_the_widest_sweep_counts(store):
    rows = score(sweep="defaults", value=0.99, high=1.0) + score(sweep="full", value=0.8)
    write(store, rows)
    leaderboard(store)
    table = store.read_table(TABLE_KEY)
    assert table["sweep"].to_pylist() == ["full"]
    assert table["value"].to_pylist() == [0.8]
    assert table["val"].to_pylist() == pytest.approx([0.7])


def test_scores_of_datasets_that_changed_are_left_out_and_counted(store):
    write(store, score())
    write(store, score(dataset=make_entry(content="b" * 64)))
    text = page(store)
    assert store.read_table(TABLE_KEY).num_rows == 1
    assert "1 earlier result not shown" in text


def test_the_same_scores_give_the_same_bytes(store):
    write(store, score(seed=1))
    write(store, score(seed=2))
    assert page(store) == page(store)
    first = store.read_bytes(TABLE_KEY)
    leaderboard(store)
    assert store.read_bytes(TABLE_KEY) == first


def test_it_is_current_until_a_score_is_added(store):
    write(store, score(seed=1))
    assert leaderboard(store).provenance.inputs == leaderboard_inputs(store)
    write(store, score(seed=2))
    assert store.provenance(TABLE_KEY).inputs != leaderboard_inputs(store)


def test_a_test_score_of_a_setting_that_was_not_chosen_breaks_the_schema(store):
    from geofm_assets.core.errors import SchemaError

    with pytest.raises(SchemaError, match="test is scored for the chosen setting alone"):
        write(store, score(chosen=False))


def test_two_chosen_settings_of_one_probe_break_the_schema(store):
    from geofm_assets.core.errors import SchemaError

    with pytest.raises(SchemaError, match="one chosen setting"):
        write(store, score() + score(rate=0.1))


def test_rows_of_other_seeds_patches_and_training_stay_apart_and_default_settings_stand_first(
    store,
):
    kinds = [
        {"seed": 7},
        {"epochs": 20},
        {"patch_size": 8, "default_patch": False},
        {"sweep": "defaults", "seed": 3},
        {},
    ]
    write(store, [{**row, **kind} for kind in kinds for row in score()])
    leaderboard(store)
    table = store.read_table(TABLE_KEY)
    names = ("first", "seed", "epochs", "patch_size", "sweep")
    assert [tuple(row[name] for name in names) for row in table.to_pylist()] == [
        (True, 0, 50, 4, "full"),
        (False, 7, 50, 4, "full"),
        (False, 0, 20, 4, "full"),
        (False, 0, 50, 8, "full"),
        (False, 3, 50, 4, "defaults"),
    ]
    text = store.read_bytes(PAGE_KEY).decode()
    assert text.count('class="score ') == 1
    shown, folded = text.split("<details>")
    assert "4 numbers of other seeds, patch sizes or training" in folded
    assert "seed 0, 50 epochs, validated every 5, batches of 128, 1,000 resamples" in shown
    assert "seed 7" in folded
    assert "seed 7" not in shown


def test_what_int8_costs_stands_beside_the_score(store):
    write(store, score(precision="int8", cosine_mean=0.9998, cosine_min=0.9971))
    assert "int8 (cosine to float mean 0.9998, least 0.9971)" in page(store)


def test_scores_an_earlier_version_wrote_are_left_out_and_counted(store, monkeypatch):
    write(store, score())
    monkeypatch.setattr("geofm_assets.evaluation.sweeps.leaderboard.SCORES_VERSION", "3")
    assert "1 earlier result not shown" in page(store)
    assert store.read_table(TABLE_KEY).num_rows == 0
