"""Steps that do nothing, one after another: as Jobs, as processes, and in the run's own process.

The cluster is the tests' stand-in: pods are processes of this machine, no image is pulled, and
there is a node at once. What is left is Python's imports, and what Dagster and its polling take.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
from dagster import DagsterEventType
from dagster._core.definitions.reconstruct import ReconstructableRepository

from benchmarks.harness import Arguments, Side, done, measured, side_main
from benchmarks.platform_world import ALONE, PATHS, environment, load_location
from benchmarks.recorded_cells import QUIET
from geofm_assets.core.settings import Settings, load_settings
from geofm_assets.core.store import Store
from geofm_assets.platform.instance import open_instance
from geofm_assets.platform.pools import set_pool_limits
from geofm_assets.platform.workers import open_workers

MODULE = "benchmarks.location.definitions"
IMAGE = "registry.example/geofm-assets:1.0"


@dataclass(frozen=True)
class Chain:
    """The steps to be run, and where."""

    instance: dg.DagsterInstance
    job: dg.JobDefinition
    keys: list[dg.AssetKey]
    settings: Settings


Run = Callable[[Chain], None]


def in_process(arguments: Arguments) -> Side:
    """As `geofm run` runs them where nothing else is asked for."""

    def run(chain: Chain) -> None:
        chain.job.execute_in_process(
            instance=chain.instance, asset_selection=chain.keys, run_config=QUIET
        )

    return _steps(arguments, "in_process", run)


def multiprocess(arguments: Arguments) -> Side:
    """As a run that was launched in the UI runs several: a process each, which imports all anew."""

    def run(chain: Chain) -> None:
        repository = ReconstructableRepository.for_module(MODULE, "defs")
        with dg.execute_job(
            repository.get_reconstructable_job(chain.job.name),
            chain.instance,
            run_config=QUIET,
            asset_selection=chain.keys,
            raise_on_error=True,
        ):
            pass

    return _steps(arguments, "multiprocess", run)


def kubernetes(arguments: Arguments) -> Side:
    """As `geofm run --executor kubernetes` does: a Job for the run, and one for each step."""
    from tests.servers.kubernetes import KubernetesServer, Node

    folder = Path(arguments["folder"])
    image = {"PYTHONPATH": PATHS, "DAGSTER_DISABLE_TELEMETRY": "1", **_location(arguments)}
    labels = {"geofm/accelerator": "gpu"}
    nodes = [Node("cpu", 32, 128), Node("gpu", 16, 128, 1, labels, ("nvidia.com/gpu:NoSchedule",))]

    def run(chain: Chain) -> None:
        with open_workers(chain.instance, chain.job, chain.settings, 1) as workers:
            failures = workers.make(chain.keys, None, [""], lambda *_: None)
        if failures:
            raise RuntimeError("; ".join(failures))

    (folder / "cluster").mkdir()
    with KubernetesServer(folder / "cluster", nodes, environment=image) as cluster:
        cluster.add_config_map("dagster-instance", {"dagster.yaml": ""})
        return _steps(
            arguments,
            "kubernetes",
            run,
            GEOFM_K8S_KUBECONFIG=str(cluster.kubeconfig),
            GEOFM_K8S_IMAGE=IMAGE,
            GEOFM_K8S_DAGSTER_HOME=str(folder / "home"),
        )


def _steps(arguments: Arguments, executor: str, run: Run, **variables: str) -> Side:
    """Run the chain, and read from its log how long each part of each step took."""
    folder = Path(arguments["folder"])
    store = folder / "store"
    store.mkdir(exist_ok=True)
    given = {"GEOFM_STORE": str(store), "GEOFM_EXECUTOR": executor, **_location(arguments)}
    with environment(folder / "home", PYTHONPATH=PATHS, **given, **variables):
        settings = load_settings()
        instance = open_instance(Store(settings.store), settings)
        set_pool_limits(instance)  # as `geofm run` does where it launches runs
        job = load_location().resolve_implicit_global_asset_job_def()
        keys = [dg.AssetKey(["bench", f"step_{n}"]) for n in range(arguments["steps"])]
        with measured() as taken:
            run(Chain(instance, job, keys, settings))
        (record,) = instance.get_run_records()
        parts = _parts(instance, record.dagster_run.run_id, len(keys))
    said = {name: [part[name] for part in parts] for name in ("start_s", "step_s", "notice_s")}
    return done(taken, len(keys), **said)


def _location(arguments: Arguments) -> dict[str, str]:
    return {ALONE: "1"} if arguments["alone"] else {}


def _parts(instance: dg.DagsterInstance, run_id: str, count: int) -> list[dict[str, float]]:
    """Seconds of each step, until the next one is begun or the run has ended.

    `start_s` goes from asking for the step (of a step in the run's own process: from the end of
    the one before) to its first line, `step_s` to its success, `notice_s` until that was noticed.
    """
    kind = DagsterEventType
    began: list[float] = []
    started: list[float] = []
    ended: list[float] = []
    first = last = 0.0
    for entry in instance.all_logs(run_id):
        event = entry.dagster_event_type
        if event == kind.RUN_START:
            first = entry.timestamp
        elif event == kind.STEP_WORKER_STARTING:
            began.append(entry.timestamp)
        elif event == kind.STEP_START:
            started.append(entry.timestamp)
        elif event == kind.STEP_SUCCESS:
            ended.append(entry.timestamp)
        elif event == kind.RUN_SUCCESS:
            last = entry.timestamp
    began = began or [first, *ended[:-1]]
    if not len(began) == len(started) == len(ended) == count or not last:
        raise RuntimeError(f"Run {run_id} did not end as it should")
    return [
        {"start_s": start - begin, "step_s": end - start, "notice_s": after - end}
        for begin, start, end, after in zip(began, started, ended, [*began[1:], last], strict=True)
    ]


SIDES = {f.__name__: f for f in (in_process, multiprocess, kubernetes)}

if __name__ == "__main__":
    side_main(SIDES)
