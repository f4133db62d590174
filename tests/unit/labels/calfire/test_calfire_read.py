import shutil
import zipfile

import pandas as pd
import pyogrio
import pytest
import shapely

from geofm_assets.core.errors import LabelFileError
from geofm_assets.core.schema import validate
from geofm_assets.labels.calfire.changes import changes, cursor
from geofm_assets.labels.calfire.config import CalfireConfig
from geofm_assets.labels.calfire.read import open_sources, read_all
from geofm_assets.labels.calfire.schema import Record
from tests.frap_files import frap_frame, frap_row, square, write_frap

ROWS = [frap_row("CREEK"), frap_row("DOLAN", square(50_000), CONT_DATE=None, CAUSE=None)]
BURN = frap_row("BURN", START_DATE="2020-03-01", END_DATE="2020-03-09", TREATMENT_NAME="PILE")
BURN = {name: value for name, value in BURN.items() if name not in ("ALARM_DATE", "CONT_DATE")}


def read(path, **given):
    return read_all(open_sources(CalfireConfig(perimeters=str(path), **given)))


def geodatabase(folder):
    """A file geodatabase with fires and prescribed burns, as FRAP's."""
    path = write_frap(folder / "fire24_1.gdb", ROWS, "firep24_1")
    return write_frap(path, [BURN], "rxburn24_1")


@pytest.mark.parametrize("name", ["f.gpkg", "f.shp", "f.geojson", "f.gdb"])
def test_fires_are_read_from_files_of_any_kind(tmp_path, name):
    records = read(write_frap(tmp_path / name, ROWS))

    assert validate(records, Record).passed
    first, second = records.to_pylist()
    assert (first["fire_name"], first["year"], first["fire_year"]) == ("CREEK", "2020", 2020)
    assert first["contained_date"][:10] == "2020-12-24"
    assert (second["contained_date"], second["cause"]) == (None, None)
    assert (first["source_row"], second["source_row"]) == (0, 1)


@pytest.mark.parametrize("name", ["f.gpkg", "f.shp", "f.geojson", "f.gdb"])
def test_coordinates_are_degrees_longitude_first(tmp_path, name):
    record = read(write_frap(tmp_path / name, ROWS)).to_pylist()[0]

    west, south, east, north = shapely.from_wkb(record["geometry"]).bounds
    # x = 0, y = 0 of EPSG:3310 is 120 W, 38 N, within metres
    assert (west, south) == pytest.approx((-120, 38), abs=0.05)
    assert west < east < west + 0.05
    assert south < north < south + 0.05


def test_the_layer_with_fires_is_found_in_a_geodatabase(tmp_path):
    assert read(geodatabase(tmp_path))["source_layer"].to_pylist() == ["firep24_1"] * 2


def test_prescribed_burns_come_from_another_layer(tmp_path):
    records = read(geodatabase(tmp_path), prescribed_layer="rxburn24_1")

    assert records["prescribed"].to_pylist() == [False, False, True]
    burn = records.to_pylist()[2]
    assert (burn["fire_name"], burn["contained_date"][:10]) == ("PILE", "2020-03-09")


def test_prescribed_burns_come_from_another_file(tmp_path):
    fires, burns = (
        write_frap(tmp_path / name, rows)
        for name, rows in (("fires.gpkg", ROWS), ("burns.gpkg", [BURN]))
    )

    assert read(fires, prescribed=str(burns)).num_rows == 3


@pytest.mark.parametrize("inside", ["fire24_1.gdb", "folder/fire24_1.gdb"])
def test_a_zipped_geodatabase_is_read(tmp_path, inside):
    folder = geodatabase(tmp_path)
    path = tmp_path / "fire241gdb.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.iterdir():
            archive.write(file, f"{inside}/{file.name}")

    assert read(path)["fire_name"].to_pylist() == ["CREEK", "DOLAN"]


def test_an_archive_of_two_files_is_refused(tmp_path):
    path = tmp_path / "both.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.geojson", "{}")
        archive.writestr("b.geojson", "{}")

    with pytest.raises(LabelFileError, match=r"2 files of perimeters \(a.geojson, b.geojson\)"):
        read(path)


def test_a_layer_that_is_not_there_is_named(tmp_path):
    with pytest.raises(LabelFileError, match=r"no layer firep99.*firep24_1, rxburn24_1"):
        read(geodatabase(tmp_path), layer="firep99")


def test_two_layers_of_fires_need_a_choice(tmp_path):
    path = write_frap(tmp_path / "f.gpkg", ROWS, "one")
    write_frap(path, ROWS, "two")

    with pytest.raises(LabelFileError, match=r"2 layers have .* one, two"):
        read(path)
    assert read(path, layer="two").num_rows == 2


def test_no_layer_of_fires(tmp_path):
    path = write_frap(tmp_path / "f.gpkg", [BURN], "one")
    write_frap(path, [BURN], "two")

    with pytest.raises(LabelFileError, match="No layer has polygons and the columns"):
        read(path)


@pytest.mark.parametrize("missing", ["YEAR_", "ALARM_DATE", "CONT_DATE"])
def test_a_file_without_years_or_dates_is_refused(tmp_path, missing):
    path = write_frap(tmp_path / "f.gpkg", [{k: v for k, v in ROWS[0].items() if k != missing}])

    with pytest.raises(LabelFileError, match=rf"no column {missing} .*labels.calfire.columns"):
        read(path)


def test_a_file_without_a_crs_is_refused(tmp_path):
    with pytest.warns(UserWarning, match="'crs' was not provided"):
        frap_frame(ROWS, crs=None).to_file(tmp_path / "f.gpkg", engine="pyogrio")

    with pytest.raises(LabelFileError, match="no coordinate reference system"):
        read(tmp_path / "f.gpkg")


def test_a_table_without_geometry_is_refused(tmp_path):
    frame = pd.DataFrame(frap_frame(ROWS).drop(columns="geometry"))
    pyogrio.write_dataframe(frame, tmp_path / "f.gpkg")

    with pytest.raises(LabelFileError, match="no geometry"):
        read(tmp_path / "f.gpkg")


@pytest.mark.parametrize("name", ["f.gpkg", "f.zip", "f.geojson"])
def test_a_file_that_is_none_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"not a data set")

    with pytest.raises(LabelFileError, match=name):
        read(tmp_path / name)


def test_a_layer_without_rows_is_refused(tmp_path):
    pyogrio.write_dataframe(frap_frame(ROWS).iloc[:0], tmp_path / "f.gpkg")

    with pytest.raises(LabelFileError, match="no rows"):
        read(tmp_path / "f.gpkg")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(LabelFileError, match=r"does not exist at .*none.gpkg.*labels.calfire"):
        read(tmp_path / "none.gpkg")


def test_other_columns_can_be_named(tmp_path):
    row = {"jahr": 2020, "beginn": "2020-07-01", "ende": "2020-07-09", "geometry": square()}
    frame = frap_frame([row], dates=False)
    frame.to_file(tmp_path / "f.gpkg", engine="pyogrio")
    columns = {"year": "Jahr", "alarm_date": "beginn", "contained_date": "ende"}

    record = read(tmp_path / "f.gpkg", columns=columns).to_pylist()[0]

    assert (record["fire_year"], record["contained_date"]) == (2020, "2020-07-09")


def test_a_named_column_must_be_there(tmp_path):
    path = write_frap(tmp_path / "f.gpkg", ROWS)

    with pytest.raises(LabelFileError, match=r"no column HECTARES \(acres\)"):
        read(path, columns={"acres": "HECTARES"})


def test_the_old_name_of_a_complex_is_known(tmp_path):
    old = {k: v for k, v in frap_row().items() if k not in ("COMPLEX_ID", "COMPLEX_NAME")}
    path = write_frap(tmp_path / "f.gpkg", [old | {"COMPLEX_INCNUM": "00012345"}])

    assert read(path)["complex_id"].to_pylist() == ["00012345"]


def test_a_year_may_be_text(tmp_path):
    path = write_frap(tmp_path / "f.gpkg", [frap_row(YEAR_="2020"), frap_row(YEAR_="unknown")])

    # the second from its dates
    assert read(path)["fire_year"].to_pylist() == [2020, 2020]


def test_simulated_fires_say_so(tmp_path):
    rows = [frap_row(simulated=True), frap_row("REAL", square(9000), simulated=False)]

    records = read(write_frap(tmp_path / "f.gpkg", rows))

    assert records["simulated"].to_pylist() == [True, False]


def test_the_state_of_a_file_is_its_content_wherever_it_lies(tmp_path):
    path = geodatabase(tmp_path)
    before = cursor(open_sources(CalfireConfig(perimeters=str(path))))
    moved = shutil.copytree(path, tmp_path / "other" / path.name)
    assert changes(before, cursor(open_sources(CalfireConfig(perimeters=str(moved))))) == []

    write_frap(path, ROWS[:1], "firep25_1")
    after = cursor(open_sources(CalfireConfig(perimeters=str(path))))
    assert [change.split()[1] for change in changes(before, after)] == ["sha256"]
