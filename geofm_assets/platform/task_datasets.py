"""A task's own windows as an evaluation dataset: whether it is up to date, and making it so."""

import dagster as dg
from dagster._core.definitions.data_version import CODE_VERSION_TAG, get_input_data_version_tag

from geofm_assets.core.errors import ConfigError, RegistryError
from geofm_assets.core.progress import Report
from geofm_assets.core.settings import Settings
from geofm_assets.core.store import Store
from geofm_assets.evaluation.ingest.options import CODE_VERSION
from geofm_assets.evaluation.ingest.remember import read_record
from geofm_assets.evaluation.ingest.report import IngestResult, ValidationReport
from geofm_assets.evaluation.registry.entry import DatasetEntry
from geofm_assets.evaluation.registry.registry import Registry
from geofm_assets.evaluation.registry.waiting_tasks import is_task, manifest_key
from geofm_assets.platform.definitions import build_definitions, load_tasks
from geofm_assets.platform.materialize import materialize
from geofm_assets.platform.records import Records
from geofm_assets.windows.stages import dataset_key


class TaskDatasets:
    """The assets `<task>/evaluation_dataset` of a store.

    Args:
        settings: of the deployment.
        store: its store.
        instance: of the store.
        report: told of steps done.
    """

    def __init__(
        self, settings: Settings, store: Store, instance: dg.DagsterInstance, report: Report
    ) -> None:
        self._settings, self._store, self._instance = settings, store, instance
        self._records, self._report = Records(instance), report

    def is_due(self, name: str) -> bool:
        """Whether a task of this name has a manifest its dataset was not made from.

        A dataset of another source that has the task's name is nobody's business here.
        """
        if not is_task(self._store, name):
            return False
        entry = Registry(self._store).read().datasets.get(name)
        if entry is None:
            return True
        if not self._is_own(entry):
            return False
        made = self._records.latest(dg.AssetKey([name, "evaluation_dataset"]), None)
        manifest = self._store.provenance(manifest_key(name))
        if made is None or manifest is None:
            return True
        read = made.tags.get(get_input_data_version_tag(dg.AssetKey([name, "split_manifest"])))
        same_code = made.tags.get(CODE_VERSION_TAG) == CODE_VERSION
        return not (read == manifest.content and made.content == entry.content and same_code)

    def ingest(self, name: str) -> IngestResult:
        """Materialize the asset; it makes nothing if nothing has changed.

        Raises:
            ConfigError: no task file has this name.
            RegistryError: a dataset of another source has the task's name.
            GeofmError: something is wrong with the task's windows.
        """
        before = Registry(self._store).read().datasets.get(name)
        if before is not None and not self._is_own(before):
            raise RegistryError(
                f"A dataset named {name!r} is registered already, and is not the task's",
                where=f"made from {before.source}",
                fix=f"geofm evals remove {name}",
            )
        tasks = load_tasks(self._settings)
        if name not in tasks:
            raise ConfigError(
                f"No task file describes {name!r}",
                where=f"{self._store.url}/tasks/{name}",
                fix="Name the folder of its task file in GEOFM_TASKS",
            )
        job = build_definitions(self._settings).resolve_implicit_global_asset_job_def()
        key = dg.AssetKey([name, "evaluation_dataset"])
        materialize(job, self._instance, [key], report=self._report)
        entry, record = Registry(self._store).get(name), read_record(self._store, name)
        assert record is not None  # written before the dataset is registered
        said = ValidationReport.from_json(record["report"])
        unchanged = before is not None and before.content == entry.content
        return IngestResult(entry, said.facts, said, tuple(record["sheets"]), unchanged)

    def _is_own(self, entry: DatasetEntry) -> bool:
        return entry.source == str(self._store.path(dataset_key(entry.name)))
