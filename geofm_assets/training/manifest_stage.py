"""How the split manifest is made.

Plain Python: a stage can be made from a notebook with a `Store`.
"""

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from geofm_assets.core.hashing import json_digest
from geofm_assets.core.outcome import (
    CheckOutcome,
    Json,
    Markdown,
    Outcome,
    schema_check,
    table_metadata,
)
from geofm_assets.core.progress import say
from geofm_assets.core.stage import MissingUpstreamError, content_of, inputs_digest
from geofm_assets.core.store import Store
from geofm_assets.imagery.stages import ChipsStage, imagery_record
from geofm_assets.sampling.plan import promised_distance_m
from geofm_assets.sampling.task import planned_cells
from geofm_assets.training.cell_chips import cell_chips
from geofm_assets.training.manifest import (
    ManifestCheck,
    ModelInputs,
    cell_manifest,
    check_classes,
    check_leakage,
    class_counts,
    join_manifest,
    split_map,
)
from geofm_assets.training.mask_rows import MaskRows
from geofm_assets.training.schema import Manifest
from geofm_assets.training.task import TrainingTask
from geofm_assets.training.without_imagery import check_imagery, kinds_of, without_imagery
from geofm_assets.windows.stages import WindowGroupStage


@dataclass(frozen=True)
class ManifestStage:
    """The split manifest."""

    task: TrainingTask
    code_version: str = "2"

    def key(self, partition: str = "") -> str:
        """Store key of the manifest."""
        return f"tasks/{self.task.name}/split_manifest.parquet"

    def masks_record_key(self) -> str:
        """Store key of what the masks were when the manifest was made."""
        return f"tasks/{self.task.name}/split_manifest_masks.json"

    def masks_content(self, store: Store) -> str:
        """Digest of the masks the manifest was made with.

        Raises:
            MissingUpstreamError: it was made before there were any.
        """
        key = self.masks_record_key()
        if not store.exists(key):
            raise MissingUpstreamError(
                "The split manifest was made without masks",
                where=self.task.name,
                fix="Materialize split_manifest",
            )
        content: str = store.read_json(key)["content"]
        return content

    def inputs(self, store: Store, partition: str = "") -> str:
        """Every planned cell's windows and chips, and its masks if a head needs them."""
        stage = ChipsStage(self.task.imagery)
        contents = {}
        for cell in planned_cells(store, self.task.name):
            note = stage.note(store, cell)
            if note is None:
                raise MissingUpstreamError(
                    "A planned cell has no chips", where=cell, fix="Materialize chips for it"
                )
            contents[cell] = [note["content"], content_of(store, self._windows(cell))]
            if self.task.segments:
                contents[cell].append(content_of(store, self.task.masks_key(cell)))
        split = self.task.imagery.sampling.split.model_dump()
        return inputs_digest(self, contents, split)

    def _windows(self, cell: str) -> str:
        return WindowGroupStage(self.task.imagery.sampling, self.task.imagery.windows).key(cell)

    def make(self, store: Store) -> Outcome:
        """Gather the cells, check classes and leakage, write the table."""
        inputs = self.inputs(store)
        stage = ChipsStage(self.task.imagery)
        cells = planned_cells(store, self.task.name)
        parts, lost, looked = [], [], ModelInputs(len(cells))
        for cell in cells:
            chips = cell_chips(store, stage.folder(cell))
            windows = store.read_table(self._windows(cell))
            parts.append(cell_manifest(windows, chips))
            lost.append(without_imagery(windows, chips))
            looked.look(chips)
        manifest = join_manifest(parts)
        kinds = kinds_of(store, self.task, pa.concat_tables(lost)) if lost else {}
        imagery = check_imagery(kinds, manifest.num_rows + sum(kinds.values()))
        if kinds:
            say(imagery.description)
        sampling = self.task.imagery.sampling
        hashed = sampling.split.by == "ai2_hash"
        promised = 0.0
        if not hashed:
            promised = promised_distance_m(sampling.split, sampling.window_extent_m)
        checks = [
            looked.check(),
            check_leakage(manifest, promised),
            check_classes(manifest, ("train", "val") if hashed else ("train", "val", "test")),
        ]
        simulated = bool(pc.any(manifest["simulated"]).as_py() or False)
        simulated = simulated or bool(imagery_record(store, self.task.name)["simulated"])
        labelled = self._record_masks(store, manifest, cells) if self.task.segments else None
        ref = store.write_table(
            self.key(),
            manifest,
            Manifest,
            inputs=inputs,
            code_version=self.code_version,
            simulated=simulated,
        )
        metadata = {
            **table_metadata(manifest, ref),
            "dagster/row_count": manifest.num_rows,
            "cells": len(cells),
            "classes": Json(class_counts(manifest)),
            "without_imagery": Json(kinds),
            "map": Markdown(split_map(manifest)),
        }
        if labelled is not None:
            metadata["labelled_pixels"] = Json(labelled)
        warned = replace(_as_check(imagery), blocking=False)
        outcomes = [schema_check(ref.report), *map(_as_check, checks), warned]
        return Outcome(ref.provenance.content, inputs, metadata, outcomes)

    def _record_masks(
        self, store: Store, manifest: pa.Table, cells: list[str]
    ) -> dict[str, dict[str, int]]:
        """Look at every window's mask and note their digest; labelled pixels by split and class."""
        classes = self.task.rule.classes
        root = store.path(self.task.masks_folder)
        masks = MaskRows(manifest, root, self.task.imagery.windows.size, len(classes))
        masks.require_all()
        splits = np.array(manifest["split"].to_pylist(), dtype=object)
        counts = {
            split: masks.counts(np.flatnonzero(splits == split).tolist()).tolist()
            for split in sorted(set(splits.tolist()))
        }
        content = json_digest([[c, content_of(store, self.task.masks_key(c))] for c in cells])
        store.write_json(self.masks_record_key(), {"content": content})
        return {split: dict(zip(classes, n, strict=True)) for split, n in counts.items()}


def _as_check(check: ManifestCheck) -> CheckOutcome:
    return CheckOutcome(check.name, check.passed, check.description, check.metadata)
