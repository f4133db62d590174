"""The listing of the RDM by HTTP, from a real server that misbehaves."""

import pytest

from geofm_assets.core.errors import ConfigError, SourceUnavailableError
from geofm_assets.labels.worldcereal.collections import changes, collections_table, cursor
from geofm_assets.labels.worldcereal.rdm import HttpRdm, open_rdm
from tests.rdm_clients import DATA, client
from tests.servers.label_files import record
from tests.servers.rdm_server import RdmServer


def test_every_page_is_read(rdm):
    listed = client(rdm).list_collections()

    assert [r["collectionId"] for r in listed] == [f"c{i}" for i in range(7)]
    assert rdm.count("/collections?") == 4


def test_an_empty_listing_is_no_error():
    with RdmServer() as server:
        assert client(server).list_collections() == []


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_page_that_fails_is_asked_for_again(rdm, status):
    rdm.fault("SkipCount=4", status=status, times=2)

    assert len(client(rdm).list_collections()) == 7
    assert rdm.count("SkipCount=4") == 3


def test_a_page_that_keeps_failing_ends_in_one_clear_error(rdm):
    rdm.fault("SkipCount=4", status=500, times=-1)

    with pytest.raises(SourceUnavailableError, match=r"4 tries: status 500.* at http.*SkipCount=4"):
        client(rdm).list_collections()
    rdm.faults.clear()
    assert len(client(rdm).list_collections()) == 7


def test_retry_after_is_honoured(rdm, monkeypatch):
    rdm.fault("SkipCount=0", status=429, retry_after="7")
    source, waits = client(rdm), []
    source._patience.sleep = waits.append

    source.list_collections()

    assert waits == [7.0]


def test_waits_grow(rdm):
    rdm.fault("SkipCount=0", status=503, times=3)
    source, waits = client(rdm, backoff_s=1.0), []
    source._patience.sleep = waits.append

    source.list_collections()

    assert [0.5 * 2**i <= wait <= 1.5 * 2**i for i, wait in enumerate(waits)] == [True] * 3


def test_a_refusal_is_not_asked_for_again(rdm):
    rdm.fault("SkipCount=0", status=403, times=-1)

    with pytest.raises(SourceUnavailableError, match="status 403"):
        client(rdm).list_collections()
    assert len(rdm.requests) == 1


def test_a_page_cut_short_is_asked_for_again(rdm):
    rdm.fault("SkipCount=2", cut_to=20)

    assert len(client(rdm).list_collections()) == 7


def test_a_dropped_connection_is_tried_again(rdm):
    rdm.fault("SkipCount=2", drop_after=20)

    assert len(client(rdm).list_collections()) == 7


def test_a_slow_answer_is_tried_again(rdm):
    rdm.fault("SkipCount=2", delay_s=1.0)

    assert len(client(rdm, timeout_s=0.2).list_collections()) == 7


def test_an_answer_that_stays_slow_ends_in_one_clear_error(rdm):
    rdm.fault("SkipCount=2", delay_s=0.5, times=-1)

    with pytest.raises(SourceUnavailableError, match=r"no bytes within 0\.1 s"):
        client(rdm, timeout_s=0.1, retries=1).list_collections()


def test_a_server_that_is_down_ends_in_one_clear_error(rdm):
    url = "http://127.0.0.1:9"

    with pytest.raises(SourceUnavailableError, match=r"2 tries.*at http://127\.0\.0\.1:9.*Check"):
        HttpRdm(url, retries=1, backoff_s=0.001).list_collections()


@pytest.mark.parametrize("body", [b"<html>maintenance</html>", b'{"error": 1}', b"[]", b"null"])
def test_an_answer_that_is_no_listing_is_refused(rdm, body):
    rdm.fault("/collections", body=body, times=-1)

    with pytest.raises(SourceUnavailableError, match=r"not JSON|not a page"):
        client(rdm).list_collections()


def test_a_listing_that_ends_early_is_refused(rdm):
    rdm.total_count = 9

    with pytest.raises(SourceUnavailableError, match="ends after 7 of 9"):
        client(rdm).list_collections()


def test_a_listing_that_changes_meanwhile_is_read_again(rdm):
    source, reads = client(rdm), []
    original = source._json

    def json_and_withdraw(url):
        reads.append(url)
        if len(reads) == 2:
            rdm.withdraw("c0")
        return original(url)

    source._json = json_and_withdraw

    assert [r["collectionId"] for r in source.list_collections()] == [f"c{i}" for i in range(1, 7)]


def test_new_changed_and_withdrawn_collections_are_told(rdm):
    before = cursor(collections_table(client(rdm).list_collections()))
    rdm.add(record("c9"), DATA)
    rdm.change("c1", lastModificationTime="2026-02-02T00:00:00")
    rdm.withdraw("c2")
    after = cursor(collections_table(client(rdm).list_collections()))

    found = changes(before, after)

    assert (found.new, found.changed, found.vanished) == (("c9",), ("c1",), ("c2",))


@pytest.mark.parametrize("location", ["ftp://host/", "/no/such/folder", "", "s3://bucket/rdm"])
def test_a_location_that_is_neither_address_nor_folder_is_refused(location):
    with pytest.raises(ConfigError, match="neither an http"):
        open_rdm(location)
