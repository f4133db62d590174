"""deploy/compose: one server, with nothing open, nothing as root and no secret in a file."""

import re

import pytest
import yaml
from dagster._core.instance.config import dagster_instance_config
from dagster._core.instance.ref import InstanceRef

from geofm_assets.core.settings import load_settings
from tests.integration.deploy.chart_instance import DEPLOY, REPOSITORY

FOLDER = DEPLOY / "compose"
# Of the Compose Specification (compose-spec/compose-spec), the attributes used here. The files
# were also read with the packages compose-spec 0.2.1 and podman-compose.
SERVICE_KEYS = """
build cap_add cap_drop command depends_on deploy entrypoint environment healthcheck image init
mem_limit networks ports profiles read_only restart security_opt shm_size stop_grace_period tmpfs
user volumes
"""


def load(name: str) -> dict:
    return yaml.safe_load((FOLDER / name).read_text())


@pytest.fixture(scope="module")
def compose():
    return load("docker-compose.yaml")


@pytest.fixture(scope="module")
def services(compose):
    return compose["services"]


@pytest.mark.parametrize("name", ["docker-compose.yaml", "docker-compose.gpu.yaml"])
def test_attributes_are_those_of_the_specification(name):
    file = load(name)
    assert {k for k in file if not k.startswith("x-")} <= {
        "name",
        "services",
        "networks",
        "volumes",
    }
    for service in file["services"].values():
        assert set(service) <= set(SERVICE_KEYS.split())


def test_what_services_name_exists(compose, services):
    for name, service in services.items():
        assert set(service["networks"]) <= set(compose["networks"]), name
        assert set(service.get("depends_on", [])) <= set(services), name
        for volume in service["volumes"]:
            source = volume.rsplit(":", 2 if volume.endswith(":ro") else 1)[0]
            if source.startswith("./"):
                assert (FOLDER / source).exists(), source
            elif not source.startswith("$"):
                assert source in compose["volumes"], source


def test_nothing_runs_with_more_rights_than_it_needs(services):
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        if name != "postgres":  # its entry point becomes the user postgres itself
            assert service["read_only"] is True, name
            assert "cap_add" not in service, name
            assert service["user"] == ("0:0" if name == "s3" else "10001:10001"), name


def test_only_loopback_is_listened_on(compose, services):
    ports = {name: s["ports"] for name, s in services.items() if "ports" in s}
    assert set(ports) == {"webserver", "webserver-readonly"}
    assert all(port.startswith("127.0.0.1:") for both in ports.values() for port in both)
    assert services["postgres"]["networks"] == ["inside"]
    assert compose["networks"]["inside"]["internal"] is True


def test_the_second_web_server_cannot_change_anything(services):
    assert "--read-only" in services["webserver-readonly"]["command"]
    assert "--read-only" not in services["webserver"]["command"]


def test_secrets_come_from_the_environment_alone(services):
    for service in services.values():
        for variable, value in service["environment"].items():
            if re.search("PASSWORD|SECRET|KEY", variable):
                assert re.fullmatch(r"\$\{\w+:(\?.+|-)\}", value), variable
    for line in (FOLDER / ".env.example").read_text().splitlines():
        assert not re.match(r"(?!#)\w*(PASSWORD|SECRET|KEY)\w*=.+", line), line
    assert "/deploy/compose/.env\n" in (REPOSITORY / ".gitignore").read_text()


def test_every_variable_is_explained(services):
    text = (FOLDER / "docker-compose.yaml").read_text()
    example = (FOLDER / ".env.example").read_text()
    used = set(re.findall(r"\$\{(\w+)", text))
    documented = set(re.findall(r"^#? ?(\w+)=", example, re.MULTILINE))
    # these two are rarely changed, and geofm's own documents say what they do
    assert used - documented == {"GEOFM_PROFILE", "GEOFM_EXECUTOR"}
    assert documented <= used


@pytest.mark.parametrize("name", ["code", "geofm"])
def test_where_runs_are_processes_there_is_shared_memory_and_a_limit(services, name):
    assert services[name]["shm_size"] == "2gb"
    assert services[name]["mem_limit"] == "${GEOFM_MEMORY:-16g}"


def test_images_are_pinned(services):
    for name, service in services.items():
        tag = service["image"].partition(":")[2]
        assert tag, name
        assert "latest" not in tag, name


def test_dagster_takes_the_instance(tmp_path, monkeypatch):
    for variable in ("HOST", "USER", "DB", "PASSWORD"):
        monkeypatch.setenv(f"DAGSTER_PG_{variable}", "x")
    (tmp_path / "dagster.yaml").write_text((FOLDER / "dagster.yaml").read_text())
    config, _ = dagster_instance_config(str(tmp_path))
    parts = [config[f"{part}_storage"] for part in ("run", "event_log", "schedule")]
    assert {p["config"]["postgres_db"]["scheme"] for p in parts} == {"postgresql+psycopg2"}
    reference = InstanceRef.from_dir(str(tmp_path))
    assert "PostgresEvents" in str(reference.storage_data)
    assert reference.compute_logs_data.class_name == "LocalComputeLogManager"


def test_the_platform_takes_its_settings(services):
    environment = services["code"]["environment"]
    given = {k: re.sub(r"\$\{\w+:-(.*)\}", r"\1", v) for k, v in environment.items()}
    settings = load_settings(None, {**given, "GEOFM_STORE": "store"})
    assert settings.executor == "multiprocess"


def test_servers_look_for_the_code_location_where_it_is(services):
    (server,) = load("workspace.yaml")["load_from"]
    where = server["grpc_server"]
    assert where["host"] in services
    assert services["code"]["command"][-3:] == [str(where["port"]), "-m", "definitions"]
