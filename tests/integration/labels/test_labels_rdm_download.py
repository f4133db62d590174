"""Label files of the RDM by HTTP, from a real server that misbehaves."""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from geofm_assets.core.errors import DownloadError, SourceUnavailableError
from geofm_assets.labels.worldcereal.collections import collections_table
from tests.rdm_clients import DATA, client, fetch, parquet_bytes
from tests.servers.label_files import mirror, record
from tests.servers.rdm_server import RdmServer


def test_the_full_file_is_fetched_and_never_the_sample(rdm, tmp_path):
    fetched = fetch(rdm, tmp_path)

    assert fetched.path == tmp_path / "c0.parquet"
    assert fetched.path.read_bytes() == DATA
    assert (fetched.size, fetched.sha256) == (len(DATA), hashlib.sha256(DATA).hexdigest())
    assert fetched.etag == rdm.collections["c0"].current_etag()
    assert rdm.count("sample") == 0


def test_nothing_but_the_file_is_left(rdm, tmp_path):
    rdm.fault("/public/", drop_after=300_000)

    fetch(rdm, tmp_path)

    assert [p.name for p in tmp_path.iterdir()] == ["c0.parquet"]


def test_a_collection_row_can_be_fetched_too(rdm, tmp_path):
    row = collections_table([record("c0")]).to_pylist()[0]

    assert client(rdm).fetch(row, tmp_path).size == len(DATA)


def test_a_collection_without_a_full_file_is_refused(rdm, tmp_path):
    rdm.collections["c0"].has_full_file = False

    with pytest.raises(
        SourceUnavailableError, match=r"no GeoParquetDownloadUrl.*SampleDownloadUrl"
    ):
        fetch(rdm, tmp_path)


@pytest.mark.parametrize("fault", [{"drop_after": 300_000}, {"cut_to": 300_000}])
def test_a_broken_download_goes_on_where_it_stopped(rdm, tmp_path, fault):
    rdm.fault("/public/", **fault)

    assert fetch(rdm, tmp_path).path.read_bytes() == DATA
    ranges = [r.range for r in rdm.requests if "/public/" in r.target]
    assert ranges[0] is None
    assert 0 < int(ranges[1].removeprefix("bytes=").rstrip("-")) <= 300_000


def test_a_download_that_breaks_more_often_than_it_may_fail_still_ends(rdm, tmp_path):
    rdm.fault("/public/", cut_to=150_000, times=-1)

    assert fetch(rdm, tmp_path, retries=1).path.read_bytes() == DATA


def test_a_download_that_gets_nowhere_ends_in_one_clear_error(rdm, tmp_path):
    rdm.fault("/public/", cut_to=0, times=-1)

    with pytest.raises(SourceUnavailableError, match=r"4 tries.*/public/c0/"):
        fetch(rdm, tmp_path)
    assert not (tmp_path / "c0.parquet").exists()


def test_the_next_run_goes_on_where_the_last_one_gave_up(rdm, tmp_path):
    rdm.fault("/public/", cut_to=300_000)
    rdm.fault("/public/", status=503, times=4)
    with pytest.raises(SourceUnavailableError):
        fetch(rdm, tmp_path)

    assert fetch(rdm, tmp_path).path.read_bytes() == DATA
    assert rdm.requests[-1].range is not None


def test_a_part_that_is_the_whole_file_is_not_fetched_again(rdm, tmp_path):
    fetched = fetch(rdm, tmp_path)
    fetched.path.rename(tmp_path / ".c0.parquet.part")
    note = {"url": fetched.url, "validator": fetched.etag}
    (tmp_path / ".c0.parquet.part.json").write_text(json.dumps(note))
    rdm.requests.clear()

    assert fetch(rdm, tmp_path) == fetched
    assert rdm.count("/public/") == 1


def test_a_file_that_changed_meanwhile_is_fetched_from_its_start(rdm, tmp_path):
    new = parquet_bytes(seed=1)
    rdm.fault("/public/", cut_to=300_000)
    rdm.fault("/public/", status=503, times=4)
    with pytest.raises(SourceUnavailableError):
        fetch(rdm, tmp_path)
    rdm.change("c0", data=new)

    assert fetch(rdm, tmp_path).path.read_bytes() == new


def test_without_a_validator_a_broken_download_starts_over(rdm, tmp_path):
    rdm.send_etag = False
    rdm.fault("/public/", cut_to=300_000)

    assert fetch(rdm, tmp_path).path.read_bytes() == DATA
    assert all(r.range is None for r in rdm.requests)


def test_a_server_that_ignores_ranges_is_taken_from_the_start(rdm, tmp_path):
    rdm.fault("/public/", cut_to=300_000)
    rdm.fault("/public/", ignore_range=True)

    assert fetch(rdm, tmp_path).path.read_bytes() == DATA


def test_a_cut_file_with_a_matching_length_is_not_taken(rdm, tmp_path):
    rdm.fault("/public/", lie_to=300_000, times=-1)

    with pytest.raises(DownloadError, match="300000 bytes that came are not a whole Parquet file"):
        fetch(rdm, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_cut_file_is_asked_for_again(rdm, tmp_path):
    rdm.fault("/public/", lie_to=300_000)

    assert fetch(rdm, tmp_path).path.read_bytes() == DATA


def test_an_error_page_instead_of_a_file_is_not_taken(rdm, tmp_path):
    rdm.fault("/public/", body=b"<html>please log in</html>", times=-1)

    with pytest.raises(DownloadError, match="not a whole Parquet file"):
        fetch(rdm, tmp_path)


def test_a_redirect_within_the_allowed_hosts_is_followed(rdm, tmp_path):
    rdm.fault("/public/c0/", redirect=f"{rdm.url}/public/c1/c1.geoparquet")

    assert fetch(rdm, tmp_path).size == len(DATA)


@pytest.mark.parametrize(
    "address",
    ["http://evil.example/x.geoparquet", "file:///etc/passwd", "ftp://127.0.0.1/x.geoparquet"],
)
def test_a_redirect_elsewhere_is_refused(rdm, tmp_path, address):
    rdm.fault("/public/", redirect=address)

    with pytest.raises(SourceUnavailableError, match="not on an allowed host"):
        fetch(rdm, tmp_path)


@pytest.mark.parametrize("rdm_id", ["../../etc/passwd", "c0/../c1", "..%2F..%2Fx"])
def test_an_id_from_outside_never_becomes_a_path(rdm, tmp_path, rdm_id):
    rdm.add(record(rdm_id), DATA, "file.geoparquet")
    folder = tmp_path / "in"

    with contextlib.suppress(SourceUnavailableError):
        client(rdm).fetch(record(rdm_id), folder)
    assert [p.name for p in tmp_path.iterdir() if p.name != "in"] == []
    assert all(p.name.isascii() and ".." not in p.name for p in folder.glob("*"))


def test_a_mirror_is_served_as_the_module_serves_it(tmp_path):
    folder = mirror(tmp_path / "mirror", "2021_tst_a_point_110")
    with RdmServer(folder) as server:
        source = client(server)
        fetched = source.fetch(source.list_collections()[0], tmp_path)

    assert fetched.path.name == "2021tstapoint110.parquet"
    assert pq.read_table(fetched.path).num_rows == 3


def test_a_killed_download_goes_on_where_it_stopped(rdm, tmp_path):
    rdm.fault("/public/", stall_after=500_000, delay_s=30.0)
    code = (
        "import sys; from pathlib import Path; "
        "from geofm_assets.labels.worldcereal.rdm import HttpRdm; "
        "HttpRdm(sys.argv[1]).fetch({'collectionId': 'c0'}, Path(sys.argv[2]))"
    )
    root = Path(__file__).resolve().parents[3]
    process = subprocess.Popen(
        [sys.executable, "-c", code, rdm.url, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(root)},
    )
    part = tmp_path / ".c0.parquet.part"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (part.exists() and part.stat().st_size > 400_000):
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert part.stat().st_size > 400_000
    assert not (tmp_path / "c0.parquet").exists()

    assert fetch(rdm, tmp_path).path.read_bytes() == DATA
    assert int(rdm.requests[-1].range.removeprefix("bytes=").rstrip("-")) > 400_000
