import hashlib
import json

import pytest

from geofm_assets.core.errors import SourceUnavailableError
from geofm_assets.labels.worldcereal.rdm import MirrorRdm, open_rdm
from tests.servers.label_files import mirror, record

ID = "2021_tst_a_point_110"


@pytest.fixture
def folder(tmp_path):
    return mirror(tmp_path / "mirror", ID, "2022_tst_b_point_110")


def point_to(folder, value):
    items = [{"id": 1, "name": "GeoParquetDownloadUrl", "type": "link", "value": value}]
    (folder / ID / "metadata_items.json").write_text(json.dumps(items))


def test_a_folder_opens_as_a_mirror(folder):
    assert isinstance(open_rdm(str(folder)), MirrorRdm)


def test_the_listing_is_read(folder):
    assert MirrorRdm(folder).list_collections()[0]["collectionId"] == ID


def test_the_file_is_copied_with_its_hash(folder, tmp_path):
    source = folder / ID / f"{ID}.geoparquet"

    fetched = MirrorRdm(folder).fetch(record(ID), tmp_path / "out")

    assert fetched.path == tmp_path / "out" / "2021tstapoint110.parquet"
    assert fetched.path.read_bytes() == source.read_bytes()
    assert fetched.sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
    assert [p.name for p in (tmp_path / "out").iterdir()] == [fetched.path.name]


def test_a_folder_is_found_under_any_spelling_of_its_id(folder, tmp_path):
    (folder / ID).rename(folder / "2021-TST-A-POINT-110")
    point_to_other = folder / "2021-TST-A-POINT-110" / "metadata_items.json"
    value = f"2021-TST-A-POINT-110/{ID}.geoparquet"
    point_to_other.write_text(json.dumps([{"name": "GeoParquetDownloadUrl", "value": value}]))

    assert MirrorRdm(folder).fetch(record(ID), tmp_path).size > 0


def test_an_original_url_is_looked_for_by_its_file_name(folder, tmp_path):
    point_to(folder, f"https://ewocstorage.blob.core.windows.net/public/x/{ID}.geoparquet")

    assert MirrorRdm(folder).fetch(record(ID), tmp_path).size > 0


@pytest.mark.parametrize(
    "value",
    ["../outside.geoparquet", "/etc/passwd", "2021_tst_a_point_110/../../outside.geoparquet"],
)
def test_a_path_out_of_the_mirror_is_refused(folder, tmp_path, value):
    (tmp_path / "outside.geoparquet").write_bytes(b"PAR1secretPAR1")
    point_to(folder, value)

    with pytest.raises(SourceUnavailableError, match="leads out of the mirror"):
        MirrorRdm(folder).fetch(record(ID), tmp_path / "out")


def test_a_link_out_of_the_mirror_is_refused(folder, tmp_path):
    (tmp_path / "outside.geoparquet").write_bytes(b"PAR1secretPAR1")
    (folder / ID / "link.geoparquet").symlink_to(tmp_path / "outside.geoparquet")
    point_to(folder, f"{ID}/link.geoparquet")

    with pytest.raises(SourceUnavailableError, match="leads out of the mirror"):
        MirrorRdm(folder).fetch(record(ID), tmp_path / "out")


def test_a_file_that_is_not_there_is_named(folder, tmp_path):
    point_to(folder, f"{ID}/other.geoparquet")

    with pytest.raises(SourceUnavailableError, match=r"not in the mirror at .*other\.geoparquet"):
        MirrorRdm(folder).fetch(record(ID), tmp_path / "out")


def test_a_collection_that_is_not_mirrored_is_named(folder, tmp_path):
    with pytest.raises(SourceUnavailableError, match="no folder for collection 2030x"):
        MirrorRdm(folder).fetch(record("2030_x"), tmp_path / "out")


def test_a_folder_without_a_listing_says_what_it_should_hold(tmp_path):
    with pytest.raises(SourceUnavailableError, match=r"lacks a file at .*collections\.json"):
        MirrorRdm(tmp_path).list_collections()


@pytest.mark.parametrize("text", ["", "not json", "3", '{"totalCount": 1}', '{"items": [1]}'])
def test_a_listing_that_is_none_is_refused(folder, text):
    (folder / "collections.json").write_text(text)

    with pytest.raises(SourceUnavailableError, match=r"not JSON|not a listing"):
        MirrorRdm(folder).list_collections()


@pytest.mark.parametrize("text", ["{}", "[1]", '[{"name": "SampleDownloadUrl", "value": "x"}]'])
def test_metadata_without_the_full_file_is_refused(folder, tmp_path, text):
    (folder / ID / "metadata_items.json").write_text(text)

    with pytest.raises(SourceUnavailableError, match="metadata"):
        MirrorRdm(folder).fetch(record(ID), tmp_path / "out")
