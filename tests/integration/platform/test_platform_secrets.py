"""Canaries: secrets put in where they come from, looked for in everything a run leaves behind."""

import json
import logging
import sys

import dagster as dg
import pytest

from geofm_assets import cli
from geofm_assets.core.assets import emit, emit_partitions
from geofm_assets.core.errors import ConfigError
from geofm_assets.core.outcome import Json, Link, Location, Markdown, Outcome
from geofm_assets.core.redact import redact_logs
from geofm_assets.core.resources import StoreResource
from geofm_assets.core.settings import load_settings
from geofm_assets.core.store import Store
from geofm_assets.labels.assets import build_worldcereal_assets
from geofm_assets.labels.config import MinConfidence
from geofm_assets.labels.resources import RdmClient
from geofm_assets.labels.source import WORLDCEREAL
from geofm_assets.labels.stages import CollectionFileStage
from tests.e2e.conftest import Geofm, environment
from tests.rdm_clients import DATA
from tests.servers.label_files import record
from tests.servers.rdm_server import RdmServer

SIGNATURE, PASSWORD, VARIABLE = "s1gn4ture-c4n4ry", "p4ssw0rd-c4n4ry", "v4ri4ble-c4n4ry"
CANARIES = (SIGNATURE, PASSWORD, VARIABLE)


def signed(rdm: RdmServer, collection: str = "c0", base: str | None = None) -> str:
    """Let the metadata of a collection point at a signed address, and give it."""
    url = f"{base or rdm.url}/public/{collection}/{collection}.geoparquet?sv=1&sig={SIGNATURE}"
    items = [{"name": "GeoParquetDownloadUrl", "value": url}]
    rdm.fault("/metadata/items", times=-1, body=json.dumps(items).encode())
    return url


@pytest.fixture
def rdm():
    with RdmServer() as server:
        server.add(record("c0"), DATA)
        yield server


@pytest.fixture
def instance(tmp_path):
    (tmp_path / "home").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "home")) as opened:
        yield opened


@pytest.fixture
def redacted_logs():
    before = logging.getLogRecordFactory()
    redact_logs()
    yield
    logging.setLogRecordFactory(before)


def leaking(folder) -> list[str]:
    """Files below a folder that hold a canary, databases and their journals included."""
    return [
        f"{path.relative_to(folder)}: {canary}"
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        for canary in CANARIES
        if canary.encode() in path.read_bytes()
    ]


def told(instance: dg.DagsterInstance) -> str:
    """Everything the instance says of its runs."""
    said = []
    for run in instance.get_runs():
        said.append(json.dumps(run.run_config) + json.dumps(run.tags))
        said += [repr(entry) + str(entry.dagster_event) for entry in instance.all_logs(run.run_id)]
    return "\n".join(said)


def materialize(instance, assets, partition=None, **resources):
    job = dg.Definitions(assets, resources=resources).resolve_implicit_global_asset_job_def()
    return job.execute_in_process(instance=instance, partition_key=partition, raise_on_error=False)


def test_a_failing_run_of_the_command_line_tells_no_secret(rdm, tmp_path):
    signed(rdm)
    rdm.fault("sig=", times=-1, status=403)
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login me password {PASSWORD}\n")
    netrc.chmod(0o600)
    variables = environment(AWS_SECRET_ACCESS_KEY=VARIABLE, NETRC=str(netrc))
    geofm = Geofm(tmp_path / "store", variables)
    done = geofm("run", "worldcereal_cropland", "--mirror", rdm.url, ok=False)
    assert done.returncode == 1
    assert "status 403" in done.stderr
    assert "sig=***" in done.stderr
    assert not any(canary in done.stdout + done.stderr for canary in CANARIES)
    assert any("sig=" in request.target for request in rdm.requests)  # it was really used
    assert leaking(tmp_path / "store") == []
    with dg.DagsterInstance.from_config(str(tmp_path / "store" / "dagster_home")) as instance:
        events = told(instance)
    assert "status 403" in events
    assert not any(canary in events for canary in CANARIES)


def test_a_failing_download_is_recorded_with_its_causes_and_without_its_signature(
    rdm, tmp_path, instance
):
    signed(rdm, base="http://127.0.0.1:9")  # nobody listens: the cause names the whole address
    assets = build_worldcereal_assets([MinConfidence()])
    location = RdmClient(location=rdm.url, retries=0)
    resources = {"store": StoreResource(url=str(tmp_path / "store")), "rdm": location}
    assert materialize(instance, assets[:1], **resources).success
    result = materialize(instance, [assets[1]], "c0", **resources)
    assert not result.success
    events = told(instance)
    assert "Max retries exceeded" in events
    assert not any(canary in events for canary in CANARIES)
    assert leaking(tmp_path) == []


def test_where_a_file_came_from_is_kept_without_its_signature(rdm, tmp_path, instance):
    signed(rdm)
    assets = build_worldcereal_assets([MinConfidence()])
    store = Store(tmp_path / "store")
    resources = {"store": StoreResource(url=store.url), "rdm": RdmClient(location=rdm.url)}
    assert materialize(instance, assets[:1], **resources).success
    assert materialize(instance, [assets[1]], "c0", **resources).success
    note = CollectionFileStage(WORLDCEREAL).file(store, "c0")
    assert note is not None
    assert note["url"].endswith("sv=1&sig=***")
    assert leaking(tmp_path) == []


KEYS = dg.StaticPartitionsDefinition(["a", "b"])
URL = f"https://me:{PASSWORD}@h.example.org/x.tif?sig={SIGNATURE}"


def broken() -> Outcome:
    logging.getLogger("urllib3").warning("Retrying %s", URL)
    try:
        raise ConnectionError(f"no route to {URL}")
    except ConnectionError as error:
        raise RuntimeError(f"cannot read {URL}, key {VARIABLE}") from error


@dg.asset
def whole(context: dg.AssetExecutionContext):
    context.log.info(f"reading {URL}")
    yield from emit(context, broken)


@dg.asset(partitions_def=KEYS, output_required=False)
def parts(context: dg.AssetExecutionContext):
    yield from emit_partitions(context, lambda _: broken(), code_version="1")


@dg.asset
def described(context: dg.AssetExecutionContext):
    metadata = {
        "text": f"from {URL}",
        "link": Link(URL),
        "location": Location(URL),
        "markdown": Markdown(f"| {URL} |"),
        "json": Json([{"url": URL}]),
        "plain": {"url": URL},
    }
    yield from emit(context, lambda: Outcome("content", "inputs", metadata))


@pytest.mark.parametrize(("asset", "partition"), [(whole, None), (parts, "a")])
def test_errors_nobody_foresaw_are_recorded_without_secrets(
    tmp_path, instance, monkeypatch, capfd, redacted_logs, asset, partition
):
    monkeypatch.setenv("MY_API_KEY", VARIABLE)
    assert not materialize(instance, [asset], partition).success
    events, shown = told(instance), "".join(capfd.readouterr())
    assert "RuntimeError" in events
    assert "ConnectionError" in events
    assert "no route to https://***@h.example.org/x.tif?sig=***" in events
    assert not any(canary in events + shown for canary in CANARIES)
    assert leaking(tmp_path) == []


def test_metadata_is_recorded_without_secrets(tmp_path, instance):
    assert materialize(instance, [described]).success
    assert "https://***@h.example.org/x.tif?sig=***" in told(instance)
    assert leaking(tmp_path) == []


@pytest.mark.parametrize(
    "given",
    [
        {"rdm": f"https://me:{PASSWORD}@rdm.example.org"},
        {"stac_url": f"https://stac.example.org/?sig={SIGNATURE}"},
        {"hub_url": f"https://{PASSWORD}@hub.example.org"},
        {"overrides": {"burned_area": {"labels.calfire.perimeters": URL}}},
    ],
)
def test_settings_with_credentials_are_refused_and_not_saved(tmp_path, given):
    with pytest.raises(ConfigError, match="holds credentials") as caught:
        load_settings(str(tmp_path / "store"), {}, **given)
    assert next(iter(given)) in str(caught.value)
    assert not any(canary in str(caught.value) for canary in CANARIES)
    settings = load_settings(str(tmp_path / "store"), {}).model_copy(update=given)
    with pytest.raises(ConfigError, match="holds credentials"):
        settings.remember()
    assert leaking(tmp_path) == []


def test_a_crash_of_the_command_line_prints_no_secret(monkeypatch, capsys, redacted_logs):
    def crash(*_):
        raise RuntimeError(f"cannot read {URL}")

    monkeypatch.setattr(cli, "load_settings", crash)
    monkeypatch.setattr(sys, "argv", ["geofm", "status"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    said = "".join(capsys.readouterr())
    assert "RuntimeError: cannot read https://***@h.example.org/x.tif?sig=***" in said
    assert not any(canary in said for canary in CANARIES)
