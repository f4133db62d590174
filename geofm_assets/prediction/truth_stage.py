"""How a map is scored against the fire perimeters of its request.

Plain Python: scores can be made from a notebook with a `Store`.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from geofm_assets.core.outcome import (
    Json,
    Markdown,
    Outcome,
    kept_check,
    markdown_table,
    schema_check,
    table_metadata,
)
from geofm_assets.core.stage import MissingUpstreamError, content_of, inputs_digest
from geofm_assets.core.store import MadeFrom, Store
from geofm_assets.imagery.periods import (
    PeriodRule,
    frames_offset,
    periods,
    request_duration,
    span,
)
from geofm_assets.labels.calfire.side_tables import listed_years, perimeters_key
from geofm_assets.prediction.legend import map_legend
from geofm_assets.prediction.quality import polarity_against_truth
from geofm_assets.prediction.request import Area, Request
from geofm_assets.prediction.stages import MapStage
from geofm_assets.prediction.truth_schema import LEFT_OUT, MapScore, MapSummary
from geofm_assets.training.stages import TrainingTask
from geofm_assets.windows.config import MasksConfig

_COLUMNS = ["fire_id", "group_id", "alarm_date", "contained_date", "dated", "prescribed",
            "simulated", "geometry"]  # fmt: skip
_YEARS_BEFORE = 1  # a fire that began in the year before may be contained in the request's


def has_truth(task: TrainingTask) -> bool:
    """Whether a task knows polygons that its maps can be compared with."""
    return task.imagery.sampling.labels.source == "calfire"


@dataclass(frozen=True)
class MapScoresStage:
    """What of each fire a map found, missed and invented."""

    task: TrainingTask
    code_version: str = "2"

    def key(self, map_id: str) -> str:
        """Store key of the scores by fire."""
        return f"{MapStage(self.task).folder(map_id)}/map_scores.parquet"

    def summary_key(self, map_id: str) -> str:
        """Store key of the scores over all fires."""
        return f"{MapStage(self.task).folder(map_id)}/map_summary.parquet"

    def possible(self, store: Store, map_id: str) -> bool:
        """Whether the task knows polygons, and some of the map's years are among theirs."""
        if not has_truth(self.task):
            return False
        keys = self._years(store, self._record(store, map_id))
        return bool(keys) and all(store.exists(key) for key in keys)

    def inputs(self, store: Store, map_id: str) -> str:
        """The map, the perimeters of its years, and which fires count as burnt."""
        record = self._record(store, map_id)
        contents = [content_of(store, key) for key in self._require_years(store, record)]
        return inputs_digest(self, record["content"], contents, self._recent_days)

    def make(self, store: Store, map_id: str, force: bool) -> Outcome:
        """Compare the map with the fires that its request's areas and times hold.

        Raises:
            MissingUpstreamError: the map is not finished, or there are no perimeters.
        """
        from geofm_assets.prediction.ground import small_cache
        from geofm_assets.prediction.products import read_mosaics
        from geofm_assets.prediction.stac_item import request_areas
        from geofm_assets.prediction.truth import score_against, select_fires, summarize

        inputs, record = self.inputs(store, map_id), self._record(store, map_id)
        found = store.provenance(self.key(map_id))
        skipped = found is not None and found.inputs == inputs and not force
        if found is not None and skipped:
            table, content = store.read_table(self.key(map_id)), found.content
            schema = kept_check(table)
        else:
            tables = [store.read_table(key, _COLUMNS) for key in self._require_years(store, record)]
            fires = select_fires(
                pa.concat_tables(tables),
                request_areas(record),
                self._recent_days,
                None if self.task.frames is None else self._imaged_from,
            )
            mosaics = read_mosaics(store, MapStage(self.task).folder(map_id))
            simulated = bool(record["simulated"])
            with small_cache():
                table = score_against(mosaics, fires, map_legend(record), simulated=simulated)
            made: MadeFrom = {
                "inputs": inputs,
                "code_version": self.code_version,
                "simulated": simulated or bool(pc.any(table["simulated"]).as_py()),
            }
            # the scores appear last: where they are, their summary is
            store.write_table(self.summary_key(map_id), summarize(table), MapSummary, **made)
            ref = store.write_table(self.key(map_id), table, MapScore, **made)
            content, schema = ref.provenance.content, schema_check(ref.report)
        checks = [schema, polarity_against_truth(table).as_check()]
        return Outcome(content, inputs, self._metadata(store, map_id, table), checks, skipped)

    def _metadata(self, store: Store, map_id: str, table: pa.Table) -> dict[str, Any]:
        summary = store.read_table(self.summary_key(map_id))
        reasons = table.filter(pc.equal(table["status"], LEFT_OUT))["reason"].value_counts()
        return {
            **table_metadata(table),
            "summary": Markdown(markdown_table(summary)),
            "left_out": Json({row["values"]: row["counts"] for row in reasons.to_pylist()}),
            "simulated": bool(pc.any(summary["simulated"]).as_py()),
        }

    @property
    def _recent_days(self) -> int:
        """Days before an area's start whose fires its masks would call burnt."""
        masks = self.task.masks or MasksConfig()
        return max(0, masks.recent_days - self.task.imagery.windows.days_before)

    def _imaged_from(self, area: Area) -> dt.date:
        """The day on which the last frame of an area's imagery begins."""
        from geofm_assets.windows.geometry import time_range

        frames, windows = self.task.frames or (), self.task.imagery.windows
        local = self.task.imagery.imagery.profile == "local_scenes"
        (day,) = Request((area,)).groups(windows.days_before)
        first = time_range(day, windows)[0] + frames_offset(frames, windows.days_before)
        asked = (first, first + request_duration(span(frames)))
        rule: PeriodRule = "calendar_month" if local else "fixed"
        return periods(rule, asked, span(frames), frames)[-1][0].date()

    def _record(self, store: Store, map_id: str) -> dict[str, Any]:
        key = MapStage(self.task).record_key(map_id)
        if not store.exists(key):
            raise MissingUpstreamError(
                "The map is not finished", where=key, fix=f"geofm predict {self.task.name}"
            )
        record: dict[str, Any] = store.read_json(key)
        return record

    def _years(self, store: Store, record: dict[str, Any]) -> list[str]:
        """Store keys of the perimeters that may belong to the request; none if there are none."""
        first, last = _fire_years(record)
        root = self.task.imagery.sampling.source.root
        try:
            years = listed_years(store, root)
        except MissingUpstreamError:
            return []
        return [perimeters_key(root, year) for year in years if first <= year <= last]

    def _require_years(self, store: Store, record: dict[str, Any]) -> list[str]:
        found = self._years(store, record)
        if not found:
            first, last = _fire_years(record)
            raise MissingUpstreamError(
                f"There are no fire perimeters of {first} to {last}",
                where=self.task.imagery.sampling.source.root,
                fix="Materialize the perimeters of these years",
            )
        return found


def _fire_years(record: dict[str, Any]) -> tuple[int, int]:
    """The first and the last fire year a request's fires may be of."""
    from geofm_assets.prediction.stac_item import request_areas

    areas = request_areas(record)
    return (
        min(area.start for area in areas).year - _YEARS_BEFORE,
        max(area.end for area in areas).year,
    )
