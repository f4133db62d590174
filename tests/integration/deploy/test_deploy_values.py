"""deploy/helm: keys the chart knows, values Dagster takes, secrets by name only."""

import re

import dagster as dg
import pytest
import yaml
from dagster._core.instance.config import dagster_instance_config
from kubernetes.config import ConfigException

from geofm_assets.core.compute import KubernetesSettings
from geofm_assets.core.settings import load_settings
from geofm_assets.platform.launching import run_launcher_config
from tests.integration.deploy.chart_instance import (
    DEPLOY,
    documents,
    instance_config,
    load_values,
    settings,
)
from tests.integration.deploy.chart_keys import unknown_keys

FILES = ("values.yaml", "values-volume.yaml")


@pytest.fixture(scope="module")
def values():
    return load_values()


@pytest.fixture(scope="module")
def launcher(values):
    return values["runLauncher"]["config"]["k8sRunLauncher"]


@pytest.mark.parametrize("name", FILES)
def test_every_key_is_one_of_the_chart(name):
    assert unknown_keys(load_values(name)) == []


def test_an_unknown_key_is_found():
    wrong = {"dagsterWebserver": {"replicas": 2}, "dagit": {}, "concurrency": {"runs": 3}}
    assert unknown_keys(wrong) == [
        "dagsterWebserver.replicas",
        "dagit",
        "concurrency.runs: not a mapping",
    ]


def test_dagster_takes_the_instance_made_of_them(values, tmp_path):
    made = instance_config(values, tmp_path / "kubeconfig")
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(made))
    config, _ = dagster_instance_config(str(tmp_path))
    assert config["concurrency"]["pools"] == {"granularity": "op", "default_limit": 1}


def test_limits_stand_in_one_place_only(values):
    """Dagster refuses limits in both, and the daemon then does not start."""
    queue = values["dagsterDaemon"]["runCoordinator"]["config"]["queuedRunCoordinator"]
    assert queue["maxConcurrentRuns"] is None
    assert queue["tagConcurrencyLimits"] == []
    assert values["concurrency"]["enabled"]


def test_pods_of_runs_get_what_the_settings_say(values, launcher):
    """As `geofm` itself would write dagster.yaml from the same variables."""
    kubernetes = KubernetesSettings.load(settings())
    own = run_launcher_config(load_settings("store", {"GEOFM_EXECUTOR": "kubernetes"}), kubernetes)
    expected, run = own["run_launcher"]["config"]["run_k8s_config"], launcher["runK8sConfig"]
    assert run["containerConfig"]["resources"] == expected["container_config"]["resources"]
    spec = expected["job_spec_config"]
    assert run["jobSpecConfig"]["activeDeadlineSeconds"] == spec["active_deadline_seconds"]
    assert run["jobSpecConfig"]["ttlSecondsAfterFinished"] == spec["ttl_seconds_after_finished"]
    assert run["podSpecConfig"]["serviceAccountName"] == kubernetes.service_account
    monitoring, given = own["run_monitoring"], values["dagsterDaemon"]["runMonitoring"]
    assert given["startTimeoutSeconds"] == monitoring["start_timeout_seconds"]
    assert given["maxResumeRunAttempts"] == monitoring["max_resume_run_attempts"]
    assert given["pollIntervalSeconds"] == monitoring["poll_interval_seconds"]


def test_one_image_for_every_pod_of_a_run(values):
    """Runs that `geofm` launches take theirs from the settings, those of the UI from the chart."""
    (code,) = values["dagster-user-deployments"]["deployments"]
    image = f"{code['image']['repository']}:{code['image']['tag']}"
    assert KubernetesSettings.load(settings()).image == image
    (command,) = documents("command.yaml")
    assert command["spec"]["template"]["spec"]["containers"][0]["image"] == image


def test_the_settings_are_ones_the_platform_knows():
    variables = settings()
    chosen = load_settings("store", variables)
    assert (chosen.profile, chosen.executor) == ("production", "kubernetes")
    assert KubernetesSettings.load(variables).gpu_tolerations == ("nvidia.com/gpu:NoSchedule",)


def test_secrets_are_named_and_not_given(values, launcher):
    names = {d["metadata"]["name"] for d in documents("secrets.example.yaml")}
    used = {item["name"] for item in launcher["envSecrets"]}
    volumes = launcher["runK8sConfig"]["podSpecConfig"]["volumes"]
    used |= {v["secret"]["secretName"] for v in volumes if "secret" in v}
    assert used | {values["global"]["postgresqlSecretName"]} == names
    assert values["generatePostgresqlPasswordSecret"] is False
    assert "postgresqlPassword" not in values["postgresql"]
    for file in sorted((DEPLOY / "helm").iterdir()):
        for line in file.read_text().splitlines():
            key, _, value = line.partition(":")
            secret = re.search(r"password|token|secret_?key|access_?key", key, re.IGNORECASE)
            assert not (secret and value.strip() not in ("", "false")), line


def test_the_accounts_exist(values, launcher):
    accounts = {
        d["metadata"]["name"] for d in documents("access.yaml") if d["kind"] == "ServiceAccount"
    }
    run = launcher["runK8sConfig"]["podSpecConfig"]["serviceAccountName"]
    code = values["dagster-user-deployments"]["serviceAccount"]
    assert accounts == {values["serviceAccount"]["name"], code["name"], run}
    assert not values["serviceAccount"]["create"]
    assert not code["create"]
    assert not values["rbacEnabled"]
    assert not values["dagster-user-deployments"]["rbacEnabled"]


def test_whoever_opens_the_instance_has_a_token_for_its_run_launcher(values, tmp_path, monkeypatch):
    config = instance_config(values, tmp_path)
    for part in ("run_storage", "event_log_storage", "schedule_storage"):
        del config[part]  # SQLite will do
    del config["run_launcher"]["config"]["kubeconfig_file"]
    config["run_launcher"]["config"]["load_incluster_config"] = True
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(config))
    for name in ("HOST", "PORT"):
        monkeypatch.setenv(f"KUBERNETES_SERVICE_{name}", "203.0.113.1")
    with pytest.raises(ConfigException, match="token file does not exist"):
        dg.DagsterInstance.from_config(str(tmp_path))
    accounts = [d for d in documents("access.yaml") if d["kind"] == "ServiceAccount"]
    assert [a["automountServiceAccountToken"] for a in accounts] == [True] * 3


def test_web_servers_listen_above_1024_and_are_probed_there(values):
    server = values["dagsterWebserver"]
    assert server["service"]["port"] > 1024
    for probe in ("readinessProbe", "livenessProbe", "startupProbe"):
        assert server[probe]["httpGet"]["port"] == server["service"]["port"]
    assert server["enableReadOnly"]
    assert "ingress" not in values


def test_the_volume_changes_nothing_but_the_volume():
    """Helm replaces lists whole, so the code location is written twice: it must not drift."""
    (below,) = load_values()["dagster-user-deployments"]["deployments"]
    (above,) = load_values(*FILES)["dagster-user-deployments"]["deployments"]
    for name in ("volumes", "volumeMounts"):
        *shared, added = above.pop(name)
        assert shared == below.pop(name)
        assert added["name"] == "store"
    assert above == below
