"""The platform's code location with assets that do next to nothing, to measure Dagster with.

`BENCH_LOCATION_ALONE` leaves the platform's own assets out, where seconds matter.
"""

import os
import warnings
from collections.abc import Iterator
from typing import Any

import dagster as dg

warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)

from geofm_assets.core.assets import check_specs, emit, emit_partitions  # noqa: E402
from geofm_assets.core.outcome import CheckOutcome, Outcome  # noqa: E402
from geofm_assets.core.resources import gpu_step  # noqa: E402
from geofm_assets.core.settings import load_settings  # noqa: E402

CELLS_KEY = dg.AssetKey(["bench", "cells"])
STEP_KEYS = [dg.AssetKey(["bench", f"step_{number}"]) for number in range(3)]
_CHECKS = ("schema", "inside_cell", "at_most_per_cell")  # as many as filtered points have
_cells = dg.DynamicPartitionsDefinition(name="bench_cells")


@dg.asset(
    key=CELLS_KEY,
    partitions_def=_cells,
    backfill_policy=dg.BackfillPolicy.multi_run(128),
    output_required=False,
    code_version="1",
    check_specs=check_specs(CELLS_KEY, *_CHECKS, partitions_def=_cells),
)
def cells(context: dg.AssetExecutionContext) -> Iterator[Any]:
    """A range of cells, recorded as the platform's stages record theirs."""
    yield from emit_partitions(context, _nothing, code_version="1")


def _nothing(partition: str) -> Outcome:
    checks = [CheckOutcome(name, True) for name in _CHECKS]
    return Outcome(partition, "none", {"dagster/partition_row_count": 1}, checks)


def _step(number: int) -> dg.AssetsDefinition:
    @dg.asset(
        key=STEP_KEYS[number],
        deps=STEP_KEYS[:number][-1:],
        code_version="1",
        **gpu_step(),
    )
    def step(context: dg.AssetExecutionContext) -> Iterator[Any]:
        yield from emit(context, lambda: Outcome(str(number), "none", {}, []))

    return step


def _definitions() -> dg.Definitions:
    steps = [_step(number) for number in range(len(STEP_KEYS))]
    settings = load_settings()
    if os.environ.get("BENCH_LOCATION_ALONE"):
        from geofm_assets.platform.executors import build_executor

        return dg.Definitions(assets=[cells, *steps], executor=build_executor(settings))
    from geofm_assets.platform.definitions import build_definitions

    return dg.Definitions.merge(build_definitions(settings), dg.Definitions(assets=[cells, *steps]))


defs = _definitions()
