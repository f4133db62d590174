import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from geofm_assets.core.errors import LabelFileError
from geofm_assets.core.hashing import table_digest
from geofm_assets.core.schema import validate
from geofm_assets.labels.config import ColumnMap
from geofm_assets.labels.csv.points import (
    csv_collection,
    distinct_labels,
    infer_columns,
    read_points,
)
from geofm_assets.labels.schema import COLLECTION, Collection, QuarantinedRow, ReferencePoint
from tests.servers.label_files import day, geoparquet

HEADER = "id,lon,lat,label,valid_time"
COLUMNS = ColumnMap(sample_id="id")


def write(folder, *rows, header=HEADER, name="my labels.csv"):
    path = folder / name
    path.write_text("\n".join([header, *rows]) + "\n", "utf-8")
    return path


def read(path, columns=COLUMNS):
    return read_points(path, columns, csv_collection(path))


def test_a_row_becomes_a_point(tmp_path):
    points = read(write(tmp_path, "a,10.5,47.5, wheat ,2021-06-01")).points

    assert validate(points, ReferencePoint).passed
    row = points.to_pylist()[0]
    assert (row["sample_id"], row["lon"], row["lat"]) == ("a", 10.5, 47.5)
    assert (row["label_raw"], row["valid_time"]) == ("wheat", day("2021-06-01"))
    assert (row["point_rule"], row["ewoc_code"], row["collection_id"]) == (
        "point",
        None,
        "mylabels",
    )


def test_columns_are_taken_as_mapped(tmp_path):
    path = write(tmp_path, "47,10,oak,2021-06-01", header="Y,X,Species,When")
    columns = ColumnMap(lon="X", lat="Y", label="Species", valid_time="When")

    assert read(path, columns).points["lon"].to_pylist() == [10]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("b,ten,47.5,wheat,2021-06-01", "bad_coordinates"),
        ("b,,47.5,wheat,2021-06-01", "bad_coordinates"),
        ("b,nan,47.5,wheat,2021-06-01", "bad_coordinates"),
        ("b,47.5,110,wheat,2021-06-01", "bad_coordinates"),
        ('b,"10,5",47.5,wheat,2021-06-01', "bad_coordinates"),
        ("b,10.5,47.5,  ,2021-06-01", "missing_label"),
        ("b,10.5,47.5,wheat,01/06/2021", "bad_date"),
        ("b,10.5,47.5,wheat,", "bad_date"),
        (",10.5,47.5,wheat,2021-06-01", "missing_sample_id"),
        ("a,10.6,47.5,wheat,2021-06-01", "duplicate_sample_id"),
        ("b,10.5,47.5,wheat", "malformed_row"),
        ("b,10.5,47.5,wheat,2021-06-01,more", "malformed_row"),
    ],
)
def test_a_bad_row_is_quarantined_and_no_other_is_lost(tmp_path, row, reason):
    path = write(tmp_path, "a,10.5,47.5,wheat,2021-06-01", row, "c,10.5,47.5,rye,2021-06-01")

    result = read(path)

    assert result.points["sample_id"].to_pylist() == ["a", "c"]
    assert result.points["source_row"].to_pylist() == [0, 2]
    assert result.quarantine.select(["source_row", "reason"]).to_pylist() == [
        {"source_row": 1, "reason": reason}
    ]
    assert validate(result.quarantine, QuarantinedRow).passed
    assert result.rows_read == 3


def test_without_an_id_column_a_row_said_twice_is_a_duplicate(tmp_path):
    rows = ["10.5,47.5,wheat,2021-06-01"] * 2 + ["10.5,47.5,rye,2021-06-01"]
    path = write(tmp_path, *rows, header="lon,lat,label,valid_time")

    result = read(path, ColumnMap())

    assert result.points.num_rows == 2
    assert result.reasons == {"duplicate_sample_id": 1}


def test_derived_ids_do_not_depend_on_the_order_of_the_file(tmp_path):
    rows = [f"{10 + i / 10},47.5,wheat,2021-06-01" for i in range(20)]
    header = "lon,lat,label,valid_time"
    forth = read(write(tmp_path, *rows, header=header), ColumnMap()).points
    back = read(write(tmp_path, *reversed(rows), header=header), ColumnMap()).points

    digests = {table_digest(t.drop_columns(["source_row"])) for t in (forth, back)}

    assert len(digests) == 1


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(tmp_path, delimiter):
    row = "a,10.5,47.5,wheat,2021-06-01".replace(",", delimiter)
    path = write(tmp_path, row, header=HEADER.replace(",", delimiter))

    assert read(path).points.num_rows == 1


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(HEADER + "\na,10.5,47.5,wheat,2021-06-01\n", "utf-8-sig")

    assert read(path).points.num_rows == 1


def test_quoted_fields_may_hold_delimiters_and_line_ends(tmp_path):
    path = write(tmp_path, 'a,10.5,47.5,"wheat, ""winter""\nsown",2021-06-01')

    assert read(path).points["label_raw"].to_pylist() == ['wheat, "winter"\nsown']


def test_a_header_alone_gives_no_points(tmp_path):
    path = write(tmp_path)

    assert read(path).rows_read == 0
    assert csv_collection(path)["feature_count"] == 0


def test_rows_of_many_blocks_keep_their_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr("geofm_assets.labels.csv.table._BLOCK_BYTES", 512)
    rows = [f"s{i:04d},10.5,47.5,wheat,2021-06-01" for i in range(300)]
    rows[7] = rows[250] = "short"

    result = read(write(tmp_path, *rows))

    expected = [i for i in range(300) if i not in (7, 250)]
    assert result.points["source_row"].to_pylist() == expected
    assert result.quarantine["source_row"].to_pylist() == [7, 250]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty"),
        (b"id,id,lon\n1,2,3\n", "column names repeat: id"),
        (b"\x00\x01\x02\x00,lon\n", "not text"),
        (b"\xff\xfe\x00bad\n", "not UTF-8"),
        (b"id,lon,lat,label\n1,2,3,wheat\n", "Missing column valid_time"),
        (b"id,lon,lat,label,valid_time\n1,2,3,bl\xe9,2021-06-01\n", "Not a readable label file"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_as_a_whole(tmp_path, content, words):
    path = tmp_path / "a.csv"
    path.write_bytes(content)

    with pytest.raises(LabelFileError, match=words):
        read(path)


def test_a_geoparquet_is_read_by_its_geometry(tmp_path):
    path = geoparquet(
        tmp_path / "fields.parquet",
        [shapely.box(10, 47, 11, 48), shapely.Point(10, 47)],
        crop=["wheat", " rye "],
    )
    columns = ColumnMap(label="crop", sample_id="sample_id")

    points = read(path, columns).points

    assert points["point_rule"].to_pylist() == ["centroid", "point"]
    assert points["label_raw"].to_pylist() == ["wheat", "rye"]
    assert points["quality_score_lc"].to_pylist() == [95, 95]


def test_a_parquet_without_geometry_is_read_by_lon_and_lat(tmp_path):
    path = tmp_path / "a.parquet"
    table = {"lon": [10.0], "lat": [47.0], "label": [3], "valid_time": [day("2021-06-01")]}
    pq.write_table(pa.table(table), path)

    points = read(path, ColumnMap()).points

    assert (points["lon"][0].as_py(), points["label_raw"][0].as_py()) == (10, "3")


def test_whole_numbers_that_became_floats_are_labels_without_a_fraction(tmp_path):
    path = tmp_path / "a.parquet"
    table = {
        "lon": [10.0, 11.0],
        "lat": [47.0, 47.0],
        "label": [3.0, None],
        "valid_time": ["2021-06-01"] * 2,
    }
    pq.write_table(pa.table(table), path)

    assert read(path, ColumnMap()).points["label_raw"].to_pylist() == ["3"]


def test_the_collection_says_what_is_known_of_the_file(tmp_path):
    row = csv_collection(write(tmp_path, "a,10.5,47.5,wheat,2021-06-01", "short"))

    assert (row["collection_id"], row["feature_count"]) == ("mylabels", 2)
    assert row["confidence_land_cover"] is row["west"] is None
    assert validate(pa.Table.from_pylist([row], schema=COLLECTION), Collection).passed


def test_the_collection_changes_with_the_content_only(tmp_path):
    first = write(tmp_path, "a,10.5,47.5,wheat,2021-06-01")
    again = csv_collection(first)["modified_at"]
    first.touch()
    assert csv_collection(first)["modified_at"] == again
    write(tmp_path, "a,10.5,47.5,rye,2021-06-01")

    assert csv_collection(first)["modified_at"] != again
    assert again.startswith("sha256:")


def test_a_name_in_another_script_still_gives_a_key(tmp_path):
    path = write(tmp_path, "a,10.5,47.5,wheat,2021-06-01", name="作物.csv")

    assert csv_collection(path)["collection_id"].startswith("file")


def test_a_simulated_column_is_believed(tmp_path):
    path = write(
        tmp_path,
        "a,10.5,47.5,wheat,2021-06-01,true",
        "b,10.5,47.5,wheat,2021-06-01,false",
        header=HEADER + ",simulated",
    )

    assert csv_collection(path)["simulated"] is True
    assert read(path).points["simulated"].to_pylist() == [True, False]


def test_columns_are_inferred_from_their_usual_names(tmp_path):
    path = write(tmp_path, header="UID,Longitude,Latitude,Crop_Type,Date")

    assert infer_columns(path) == ColumnMap(
        sample_id="UID", lon="Longitude", lat="Latitude", label="Crop_Type", valid_time="Date"
    )


def test_the_geometry_is_preferred_to_columns(tmp_path):
    path = geoparquet(tmp_path / "a.parquet", [shapely.Point(1, 2)], label=["a"], lon=[1], lat=[2])

    assert infer_columns(path).lon is None


def test_what_cannot_be_inferred_is_named(tmp_path):
    with pytest.raises(LabelFileError, match="No column looks like label, valid_time"):
        infer_columns(write(tmp_path, header="lon,lat,Species,Sown"))


def test_labels_are_listed_once_and_sorted(tmp_path):
    rows = [f"{i},1,2,{label},2021-06-01" for i, label in enumerate(["rye", " wheat", "rye", ""])]

    assert distinct_labels(write(tmp_path, *rows), COLUMNS) == ["rye", "wheat"]
