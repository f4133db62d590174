"""From label files through the store to a plan."""

import numpy as np
import pyarrow.compute as pc
import pytest

from geofm_assets.core.hashing import sha256_file
from geofm_assets.core.store import Store
from geofm_assets.labels.config import LabelsConfig
from geofm_assets.labels.rules import get_rule
from geofm_assets.labels.schema import QuarantinedRow
from geofm_assets.labels.worldcereal.collections import collections_table
from geofm_assets.labels.worldcereal.points import read_points
from geofm_assets.labels.worldcereal.rdm import MirrorRdm
from geofm_assets.sampling.candidates import candidates
from geofm_assets.sampling.config import SamplingConfig, SplitConfig
from geofm_assets.sampling.leakage import min_split_distances
from geofm_assets.sampling.plan import make_plan
from geofm_assets.sampling.quality import label_quality
from geofm_assets.sampling.schema import Candidate, Cell, SampledPoint

SAMPLING = SamplingConfig(per_cell=1000)
RULE = get_rule(LabelsConfig(source="worldcereal", rule="ai2_v1"))


@pytest.fixture(scope="module")
def corsica(real_dir, tmp_path_factory):
    """Reference points of the real sample, read from its mirror folder."""
    rdm = MirrorRdm(real_dir / "worldcereal_corsica_2022" / "collections")
    records = rdm.list_collections()
    collection = collections_table(records).to_pylist()[0]
    fetched = rdm.fetch(records[0], tmp_path_factory.mktemp("fetched"))
    return read_points(fetched.path, collection).points


def plan(points, **split):
    found = candidates(points, RULE, SAMPLING)
    return make_plan([found.table], SAMPLING, SplitConfig(**split), RULE.classes, 10.0)


def write(store, made, found):
    note = {"inputs": "", "code_version": "1", "simulated": False}
    store.write_table("sample.parquet", made.sample, SampledPoint, **note)
    store.write_table("cells.parquet", made.cells, Cell, **note)
    store.write_table("candidates.parquet", found.table, Candidate, **note)
    store.write_table("quarantine.parquet", found.quarantine, QuarantinedRow, **note)
    store.write_json("split.json", made.report)
    return [sha256_file(p) for p in sorted(store.local_path("cells.parquet").parent.iterdir())]


@pytest.mark.real
def test_the_real_sample_is_split_by_finer_blocks(corsica):
    report = plan(corsica).report
    assert sum(report["points_per_split"].values()) + report["buffered"] == 500
    assert report["resolution"] > 3
    assert "finer blocks of resolution" in report["note"]


@pytest.mark.real
def test_the_real_sample_has_both_classes_in_every_split(corsica):
    balance = plan(corsica).report["class_balance"]
    assert min(n for split in balance.values() for n in split.values()) > 0
    assert sum(split["Cropland"] for split in balance.values()) == pytest.approx(255, abs=5)


@pytest.mark.real
def test_the_real_splits_keep_a_kilometre_when_asked(corsica):
    made = plan(corsica, min_distance_m=1000)
    lon, lat = made.sample["lon"].to_numpy(), made.sample["lat"].to_numpy()
    found = min_split_distances(lon, lat, np.array(made.sample["split"].to_pylist()))
    assert min(found.values()) >= 1000


@pytest.mark.real
def test_real_labels_are_clustered(corsica):
    found = label_quality(plan(corsica).sample)
    assert found["label_imbalance"]["ratio"] < 1.2
    assert found["spatial_clustering"]["macro_f1"] > 0.5


@pytest.mark.real
def test_two_runs_write_the_same_bytes(corsica, tmp_path):
    digests = []
    for name in ("first", "second"):
        shuffled = corsica.take(np.random.default_rng(len(name)).permutation(corsica.num_rows))
        found = candidates(shuffled, RULE, SAMPLING)
        digests.append(write(Store(tmp_path / name), plan(shuffled), found))
    assert digests[0] == digests[1]


@pytest.mark.real
def test_the_written_sample_reads_back_equal(corsica, tmp_path):
    made = plan(corsica)
    store = Store(tmp_path)
    write(store, made, candidates(corsica, RULE, SAMPLING))
    assert store.read_table("sample.parquet").equals(made.sample)
    assert store.read_json("split.json")["note"] == made.report["note"]
    assert pc.sum(store.read_table("cells.parquet")["points"]).as_py() == 500
