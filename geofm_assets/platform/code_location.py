"""What a run launcher must know of the code: where it is, and a server that starts local runs."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher
from dagster._core.origin import (
    DEFAULT_DAGSTER_ENTRY_POINT,
    JobPythonOrigin,
    RepositoryPythonOrigin,
)
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.workspace.context import BaseWorkspaceRequestContext, WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget, ModuleTarget

from geofm_assets.core.environment import restored
from geofm_assets.core.errors import ConfigError
from geofm_assets.core.settings import Settings

NAME = "geofm_assets"
MODULE, ATTRIBUTE = "definitions", "defs"
_REPOSITORY = "__repository__"  # as Dagster calls the one of a Definitions object


def remote_origin(job: str) -> RemoteJobOrigin:
    """A job as the UI and a server of this code location know it."""
    location = RegisteredCodeLocationOrigin(NAME)
    return RemoteJobOrigin(RemoteRepositoryOrigin(location, _REPOSITORY), job)


def code_origin(job: str, image: str) -> JobPythonOrigin:
    """A job as a process that starts from nothing finds it.

    Args:
        job: its name.
        image: of the pod; empty for the run launcher's own.
    """
    pointer = ModuleCodePointer(MODULE, ATTRIBUTE)
    repository = RepositoryPythonOrigin(
        sys.executable, pointer, image or None, DEFAULT_DAGSTER_ENTRY_POINT
    )
    return JobPythonOrigin(job, repository)


@contextmanager
def open_workspace(
    instance: dg.DagsterInstance, settings: Settings
) -> Iterator[BaseWorkspaceRequestContext]:
    """What runs are launched in; on this machine, with a server that starts them.

    Args:
        instance: whose run launcher starts runs.
        settings: of the deployment.

    Raises:
        ConfigError: the run launcher is not that of the settings' executor, or it gives runs the
            environment of another store.
    """
    if settings.executor == "kubernetes":
        _require_cluster(instance, settings)
        with WorkspaceProcessContext(instance, EmptyWorkspaceTarget()) as context:
            yield context.create_request_context()
        return
    if not isinstance(instance.run_launcher, DefaultRunLauncher):
        raise ConfigError(
            f"The instance launches runs with {type(instance.run_launcher).__name__}, not as "
            "processes of this machine",
            where="run_launcher in dagster.yaml",
            fix="Remove that section, or run with --executor kubernetes",
        )
    target = ModuleTarget(MODULE, ATTRIBUTE, None, NAME)
    # the server inherits them
    given = {"GEOFM_STORE": settings.store, "GEOFM_EXECUTOR": settings.executor}
    with restored(*given):
        os.environ.update(given)
        with WorkspaceProcessContext(instance, target, code_server_log_level="ERROR") as context:
            yield context.create_request_context()


def _require_cluster(instance: dg.DagsterInstance, settings: Settings) -> None:
    from geofm_assets.platform.step_jobs import require_kubernetes  # imports dagster_k8s

    launcher = require_kubernetes(instance.run_launcher)
    for entry in launcher.env_vars:
        name, separator, value = entry.partition("=")
        if name == "GEOFM_STORE" and separator and value != settings.store:
            raise ConfigError(
                f"Runs of this instance work on the store {value}",
                where="env_vars of run_launcher in dagster.yaml",
                fix=f"Give {settings.store} an instance of its own: set DAGSTER_HOME",
            )
