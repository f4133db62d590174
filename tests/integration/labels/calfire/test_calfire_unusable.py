"""Fire years that give no sample: warned of one by one, refused if there is no other."""

import pytest
import shapely

from geofm_assets.core.errors import LabelFileError
from geofm_assets.core.outcome import require_checks
from geofm_assets.core.progress import listening, silent
from geofm_assets.core.store import Store
from geofm_assets.labels.calfire.fire_years import FireYearsStage
from geofm_assets.labels.calfire.stages import FirePointsStage, PerimetersStage
from geofm_assets.labels.config import LabelsConfig
from geofm_assets.labels.source import label_source
from geofm_assets.sampling.config import SamplingConfig, SplitConfig
from geofm_assets.sampling.stages import CandidatesStage, PlanStage
from geofm_assets.sampling.task import SamplingTask
from tests.frap_files import frap_row, square, write_frap


def fire(name, year, x, **given):
    dates = {"YEAR_": year, "ALARM_DATE": f"{year}-07-01", "CONT_DATE": f"{year}-07-20"}
    return frap_row(name, square(x, 0, 3000), simulated=True, **(dates | given))


def plan(tmp_path, rows):
    """Every stage up to the plan: warnings by partition, what was said, and the sample."""
    path = write_frap(tmp_path / "mine.gpkg", rows)
    calfire = {"perimeters": str(path), "first_year": 2019}
    classes = ["unburnt", "burnt"]
    config = LabelsConfig(source="calfire", rule="identity", classes=classes, calfire=calfire)
    source, store = label_source("burned_area", config), Store(tmp_path / "store")
    split = SplitConfig(min_units=3)
    task = SamplingTask("burned_area", source, config, SamplingConfig(), split, 330)
    warned, said = {}, []

    def keep(partition, outcome):
        require_checks(outcome, partition)  # what fails a partition's step
        for check in outcome.checks:
            if not check.passed:
                warned[partition] = check.description

    with listening(silent, said.append):
        FireYearsStage(source).make(store)
        for year in PerimetersStage(source).wanted(store):
            keep(year, PerimetersStage(source).make(store, year, False))
        for collection in PlanStage(task).collections(store):
            keep(collection, FirePointsStage(source).make(store, collection, False))
            keep("candidates", CandidatesStage(task).make(store, collection, False))
        PlanStage(task).make(store)
    return warned, said, store.read_table(PlanStage(task).sample_key)


def without_dates(rows):
    return [row | {"CONT_DATE": None} for row in rows]


def good(year, number=8):
    return [fire(f"F{year}{i}", year, 60_000 * i) for i in range(number)]


def test_a_year_without_a_dated_fire_does_not_stop_the_others(tmp_path):
    lost = without_dates([fire("A", 2019, 900_000), fire("B", 2019, 990_000)])
    warned, said, sample = plan(tmp_path, [*good(2020), *lost])
    assert warned == {
        "frap2019": "0 points, 2 fires in quarantine: 2 missing_contained_date",
    }
    assert said == ["frap2019: no fire that samples can be drawn from (2 missing_contained_date)"]
    assert set(sample["collection_id"].to_pylist()) == {"frap2020"}


def refused(tmp_path, rows):
    with pytest.raises(LabelFileError) as caught:
        plan(tmp_path, rows)
    return str(caught.value)


def test_no_usable_year_is_one_error_with_reasons_file_field_and_what_to_do(tmp_path):
    epoch = fire("C", 2020, 500_000, CONT_DATE="1970-01-01")
    text = refused(tmp_path, [*without_dates(good(2019, 3)), epoch])
    assert "can be drawn from: 3 missing_contained_date, 1 epoch_date" in text
    assert "mine.gpkg; column CONT_DATE" in text
    assert "labels.calfire.columns.contained_date=NAME" in text
    assert text.count("missing_contained_date") == 1


def test_a_file_of_points_asks_for_polygons(tmp_path):
    points = [r | {"geometry": shapely.Point(i * 9000, 0)} for i, r in enumerate(good(2019, 3))]
    text = refused(tmp_path, points)
    assert "3 unsupported_geometry" in text
    assert "mine.gpkg; geometry. Give a layer of polygons" in text
