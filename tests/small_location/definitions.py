"""A code location of three assets, for tests that launch runs; `geofm run`'s own takes seconds.

What a step does beside its work is ordered by files in the store's folder `orders`: `die-KEY`
kills the process, once; `die_always-KEY` each time; `refuse-KEY` is one of our own errors;
`say-KEY` has the step say something; `hold` lets steps wait until it is gone.
"""

import json
import os
import signal
import time
import warnings
from collections.abc import Iterator
from typing import Any

import dagster as dg

warnings.filterwarnings("ignore", category=dg.BetaWarning)

from geofm_assets.core import resources  # noqa: E402
from geofm_assets.core.assets import PartitionConfig, emit_partitions  # noqa: E402
from geofm_assets.core.errors import GeofmError  # noqa: E402
from geofm_assets.core.outcome import Outcome  # noqa: E402
from geofm_assets.core.progress import say  # noqa: E402
from geofm_assets.core.resources import StoreResource, gpu_step  # noqa: E402
from geofm_assets.core.settings import load_settings  # noqa: E402
from geofm_assets.core.store import Store  # noqa: E402
from geofm_assets.platform.executors import build_executor  # noqa: E402

resources._RETRY_SECONDS = 0.2  # a step whose pod was lost need not wait for a better moment
CELLS = dg.DynamicPartitionsDefinition(name="cells")
MODELS = dg.DynamicPartitionsDefinition(name="models")
SHOWN = ("CUDA_VISIBLE_DEVICES", "GEOFM_STORE", "GEOFM_EXECUTOR", "AWS_SECRET_ACCESS_KEY")


def work(store: Store, asset: str, key: str) -> Outcome:
    """Append a line to a file of the partition: who made it, and with what environment."""
    orders = store.local_path("orders")
    once = orders / f"die-{key}"
    if once.exists() or (orders / f"die_always-{key}").exists():
        once.unlink(missing_ok=True)
        os.kill(os.getpid(), signal.SIGKILL)
    if (orders / f"refuse-{key}").exists():
        raise GeofmError("It was refused", where=key, fix="Order otherwise")
    if (orders / f"say-{key}").exists():
        say(f"{key} lacks half of its rows")
    until = time.monotonic() + 120
    while (orders / "hold").exists() and time.monotonic() < until:
        time.sleep(0.05)
    target = store.local_path(f"{asset}/{key}.jsonl")
    target.parent.mkdir(parents=True, exist_ok=True)
    said = {name: os.environ.get(name) for name in SHOWN}
    with target.open("a") as stream:
        stream.write(json.dumps({"pid": os.getpid(), **said}) + "\n")
    return Outcome(content=f"{asset}-{key}", inputs="none", metadata={}, checks=[])


def _made(context: dg.AssetExecutionContext, store: StoreResource) -> Iterator[Any]:
    opened, (asset,) = store.open(), context.asset_key.path
    yield from emit_partitions(context, lambda key: work(opened, asset, key), code_version="1")


@dg.asset(
    partitions_def=CELLS,
    backfill_policy=dg.BackfillPolicy.multi_run(4),
    output_required=False,
    code_version="1",
)
def points(
    context: dg.AssetExecutionContext, config: PartitionConfig, store: StoreResource
) -> Iterator[Any]:
    """One step a range of cells, no GPU."""
    yield from _made(context, store)


@dg.asset(
    partitions_def=MODELS,
    backfill_policy=dg.BackfillPolicy.multi_run(1),
    output_required=False,
    code_version="1",
    **gpu_step(),
)
def checkpoint(
    context: dg.AssetExecutionContext, config: PartitionConfig, store: StoreResource
) -> Iterator[Any]:
    """A step that needs a GPU."""
    yield from _made(context, store)


@dg.asset(partitions_def=MODELS, deps=[checkpoint], output_required=False, code_version="1")
def scores(
    context: dg.AssetExecutionContext, config: PartitionConfig, store: StoreResource
) -> Iterator[Any]:
    """A step after it that needs none."""
    yield from _made(context, store)


settings = load_settings()
defs = dg.Definitions(
    assets=[points, checkpoint, scores],
    resources={"store": StoreResource(url=settings.store)},
    executor=build_executor(settings),
)
