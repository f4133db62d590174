"""A store in a bucket, over a real S3 protocol: the same words as in a folder, whole or nothing."""

import os
import threading
import time

import pytest
from s3fs import S3FileSystem

from geofm_assets.core import objects
from geofm_assets.core.errors import ConfigError, StoreError
from geofm_assets.core.store import Store
from tests.servers.forks import ForkedPython
from tests.servers.s3 import KEY_ID, SECRET
from tests.unit.core.test_core_store import table, write

FOLDER = "tasks/crops/experiments/base"


def publish(store: Store, files: dict[str, str], prefix: str = FOLDER, keep=()) -> None:
    with store.publishing(prefix, keep=keep) as folder:
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)


def content(store: Store, prefix: str = FOLDER) -> dict[str, str]:
    folder = store.fetch_folder(prefix)
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


@pytest.fixture(params=["folder", "bucket"])
def store(request, tmp_path):
    if request.param == "folder":
        return Store(tmp_path / "store")
    return request.getfixturevalue("bucket_store")


def test_a_table_is_the_same_in_a_bucket_as_in_a_folder(bucket_store, tmp_path):
    local = Store(tmp_path)
    assert write(bucket_store) == write(local)
    assert bucket_store.read_bytes("x/t.parquet") == local.read_bytes("x/t.parquet")
    assert bucket_store.read_table("x/t.parquet") == table()
    assert bucket_store.provenance("x/t.parquet") == local.provenance("x/t.parquet")
    assert (bucket_store.rows("x/t.parquet"), bucket_store.provenance("x/none")) == (2, None)


def test_what_another_process_wrote_or_removed_is_seen_at_once(bucket_store, s3):
    assert not bucket_store.exists("a/x")
    assert bucket_store.list_keys("a") == []
    Store(bucket_store.url).write_bytes("a/x", b"1")
    assert bucket_store.exists("a/x")
    assert bucket_store.exists("a")
    prefix = bucket_store.url.rpartition("/")[2]
    s3.client().put_object(Bucket="geofm", Key=f"{prefix}/a/y", Body=b"2")
    assert bucket_store.list_keys("a") == ["a/x", "a/y"]
    s3.client().delete_object(Bucket="geofm", Key=f"{prefix}/a/x")
    assert not bucket_store.exists("a/x")


def test_more_keys_are_listed_than_one_answer_holds(bucket_store, s3):
    prefix = bucket_store.url.rpartition("/")[2]
    names = [f"{prefix}/many/{number:04}.json" for number in range(1_050)]
    s3.fill("geofm", [*names, f"{prefix}/many_more/x.json", f"{prefix}/many/folder/"])
    keys = bucket_store.list_keys("many", ".json")
    assert (len(keys), keys[0], keys[-1]) == (1_050, "many/0000.json", "many/1049.json")
    assert len(bucket_store.list_keys("many")) == 1_050


def test_a_published_folder_is_fetched_with_what_lies_beside_it(store):
    publish(store, {"checkpoint.ckpt": "weights", "tiles/a.tif": "a"})
    store.write_json(f"{FOLDER}/checkpoint.json", 1)
    found = content(store)
    assert found == {"checkpoint.ckpt": "weights", "tiles/a.tif": "a", "checkpoint.json": "1\n"}
    assert store.list_keys(FOLDER) == [f"{FOLDER}/{name}" for name in sorted(found)]
    assert store.fetch_file(f"{FOLDER}/tiles/a.tif").read_text() == "a"
    assert content(store, f"{FOLDER}/tiles") == {"a.tif": "a"}
    assert store.fetch_folder(FOLDER).name == "base"


def test_new_files_are_added_under_their_own_keys_and_others_removed_if_asked(store):
    store.write_bytes("chips/a", b"1")
    store.write_bytes("chips/b", b"1")
    with store.adding("chips", have=["a", "none"]) as folder:
        assert (folder / "a").read_bytes() == b"1"
        (folder / "c").write_bytes(b"2")
    assert store.list_keys("chips") == ["chips/a", "chips/b", "chips/c"]
    with store.adding("chips", have=["c"], last="note", only=True) as folder:
        (folder / "note").write_bytes(b"3")
        for name in ("a", "b"):
            (folder / name).unlink(missing_ok=True)
    assert store.list_keys("chips") == ["chips/c", "chips/note"]
    assert store.read_bytes("chips/c") == b"2"


def test_folders_and_stamps_follow_what_is_written(store):
    for key in ("tasks/a/x", "tasks/b/c/y", "tasks/z"):
        store.write_bytes(key, b"1")
    assert (store.folders("tasks"), store.folders("none")) == (["a", "b"], [])
    before = store.stamp("tasks/z")
    store.write_bytes("tasks/z", b"22")
    assert store.stamp("tasks/z") != before
    with pytest.raises(FileNotFoundError):
        store.stamp("tasks/none")


def test_a_finished_file_is_taken_in_whole(store):
    folder = store.working_folder("raw/x")
    folder.mkdir(parents=True)
    (folder / "part").write_bytes(b"1")
    store.take_in("raw/x/file", folder / "part")
    assert not (folder / "part").exists()
    assert store.fetch_file("raw/x/file").read_bytes() == b"1"
    store.delete("raw")
    assert not store.exists("raw/x/file")


def test_what_is_not_there_cannot_be_fetched(store):
    with pytest.raises(FileNotFoundError):
        store.fetch_file("tasks/none")
    with pytest.raises(FileNotFoundError):
        store.fetch_folder("tasks")


def test_published_again_only_the_new_files_and_those_kept_are_there(bucket_store):
    publish(bucket_store, {"a": "1", "tiles/b": "1", "tiles/c": "1"})
    publish(bucket_store, {"tiles/c": "2"}, keep=["tiles/*"])
    assert content(bucket_store) == {"tiles/b": "1", "tiles/c": "2"}
    assert len(bucket_store.bucket.objects.listing(FOLDER)) == 3  # the pointer and two files


def test_publishing_what_is_there_changes_nothing(bucket_store):
    publish(bucket_store, {"a": "1"})
    before = bucket_store.bucket.objects.listing(FOLDER)
    publish(bucket_store, {"a": "1"})
    assert bucket_store.bucket.objects.listing(FOLDER) == before


def test_an_error_while_publishing_leaves_what_was_there(bucket_store):
    publish(bucket_store, {"a": "1"})
    before = bucket_store.bucket.objects.listing(FOLDER)
    with pytest.raises(TypeError):
        publish(bucket_store, {"a": "2", "b": 3})
    assert bucket_store.bucket.objects.listing(FOLDER) == before


@pytest.mark.parametrize("fails", ["published.json", "b"])
def test_a_bucket_that_refuses_half_way_leaves_what_was_there(bucket_store, s3, fails):
    publish(bucket_store, {"a": "1"})
    before = bucket_store.bucket.objects.listing(FOLDER)
    s3.fault = lambda m, path, q: 403 if m == "PUT" and path.endswith(f"/{fails}") else None
    with pytest.raises(StoreError, match=r"refuses.*credentials"):
        publish(bucket_store, {"a": "2", "b": "2"})
    s3.fault = None
    if fails == "b":
        assert bucket_store.bucket.objects.listing(FOLDER) == before
    assert content(bucket_store) == {"a": "1"}
    assert bucket_store.list_keys(FOLDER) == [f"{FOLDER}/a"]


def test_a_pointer_whose_answer_is_lost_is_as_good_as_put(bucket_store, s3):
    wrong = [500]
    s3.after = lambda m, path, q: (
        wrong.pop() if wrong and m == "PUT" and path.endswith("published.json") else None
    )
    publish(bucket_store, {"a": "1"})
    s3.after = None
    assert wrong == []
    assert content(bucket_store) == {"a": "1"}
    assert len(bucket_store.bucket.objects.listing(FOLDER)) == 2


def test_a_reader_while_others_publish_sees_one_version_whole(bucket_store):
    publish(bucket_store, {f"{n}": "0" for n in range(4)})
    done = threading.Event()

    def write_versions() -> None:
        for version in range(1, 6):
            publish(Store(bucket_store.url), {f"{n}": str(version) for n in range(4)})
        done.set()

    writer = threading.Thread(target=write_versions)
    writer.start()
    seen = []
    while not done.is_set():
        seen.append(content(bucket_store))
    writer.join()
    assert all(sorted(found) == list("0123") for found in seen)
    assert all(len(set(found.values())) == 1 for found in seen)
    assert set(content(bucket_store).values()) == {"5"}


def test_of_two_writers_one_wins_and_nothing_of_the_other_stays(bucket_store):
    writers = [
        threading.Thread(target=publish, args=(Store(bucket_store.url), {"a": n, "b": n}))
        for n in "12"
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert content(bucket_store) in ({"a": "1", "b": "1"}, {"a": "2", "b": "2"})
    assert len(bucket_store.bucket.objects.listing(FOLDER)) == 3


def test_a_large_file_whose_upload_fails_leaves_nothing(bucket_store, s3, monkeypatch):
    monkeypatch.setattr(objects, "_PART_BYTES", 5 << 20)
    s3.fault = lambda m, p, query: 403 if query.get("partNumber") == ["2"] else None
    with pytest.raises(StoreError), bucket_store.new_file("big/file.bin") as path:
        path.write_bytes(bytes(11 << 20))
    s3.fault = None
    assert not bucket_store.exists("big/file.bin")
    assert "Uploads" not in s3.client().list_multipart_uploads(Bucket="geofm")
    with bucket_store.new_file("big/file.bin") as path:
        path.write_bytes(bytes(11 << 20))
    assert bucket_store.fetch_file("big/file.bin").stat().st_size == 11 << 20


KILLED = """
import sys
from geofm_assets.core import objects
from geofm_assets.core.store import Store
objects._PART_BYTES = 5 << 20
with Store(sys.argv[1]).publishing(sys.argv[2]) as folder:
    (folder / "a").write_text("2")
    (folder / "big").write_bytes(bytes(11 << 20))
"""


def test_a_writer_killed_in_mid_upload_leaves_readers_what_they_had(bucket_store, s3, monkeypatch):
    publish(bucket_store, {"a": "1"})
    s3.fault = lambda m, p, query: "hang" if query.get("partNumber") == ["2"] else None
    with ForkedPython(KILLED, bucket_store.url, FOLDER):  # and kills it
        until = time.monotonic() + 60
        while not any("partNumber=2" in query for _, _, query in s3.asked):
            assert time.monotonic() < until
            time.sleep(0.02)
    s3.fault = None
    assert content(bucket_store) == {"a": "1"}
    assert bucket_store.list_keys(FOLDER) == [f"{FOLDER}/a"]
    monkeypatch.setattr("geofm_assets.core.published._LEFT_BEHIND_S", -1.0)
    publish(bucket_store, {"a": "3"})  # a day later the next writer clears up
    assert len(bucket_store.bucket.objects.listing(FOLDER)) == 2


def test_a_damaged_copy_is_fetched_again_and_a_damaged_object_refused(bucket_store):
    publish(bucket_store, {"a": "whole"})
    copy = bucket_store.fetch_file(f"{FOLDER}/a")
    copy.chmod(0o644)
    copy.write_text("cut")
    assert bucket_store.fetch_file(f"{FOLDER}/a").read_text() == "whole"
    key = next(k for k in bucket_store.bucket.objects.listing(FOLDER) if k.endswith("/a"))
    bucket_store.write_bytes(key, b"other")
    with pytest.raises(StoreError, match=r"not what was written.*experiments/base"):
        bucket_store.fetch_folder(FOLDER)


@pytest.mark.parametrize("name", ["../../out", "a/../../../out", "/etc/out", "a//out"])
def test_names_in_a_bucket_never_lead_out_of_the_scratch_folder(bucket_store, s3, name):
    prefix = bucket_store.url.rpartition("/")[2]
    s3.client().put_object(Bucket="geofm", Key=f"{prefix}/{FOLDER}/{name}", Body=b"x")
    with pytest.raises(StoreError, match="no path that can be used"):
        bucket_store.fetch_folder(FOLDER)


def test_names_in_a_pointer_never_lead_out_of_the_scratch_folder(bucket_store):
    said = {"format": 1, "version": "0" * 32, "files": {"../../out": [1, "00"]}}
    bucket_store.write_json(f"{FOLDER}/published.json", said)
    with pytest.raises(StoreError, match="no path that can be used"):
        bucket_store.fetch_folder(FOLDER)


@pytest.mark.parametrize("key", ["../out", "a/../../b", "/etc/x", "a//b", "a\n"])
@pytest.mark.parametrize(
    "call", ["exists", "read_bytes", "fetch_file", "fetch_folder", "list_keys", "delete"]
)
def test_keys_cannot_leave_a_bucket_store(bucket_store, call, key):
    with pytest.raises(ConfigError, match="Not a store key"):
        getattr(bucket_store, call)(key)


def test_credentials_in_the_url_are_refused_and_not_repeated():
    with pytest.raises(ConfigError, match="environment") as caught:
        Store(f"s3://{KEY_ID}:{SECRET.replace('/', '-')}@geofm/store")
    assert KEY_ID not in str(caught.value)


@pytest.mark.parametrize("status", [400, 403])
def test_no_error_tells_credentials(bucket_store, s3, status):
    s3.fault = lambda m, p, q: status
    for call in (
        lambda: bucket_store.write_bytes("a", b"1"),
        lambda: bucket_store.read_table("a.parquet"),
        lambda: bucket_store.list_keys("a"),
    ):
        with pytest.raises(StoreError) as caught:
            call()
        error: BaseException | None = caught.value
        while error is not None:
            assert KEY_ID not in repr(error)
            assert SECRET not in repr(error)
            error = error.__cause__


def test_a_bucket_that_is_missing_or_far_is_an_error_that_says_so(bucket_store, monkeypatch):
    with pytest.raises(StoreError, match=r"s3://nowhere/x/a.*Make the bucket first"):
        Store("s3://nowhere/x").write_bytes("a", b"1")
    with monkeypatch.context() as patched:
        patched.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        patched.setenv("AWS_MAX_ATTEMPTS", "1")
        patched.setattr(S3FileSystem, "retries", 1)
        S3FileSystem.clear_instance_cache()
        with pytest.raises(StoreError, match="could not be used"):
            Store("s3://elsewhere/x").exists("a")
    S3FileSystem.clear_instance_cache()


def test_a_forked_process_connects_anew(bucket_store):
    bucket_store.write_bytes("a", b"1")
    child = os.fork()
    if child == 0:
        good = bucket_store.read_bytes("a") == b"1" and bucket_store.exists("a")
        os._exit(0 if good else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_copies_lie_where_the_environment_says(bucket_store, tmp_path):
    publish(bucket_store, {"a": "1"})
    assert bucket_store.fetch_folder(FOLDER).is_relative_to(tmp_path / "scratch")
    unfinished = [folder for folder in (tmp_path / "scratch").glob("*/*") if folder.name == "work"]
    assert not any(file for folder in unfinished for file in folder.iterdir())


def test_a_scratch_folder_that_cannot_be_written_is_named(bucket_store, tmp_path, monkeypatch):
    bucket_store.write_bytes("a", b"1")
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("GEOFM_SCRATCH", str(tmp_path / "file"))
    with pytest.raises(StoreError, match=r"scratch folder.*file.*GEOFM_SCRATCH"):
        Store(bucket_store.url).fetch_file("a")
