"""Files of perimeters that are not what they seem: hostile archives, files that point away."""

import json
import zipfile

import pytest

from geofm_assets.core.errors import LabelFileError
from geofm_assets.labels.calfire.config import CalfireConfig
from geofm_assets.labels.calfire.containers import inside_zip
from geofm_assets.labels.calfire.read import open_sources, read_all
from tests.frap_files import frap_row, write_frap


def read(path):
    return read_all(open_sources(CalfireConfig(perimeters=str(path))))


def archive(path, **members):
    with zipfile.ZipFile(path, "w") as opened:
        for name, data in members.items():
            opened.writestr(name, data)
    return path


@pytest.mark.parametrize(
    "member",
    [
        "../fires.geojson",
        "a/../../fires.geojson",
        "/etc/fires.geojson",
        "..\\fires.geojson",
        "C:\\fires.geojson",
        "../../harmless.txt",
    ],
)
def test_an_archive_with_a_member_that_leads_out_is_refused(tmp_path, member):
    good = write_frap(tmp_path / "good.geojson", [frap_row()]).read_text()
    path = archive(tmp_path / "in.zip", **{"fires2.geojson": good, member: good})
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(LabelFileError, match="leads out of it"):
        read(path)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_archive_is_read_in_place(tmp_path):
    good = write_frap(tmp_path / "good.geojson", [frap_row()]).read_text()
    path = archive(tmp_path / "in.zip", **{"folder/fires.geojson": good})
    assert inside_zip(path) == f"/vsizip/{path}/folder/fires.geojson"
    assert read(path).num_rows == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["good.geojson", "in.zip"]


def elsewhere(tmp_path):
    """Texts that make GDAL open another file, or an address."""
    secret = write_frap(tmp_path / "private.geojson", [frap_row()])
    layer = f"<SrcDataSource>{secret}</SrcDataSource><SrcLayer>private</SrcLayer>"
    algorithm = {"type": "gdal_streamed_alg", "command_line": f"gdal vector read {secret}"}
    return {
        "virtual": f'  <OGRVRTDataSource><OGRVRTLayer name="x">{layer}</OGRVRTLayer>'
        "</OGRVRTDataSource>",
        "service": "<OGRWFSDataSource><URL>http://127.0.0.1:9/</URL></OGRWFSDataSource>",
        "algorithm": json.dumps(algorithm),
    }


@pytest.mark.parametrize("kind", ["virtual", "service", "algorithm"])
@pytest.mark.parametrize("name", ["fires.geojson", "fires.gpkg", "fires.shp"])
def test_a_file_that_points_elsewhere_is_refused(tmp_path, kind, name):
    path = tmp_path / name
    path.write_text(elsewhere(tmp_path)[kind])
    with pytest.raises(LabelFileError, match="points at another source"):
        read(path)


def test_a_member_that_points_elsewhere_is_refused(tmp_path):
    path = archive(tmp_path / "in.zip", **{"fires.geojson": elsewhere(tmp_path)["virtual"]})
    with pytest.raises(LabelFileError, match=r"points at another source.*fires\.geojson"):
        read(path)


def test_an_archive_with_a_password_is_one_clear_error(tmp_path):
    good = write_frap(tmp_path / "good.geojson", [frap_row()]).read_bytes()
    path = archive(tmp_path / "in.zip", **{"fires.geojson": good})
    data = bytearray(path.read_bytes())
    for mark in (b"PK\x03\x04", b"PK\x01\x02"):  # the flag of encryption, in both headers
        data[data.index(mark) + (6 if mark == b"PK\x03\x04" else 8)] |= 1
    path.write_bytes(bytes(data))
    with pytest.raises(LabelFileError, match="Not a zip archive that can be read"):
        read(path)
