"""Secrets are taken out of texts, errors and logs; everything else stays as it is."""

import io
import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geofm_assets.core.errors import GeofmError, SourceUnavailableError
from geofm_assets.core.redact import (
    MARK,
    RedactedError,
    redact,
    redact_all,
    redact_logs,
    secret_places,
    without_secrets,
)

CANARY = "c4n4ry-9f3e"
TELLING = [
    f"https://me:{CANARY}@rdm.example.org/collections",
    f"https://{CANARY}@rdm.example.org/collections",
    f"http://me:{CANARY}@with@more@rdm.example.org:8080/",
    f"s3://AKIA123:{CANARY}@bucket/prefix",
    f"postgresql+psycopg2://geofm:{CANARY}@db:5432/dagster",
    f"https://a.blob.core.windows.net/x.tif?sv=2021&sig={CANARY}&se=2026",
    f"https://b.s3.amazonaws.com/x?X-Amz-Signature={CANARY}",
    f"https://b.s3.amazonaws.com/x?X-Amz-Security-Token={CANARY}&X-Amz-Expires=60",
    f"https://storage.googleapis.com/x?GoogleAccessId=me&Signature={CANARY}",
    f"/FeatureServer/0/query?where=1%3D1&token={CANARY}",
    f"(Caused by: Max retries exceeded with url: /x?api_key={CANARY} (refused))",
    f"https://x.org/a?subscription%2Dkey={CANARY}#top",
    f"connection to server failed: host=db password={CANARY} user=geofm",
    f"Authorization: Bearer {CANARY}{CANARY}",
    f"{{'Authorization': 'Basic {CANARY}{CANARY}='}}",
]


@pytest.mark.parametrize("text", TELLING)
def test_a_secret_is_taken_out(text):
    said = redact(text)
    assert CANARY not in said
    assert MARK in said
    assert redact(said) == said


def test_the_rest_of_a_url_stays():
    url = "https://me:secret@a.org:8443/x.tif?sv=2021&sig=abc&page=2#part"
    assert redact(url) == f"https://{MARK}@a.org:8443/x.tif?sv=2021&sig={MARK}&page=2#part"


@pytest.mark.parametrize(
    "text",
    [
        "https://rdm.example.org/collections?SkipCount=0&MaxResultCount=100",
        "https://a.org/query?where=1%3D1&outFields=YEAR_&resultOffset=2&f=geojson",
        "Write to someone@example.org about https://example.org/a",
        "s3://bucket/tasks/h3_cell=831f8dfffffffff/rasters.parquet",
        "sentinel2_l2a, 12 months, F1=0.81; loss=0.3",
        "{'training.epochs': 2}",
    ],
)
def test_what_is_no_secret_stays(text):
    assert redact(text) == text


@given(st.text(max_size=60))
def test_redacting_twice_is_redacting_once(text):
    once = redact(f"https://{text}@host/x?sig={text}&a=1")
    assert redact(once) == once


@given(st.text("abcdefghijklmnopqrstuvwxyzABC0123456789%+~_.-", min_size=12, max_size=40))
def test_no_password_or_signature_survives(secret):
    text = f"failed: https://u:{secret}@h.org/p?a=1&sig={secret} (again {secret[:0]})"
    assert secret not in redact(text)


def test_secrets_of_the_environment_are_known_by_their_variables(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    monkeypatch.setenv("GEOFM_POSTGRES_URL", "postgresql://me:p%40ssw0rd-9@db/x")
    monkeypatch.setenv("SOME_PATH", "/home/somebody/data")
    assert redact(f"denied for {CANARY}") == f"denied for {MARK}"
    assert redact("p@ssw0rd-9 and p%40ssw0rd-9") == f"{MARK} and {MARK}"
    assert redact("/home/somebody/data") == "/home/somebody/data"


def test_a_short_value_is_not_looked_for(monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "abc")
    assert redact("abcdef") == "abcdef"


def test_values_are_redacted_wherever_they_lie():
    value = {"a": [{"url": TELLING[0]}, 1, None], "b": (TELLING[5],)}
    assert CANARY not in json.dumps(redact_all(value))
    assert list(secret_places(value)) == ["a.url", "b"]


def test_an_error_of_ours_never_holds_a_secret():
    error = GeofmError(TELLING[10], where=TELLING[0], fix=f"Try {TELLING[5]}")
    assert CANARY not in str(error) + repr(error) + error.what + error.where + error.fix


def fail(cause, error):
    try:
        raise cause
    except type(cause) as caught:
        raise error from caught


def test_what_caused_an_error_is_redacted_and_keeps_its_kind():
    cause = ConnectionError(ConnectionError(TELLING[10]))
    with pytest.raises(SourceUnavailableError) as caught:
        fail(cause, SourceUnavailableError("No answer", where=TELLING[0]))
    clean = without_secrets(caught.value)
    assert clean is caught.value
    assert isinstance(clean.__cause__, RedactedError)
    assert str(clean.__cause__).startswith("ConnectionError: ")
    assert CANARY not in str(clean.__cause__)
    assert clean.__cause__.__traceback__ is not None


def test_an_error_without_secrets_is_left_alone():
    cause = KeyError("cause")
    with pytest.raises(ValueError, match="plain") as caught:
        fail(cause, ValueError("plain"))
    assert without_secrets(caught.value) is caught.value
    assert caught.value.__cause__ is cause


@pytest.fixture
def logged():
    before = logging.getLogRecordFactory()
    redact_logs()
    redact_logs()
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    log = logging.getLogger("any.library")
    log.addHandler(handler)
    yield log, stream
    log.removeHandler(handler)
    logging.setLogRecordFactory(before)


def test_logs_of_any_library_are_redacted(logged):
    log, stream = logged
    log.warning("Retrying %s after %d s", TELLING[5], 3)
    log.warning("plain %s", "text")
    assert CANARY not in stream.getvalue()
    assert stream.getvalue().endswith("after 3 s\nplain text\n")


def test_tracebacks_in_logs_are_redacted(logged):
    log, stream = logged
    try:
        raise OSError(TELLING[0])
    except OSError:
        log.exception("It failed")
    assert CANARY not in stream.getvalue()
    assert "OSError" in stream.getvalue()
