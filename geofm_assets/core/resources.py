"""The store as a Dagster resource, and what assets that need a GPU are declared with."""

from typing import Any

import dagster as dg

from geofm_assets.core.compute import GPU_POOL, KubernetesSettings, gpu_tags
from geofm_assets.core.store import Store

_RETRY_SECONDS = 2.0


class StoreResource(dg.ConfigurableResource[Store]):
    """Where every artifact lies; see docs/store.md.

    Attributes:
        url: a local folder or an fsspec URL.
    """

    url: str

    def open(self) -> Store:
        """The store behind the URL."""
        return Store(self.url)


def gpu_step(devices: int = 1) -> dict[str, Any]:
    """Arguments of `dagster.asset` for a step that needs GPUs: pool, pod and retries.

    Only a lost pod is retried: what a step itself reports as failed says `allow_retries=False`.

    Args:
        devices: GPUs, at least 1.

    Raises:
        ConfigError: a `GEOFM_K8S_` variable is not allowed.
    """
    settings = KubernetesSettings.load()
    return {
        "pool": GPU_POOL,
        "op_tags": gpu_tags(devices, settings),
        "retry_policy": dg.RetryPolicy(
            settings.retries, delay=_RETRY_SECONDS, backoff=dg.Backoff.EXPONENTIAL
        ),
    }
