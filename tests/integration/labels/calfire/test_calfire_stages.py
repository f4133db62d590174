import dagster as dg
import geopandas as gpd
import pytest
import shapely
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG as END
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_START_TAG as START

from geofm_assets.core.errors import ConfigError, LabelFileError
from geofm_assets.core.hashing import sha256_file
from geofm_assets.core.resources import StoreResource
from geofm_assets.core.schema import validate
from geofm_assets.core.stage import MissingUpstreamError, is_current
from geofm_assets.core.store import Store
from geofm_assets.labels.calfire.assets import (
    LISTING_JOB,
    build_calfire_assets,
    listing_job,
    perimeters_sensor,
)
from geofm_assets.labels.calfire.fire_years import FireYearsStage
from geofm_assets.labels.calfire.sample_schema import Sample
from geofm_assets.labels.calfire.stages import FirePointsStage, PerimetersStage
from geofm_assets.labels.config import LabelsConfig, MinConfidence
from geofm_assets.labels.schema import Collection, ReferencePoint
from geofm_assets.labels.source import WORLDCEREAL, label_source
from geofm_assets.sampling.config import SamplingConfig, SplitConfig
from geofm_assets.sampling.stages import CandidatesStage, PlanStage
from geofm_assets.sampling.task import SamplingTask
from tests.frap_files import ALBERS, frap_row, square, write_frap
from tests.servers.feature_server import FeatureServer


def fire(name, year, x, **given):
    dates = {"YEAR_": year, "ALARM_DATE": f"{year}-07-01", "CONT_DATE": f"{year}-07-20"}
    return frap_row(name, square(x, 0, 3000), simulated=True, **(dates | given))


def rows():
    return [
        fire("OLD", 1999, 0),
        fire("A", 2019, 20_000),
        fire("B", 2020, 40_000),
        fire("C", 2020, 60_000, CONT_DATE=None),
    ]


def labels(location, **given):
    return LabelsConfig(
        source="calfire",
        rule="identity",
        classes=["unburnt", "burnt"],
        calfire={"perimeters": str(location), "first_year": 2019} | given,
    )


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def frap(tmp_path):
    return write_frap(tmp_path / "frap.gpkg", rows())


def source_of(location, **given):
    return label_source("burned_area", labels(location, **given))


def make_all(store, source):
    """Every stage for every partition; what was made anew."""
    stages = FireYearsStage(source), PerimetersStage(source), FirePointsStage(source)
    anew = [] if stages[0].make(store).skipped else ["collections"]
    for year in stages[1].wanted(store):
        outcome = stages[1].make(store, year, False)
        assert all(check.passed for check in outcome.checks)
        anew += [] if outcome.skipped else [year]
    for collection in collections(store, source):
        outcome = stages[2].make(store, collection, False)
        assert all(check.passed for check in outcome.checks)
        anew += [] if outcome.skipped else [collection]
    return anew


def collections(store, source):
    return source.accepted(store, MinConfidence())["collection_id"].to_pylist()


def test_years_points_are_drawn_from_are_collections(store, frap):
    source = source_of(frap)
    outcome = FireYearsStage(source).make(store)

    table = store.read_table(source.collections_key)
    assert validate(table, Collection).passed
    assert table["collection_id"].to_pylist() == ["frap2019", "frap2020"]
    assert table["feature_count"].to_pylist() == [1, 2]
    row = table.to_pylist()[0]
    assert (row["type"], row["confidence_land_cover"], row["simulated"]) == ("Polygon", None, True)
    assert -120.2 < row["west"] < row["east"] < -119.5
    assert outcome.metadata["fire_years"] == "fire years 1999 to 2020"


def test_older_years_are_perimeters_without_points(store, frap):
    source = source_of(frap)
    FireYearsStage(source).make(store)

    assert PerimetersStage(source).wanted(store) == ["1999", "2019", "2020"]


def test_years_before_the_oldest_are_left_out(store, frap):
    source = source_of(frap, oldest_year=2010)
    FireYearsStage(source).make(store)

    assert PerimetersStage(source).wanted(store) == ["2019", "2020"]


def test_no_fire_of_the_years_asked_for(store, frap):
    with pytest.raises(LabelFileError, match=r"No fire of 2022 to today among 4 rows .*1999"):
        FireYearsStage(source_of(frap, first_year=2022)).make(store)


def test_points_and_samples_of_a_year(store, frap):
    source = source_of(frap)
    make_all(store, source)
    stage = FirePointsStage(source)

    points = store.read_table(stage.key("frap2020"))
    samples = store.read_table(stage.samples_key("frap2020"))
    assert validate(points, ReferencePoint).passed
    assert validate(samples, Sample).passed
    assert sorted(points["sample_id"].to_pylist()) == samples["sample_id"].to_pylist()
    assert set(points["label_raw"].to_pylist()) == {"burnt", "unburnt"}
    assert set(samples["fire_id"].drop_null().to_pylist()) == {"2020_b0001"}
    assert store.read_table(stage.quarantine_key("frap2020"))["sample_id"].to_pylist() == [
        "2020_c0001"
    ]


def test_perimeters_open_as_geoparquet(store, frap):
    source = source_of(frap)
    make_all(store, source)

    frame = gpd.read_parquet(store.local_path(PerimetersStage(source).key("2020")))

    assert frame.crs.to_epsg() in (4326, None)
    assert frame.geometry.to_crs(ALBERS).area.tolist() == pytest.approx([9e6, 9e6], rel=1e-6)


def test_the_same_file_gives_the_same_bytes(tmp_path, frap):
    digests = []
    for name in ("one", "two"):
        store = Store(tmp_path / name)
        make_all(store, source_of(frap))
        keys = store.list_keys("reference")
        digests.append({key: sha256_file(store.local_path(key)) for key in keys})

    assert digests[0] == digests[1]
    assert len(digests[0]) > 10


def test_a_second_time_nothing_is_made(store, frap):
    source = source_of(frap)
    assert make_all(store, source) == [
        "collections",
        "1999",
        "2019",
        "2020",
        "frap2019",
        "frap2020",
    ]
    assert make_all(store, source) == []


def test_a_new_year_leaves_other_years_perimeters_alone(store, tmp_path, frap):
    source = source_of(frap)
    make_all(store, source)

    write_frap(tmp_path / "frap.gpkg", [*rows(), fire("D", 2021, 90_000)])
    anew = make_all(store, source)

    # points regard the fires of every year
    assert anew == ["collections", "2021", "frap2019", "frap2020", "frap2021"]


def test_rows_that_only_move_in_the_file_remake_no_samples(store, tmp_path, frap):
    source = source_of(frap)
    make_all(store, source)
    cause = fire("A", 2019, 20_000, CAUSE=3)

    # a row that is refused pushes all others down; one fire's cause is stated anew
    write_frap(
        tmp_path / "frap.gpkg",
        [frap_row("NOTHING", shapely.Polygon()), *rows()[:1], cause, *rows()[2:]],
    )
    anew = make_all(store, source)

    assert anew == ["collections", "1999", "2019", "2020"]


def test_points_ask_for_every_years_perimeters(store, frap):
    source = source_of(frap)
    FireYearsStage(source).make(store)
    PerimetersStage(source).make(store, "2020", False)

    with pytest.raises(MissingUpstreamError, match=r"perimeters/1999.parquet"):
        FirePointsStage(source).make(store, "frap2020", False)


def test_points_follow_the_settings_and_the_land_cover_file(store, tmp_path, frap):
    land_cover = tmp_path / "land_cover.tif"
    source = source_of(frap)
    make_all(store, source)
    assert is_current(store, FirePointsStage(source), "frap2020")

    other = source_of(frap, samples={"seed": 1})
    assert not is_current(store, FirePointsStage(other), "frap2020")
    absent = source_of(frap, samples={"far": {"land_cover": str(land_cover)}})
    with pytest.raises(LabelFileError, match=r"land_cover\.tif"):
        FirePointsStage(absent).inputs(store, "frap2020")


def test_a_year_that_is_gone_says_so(store, frap):
    source = source_of(frap)
    FireYearsStage(source).make(store)

    with pytest.raises(MissingUpstreamError, match="no rows of this fire year"):
        PerimetersStage(source).make(store, "1850", False)


def test_nothing_was_read_yet(store, frap):
    with pytest.raises(MissingUpstreamError, match="calfire/collections"):
        PerimetersStage(source_of(frap)).wanted(store)


def test_a_source_of_other_labels_has_no_perimeters(store):
    with pytest.raises(ConfigError, match="no fire perimeters"):
        FireYearsStage(WORLDCEREAL).make(store)


def test_an_old_year_that_comes_to_nothing_stops_nobody(store, tmp_path):
    bad = fire("LINE", 1950, 0)
    bad["geometry"] = bad["geometry"].exterior.interpolate(0).buffer(0.1)
    path = write_frap(tmp_path / "frap.gpkg", [*rows(), bad])
    source = source_of(path)

    make_all(store, source)

    assert store.rows(PerimetersStage(source).key("1950")) == 0


def test_a_layer_that_was_not_edited_is_not_read_again(store):
    served = [r | {"geometry": g} for r, g in zip(rows(), _degrees(rows()), strict=True)]
    with FeatureServer(served) as service:
        source = source_of(service.url, backoff_s=0)
        assert "collections" in make_all(store, source)
        read = len(service.pages())
        assert make_all(store, source) == []
        assert len(service.pages()) == read

        service.last_edit = None  # a layer that does not tell is read every time
        assert make_all(store, source) == ["collections"]
        assert len(service.pages()) > read


def _degrees(given):
    return gpd.GeoSeries([row["geometry"] for row in given], crs=ALBERS).to_crs(4326)


def test_candidates_and_plan_work_on_fires_unchanged(store, tmp_path):
    path = write_frap(
        tmp_path / "frap.gpkg", [fire(f"F{i}", 2019 + i % 2, 60_000 * i) for i in range(8)]
    )
    config = labels(path)
    source = label_source("burned_area", config)
    make_all(store, source)
    split = SplitConfig(min_units=3)
    task = SamplingTask("burned_area", source, config, SamplingConfig(), split, 330)
    candidates = CandidatesStage(task)
    for collection in collections(store, source):
        candidates.make(store, collection, False)

    PlanStage(task).make(store)

    sample = store.read_table(PlanStage(task).sample_key)
    assert set(sample["class_name"].to_pylist()) == {"burnt", "unburnt"}


def test_the_assets_materialize(tmp_path):
    path = write_frap(tmp_path / "frap.gpkg", [fire("A", 2020, 20_000), fire("OLD", 1999, 0)])
    source = source_of(path)
    assets = build_calfire_assets(source)
    resources = {"store": StoreResource(url=str(tmp_path / "store"))}
    with dg.DagsterInstance.ephemeral() as instance:

        def run(asset, **partition):
            result = dg.materialize(
                assets, selection=[asset], instance=instance, resources=resources, **partition
            )
            assert result.success

        run(assets[0])
        assert instance.get_dynamic_partitions("calfire_years") == ["1999", "2020"]
        assert instance.get_dynamic_partitions(source.partitions) == ["frap2020"]
        run(assets[1], tags={START: "1999", END: "2020"})
        run(assets[2], partition_key="frap2020")
        made = instance.get_materialized_partitions(assets[1].key)
    assert made == {"1999", "2020"}
    assert Store(tmp_path / "store").exists(source.points_key("frap2020"))


def test_the_sensor_sees_a_new_release(tmp_path, frap):
    source = source_of(frap)
    sensor = perimeters_sensor(source)
    store = StoreResource(url=str(tmp_path / "store"))

    def tick(cursor):
        context = dg.build_sensor_context(cursor=cursor, resources={"store": store})
        return sensor(context)

    first = tick(None)
    assert len(first.run_requests) == 1
    assert isinstance(tick(first.cursor), dg.SkipReason)
    FireYearsStage(source).make(store.open())
    assert isinstance(tick(None), dg.SkipReason)  # the store was made from this release

    write_frap(frap, [*rows(), fire("D", 2021, 90_000)])
    assert tick(first.cursor).run_requests[0].run_key != first.run_requests[0].run_key


def test_the_listing_job_resolves(frap):
    source = source_of(frap)
    definitions = dg.Definitions(
        assets=build_calfire_assets(source), jobs=[listing_job(source)], resources={"store": None}
    )

    assert definitions.resolve_job_def(LISTING_JOB)
