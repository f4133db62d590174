"""The sections of dagster.yaml that say where runs start, and limits of pools."""

import json

import dagster as dg
import pytest

from geofm_assets.core.compute import KubernetesSettings
from geofm_assets.core.errors import ConfigError
from geofm_assets.core.settings import Settings
from geofm_assets.platform.launched import LaunchedRun
from geofm_assets.platform.launching import run_launcher_config
from geofm_assets.platform.pools import free_slots, given_limits, set_pool_limits
from geofm_assets.platform.workers import Workers

CLUSTER = Settings(store="s3://bucket/geofm", executor="kubernetes")


def test_runs_are_local_processes_unless_the_executor_is_kubernetes():
    assert run_launcher_config(Settings(executor="multiprocess")) == {}


def test_pods_of_runs_are_given_settings_by_value_and_secrets_by_name(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-9134")
    monkeypatch.setenv("GEOFM_POSTGRES_URL", "postgresql+psycopg2://u:canary-9134@db/geofm")
    monkeypatch.setenv("GEOFM_K8S_ENV_SECRETS", "store")
    monkeypatch.setenv("GEOFM_K8S_POSTGRES_SECRET", "geofm-postgres")
    monkeypatch.setenv("GEOFM_K8S_RUN_HOURS", "10")
    sections = run_launcher_config(CLUSTER)
    config = sections["run_launcher"]["config"]
    assert config["env_secrets"] == ["store"]
    assert config["postgres_password_secret"] == "geofm-postgres"
    assert "GEOFM_STORE=s3://bucket/geofm" in config["env_vars"]
    assert "GEOFM_EXECUTOR=kubernetes" in config["env_vars"]
    assert config["load_incluster_config"] is True
    assert config["run_k8s_config"]["job_spec_config"]["active_deadline_seconds"] == 36000
    assert "canary" not in json.dumps(sections)


def test_a_setting_with_a_secret_is_refused(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://me:canary-4410@s3.example")
    with pytest.raises(ConfigError, match="AWS_ENDPOINT_URL holds a secret") as refused:
        run_launcher_config(CLUSTER)
    assert "canary" not in str(refused.value)


def test_dagster_takes_the_sections(tmp_path):
    kubeconfig = tmp_path / "kubeconfig"
    cluster = {"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}
    context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
    content = {
        "clusters": [cluster], "contexts": [context], "current-context": "c",
        "users": [{"name": "u", "user": {}}],
    }  # fmt: skip
    kubeconfig.write_text(json.dumps(content))
    pods = KubernetesSettings(
        kubeconfig=str(kubeconfig), image="i:1", postgres_secret="database", namespace="geofm"
    )
    (tmp_path / "dagster.yaml").write_text(json.dumps(run_launcher_config(CLUSTER, pods)))
    instance = dg.DagsterInstance.from_config(str(tmp_path))
    assert type(instance.run_launcher).__name__ == "K8sRunLauncher"
    assert instance.run_monitoring_enabled
    assert instance.run_monitoring_max_resume_run_attempts == 3


def test_pools_have_limits_and_the_environment_wins_over_the_ui(tmp_path):
    instance = dg.DagsterInstance.local_temp(str(tmp_path))
    assert set_pool_limits(instance, {}) == {"rdm": 2, "imagery": 4, "gpu": 1}
    instance.event_log_storage.set_concurrency_slots("gpu", 7)
    assert set_pool_limits(instance, {})["gpu"] == 7
    assert set_pool_limits(instance, {"GEOFM_POOL_GPU": "3", "GEOFM_POOL_RDM": ""})["gpu"] == 3
    stored = {p.name: p.limit for p in instance.event_log_storage.get_pool_limits()}
    assert stored == {"rdm": 2, "imagery": 4, "gpu": 3}


def test_what_a_lost_run_held_of_a_pool_is_given_back(tmp_path):
    instance = dg.DagsterInstance.local_temp(str(tmp_path))
    set_pool_limits(instance, {})
    lost, going = (instance.create_run_for_job(_job()) for _ in range(2))
    storage = instance.event_log_storage
    assert storage.claim_concurrency_slot("gpu", lost.run_id, "step").is_claimed
    assert free_slots(instance) == []  # it has not ended yet
    instance.report_run_failed(lost, "its process is gone")
    assert not storage.claim_concurrency_slot("gpu", going.run_id, "step").is_claimed
    assert free_slots(instance) == [lost.run_id]
    assert storage.claim_concurrency_slot("gpu", going.run_id, "step").is_claimed


@pytest.mark.parametrize(("partitions", "made"), [((), {""}), (("c0", "c1"), set())])
def test_a_run_that_is_lost_each_time_is_given_up(tmp_path, partitions, made):
    instance = dg.DagsterInstance.local_temp(str(tmp_path))
    workers = Workers(instance, _job(), Settings(store=str(tmp_path)), 1, None)
    failures, launched = [], 0
    waiting = [LaunchedRun("", [dg.AssetKey("sql")], partitions)]
    while waiting and launched < 10:
        run, launched = waiting.pop(), launched + 1
        run.made, run.ended = set(made), dg.DagsterRunStatus.FAILURE
        waiting += workers._rest(run, partitions or None, failures)
    assert launched == 3
    assert len(failures) == 1


def _job():
    return dg.GraphDefinition("nothing").to_job()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GEOFM_POOL_GPU", "0"),
        ("GEOFM_POOL_GPU", "two"),
        ("GEOFM_POOL_GPU", "²"),
        ("GEOFM_POOL_CPU", "1"),
    ],
)
def test_a_limit_that_is_none_is_named(name, value):
    with pytest.raises(ConfigError, match=name):
        given_limits({name: value})
