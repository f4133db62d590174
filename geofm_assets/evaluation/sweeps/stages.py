"""How embeddings, probe scores and the leaderboard are made, stage by stage.

Plain Python: a stage can be made from a notebook with a `Store`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from geofm_assets.core.errors import DatasetError
from geofm_assets.core.hashing import json_digest
from geofm_assets.core.outcome import (
    Json,
    Location,
    Markdown,
    Outcome,
    kept_check,
    markdown_table,
    schema_check,
    table_metadata,
)
from geofm_assets.core.progress import Report, silent
from geofm_assets.core.stage import inputs_digest
from geofm_assets.core.store import Store, TableRef
from geofm_assets.evaluation.backbones.base import EvalModel, ModelInfo, Normalization
from geofm_assets.evaluation.embeddings.store import (
    ENCODE_VERSION,
    EmbeddingSet,
    EncodingKey,
    open_embeddings,
    quantized,
)
from geofm_assets.evaluation.embeddings.suitability import choose_patch_size, require_suitable
from geofm_assets.evaluation.registry.entry import DatasetEntry
from geofm_assets.evaluation.registry.lock import exclusive
from geofm_assets.evaluation.sweeps.leaderboard import (
    PAGE_KEY,
    SCORES_VERSION,
    TABLE_KEY,
    leaderboard,
    leaderboard_inputs,
    read_scores,
    score_key,
)
from geofm_assets.evaluation.sweeps.schema import KIND, PROBE_SCORE, ProbeScore
from geofm_assets.evaluation.sweeps.settings import SweepSettings
from geofm_assets.evaluation.sweeps.shown import (
    described,
    once_check,
    scored,
    standings,
    weights_check,
)
from geofm_assets.evaluation.sweeps.training_windows import seen_in_training

if TYPE_CHECKING:
    from geofm_assets.evaluation.embeddings.encode import Encoded, Samples

_WAIT_S = 300.0  # rows are written in milliseconds; whoever waits longer waits for what is stuck


def swept(info: ModelInfo, entry: DatasetEntry, settings: SweepSettings) -> list[EncodingKey]:
    """Encodings a sweep needs of a model on a dataset.

    Raises:
        ModelInputError: the model cannot run so.
    """
    patch = settings.patch_size or choose_patch_size(info, entry)
    names = settings.normalizations(info.normalizations)
    for name in names:
        require_suitable(info, entry, name, patch)
    return [EncodingKey(info.model_id, entry.dataset_id, name, patch) for name in names]


@dataclass(frozen=True)
class EmbeddingsStage:
    """Every sample of a dataset through a model, once for each normalisation."""

    settings: SweepSettings = field(default_factory=SweepSettings)
    batch_size: int | None = None
    code_version: str = ENCODE_VERSION

    def inputs(self, info: ModelInfo, entry: DatasetEntry) -> str:
        """The model, the dataset, and how they are encoded."""
        return inputs_digest(self, sorted(key.key() for key in swept(info, entry, self.settings)))

    def exists(self, store: Store, info: ModelInfo, entry: DatasetEntry) -> bool:
        """Whether every file is there."""
        keys = swept(info, entry, self.settings)
        return all(store.exists(key.key(self.settings.precision)) for key in keys)

    def make(
        self,
        store: Store,
        model: EvalModel,
        samples: "Samples",
        entry: DatasetEntry,
        force: bool = False,
        report: Report = silent,
    ) -> Outcome:
        """Encode what is not there."""
        made, small = self.encode(store, model, samples, entry, force, report)
        sets = {one.embeddings.key: one.embeddings for one in made}
        first = made[0].embeddings.meta
        encoded = sum(one.encoded for one in made)
        size = sum(array.nbytes for one in sets.values() for array in one.arrays.values())
        without = {name for one in sets.values() for name in one.meta["without_data"]}
        metadata: dict[str, Any] = {
            "model_id": model.info.model_id,
            "encoder_start": model.info.start,
            "dataset_id": entry.dataset_id,
            "samples": len(samples),
            "samples_encoded_now": encoded,
            "seconds": round(sum(one.seconds for one in made), 3),
            "megabytes": round(size / 1e6, 3),
            "embedding_size": first["model"]["embedding_size"],
            "samples_without_data": len(without),
            "simulated": bool(first["simulated"]),
            "files": Json({key: described(one) for key, one in sets.items()}),
            "path": Location(f"{store.url}/{made[0].embeddings.key.rsplit('/', 1)[0]}"),
        }
        if small:
            metadata["int8_cosine"] = Json({one.key: one.meta["cosine"] for one in small})
        checks = [once_check(list(sets.values()), samples), weights_check(model.info)]
        content = json_digest({key: one.content for key, one in sets.items()})
        inputs = self.inputs(model.info, entry)
        return Outcome(content, inputs, metadata, checks, skipped=encoded == 0)

    def encode(
        self,
        store: Store,
        model: EvalModel,
        samples: "Samples",
        entry: DatasetEntry,
        force: bool = False,
        report: Report = silent,
    ) -> "tuple[list[Encoded], list[EmbeddingSet]]":
        """The sweep's encodings, from the store or through the encoder, and their int8 forms."""
        from geofm_assets.evaluation.embeddings.encode import encode

        made, small = [], []
        for key in swept(model.info, entry, self.settings):
            normalization: Normalization = (
                "pretrained" if key.normalization == "pretrained" else "dataset"
            )
            one = encode(
                model, samples, entry, store, normalization, key.patch_size,
                report=report, batch_size=self.batch_size, force=force,
            )  # fmt: skip
            made.append(one)
            if self.settings.precision == "int8":
                small.append(quantized(store, one.embeddings))
        return made, small


@dataclass(frozen=True)
class ProbeScoresStage:
    """kNN and linear probes of a model on a dataset."""

    settings: SweepSettings = field(default_factory=SweepSettings)
    code_version: str = SCORES_VERSION

    def key(self, info: ModelInfo, entry: DatasetEntry) -> str:
        """Store key of the scores."""
        return score_key(info.model_id, entry.dataset_id)

    def inputs(self, info: ModelInfo, entry: DatasetEntry) -> str:
        """The model, the dataset, how they were encoded, and the settings."""
        keys = [key.key(self.settings.precision) for key in swept(info, entry, self.settings)]
        entry_said = [entry.dataset_id, entry.task_type, entry.metric, entry.classes]
        settings = self.settings.model_dump(mode="json")
        return inputs_digest(self, keys, ENCODE_VERSION, entry_said, settings)

    def make(
        self,
        store: Store,
        info: ModelInfo,
        samples: "Samples",
        entry: DatasetEntry,
        force: bool = False,
        report: Report = silent,
    ) -> Outcome:
        """Probe the embeddings in the store; rows of other sweeps are kept.

        Raises:
            DatasetError: a sample set other than the dataset's, or embeddings are missing.
            RegistryError: another process kept the scores locked, or the store has no locks.
        """
        from geofm_assets.evaluation.sweeps.probing import probe_scores

        key, inputs = self.key(info, entry), self.inputs(info, entry)
        found = read_scores(store, key)
        ours = found.filter(pc.equal(found["inputs"], inputs))
        if ours.num_rows and not force:
            provenance = store.provenance(key)
            content = provenance.content if provenance else ""
            path = f"{store.url}/{key}"
            return scored(content, inputs, ours, kept_check(found), path, skipped=True)
        sets = self._open(store, info, entry)
        probed = probe_scores(
            info, entry, samples, sets, self.settings,
            inputs=inputs, seen=seen_in_training(store, info, entry, samples.table), report=report,
        )  # fmt: skip
        table = pa.Table.from_pylist(probed.rows, schema=PROBE_SCORE)
        ref = self._add(store, key, table)
        path, check = f"{store.url}/{key}", schema_check(ref.report)
        return scored(ref.provenance.content, inputs, table, check, path, notes=probed.notes)

    def _add(self, store: Store, key: str, table: pa.Table) -> TableRef:
        """Put a sweep's rows beside those of others, also of one that ended while it ran."""
        taken = "Another process is writing these scores"
        lock = key.replace("scores.parquet", ".scores.lock")
        with exclusive(store, lock, taken=taken, wait_s=_WAIT_S):
            found = read_scores(store, key)
            others = found.filter(pc.invert(_same_kind(found, table)))
            both = pa.concat_tables([others, table]).combine_chunks()
            both = both.take(pc.sort_indices(both, [(name, "ascending") for name in KIND]))
            return store.write_table(
                key,
                both,
                ProbeScore,
                inputs=inputs_digest(self, sorted(set(both["inputs"].to_pylist()))),
                code_version=self.code_version,
                simulated=bool(pc.any(both["simulated"]).as_py()),
            )

    def _open(
        self, store: Store, info: ModelInfo, entry: DatasetEntry
    ) -> Mapping[EncodingKey, EmbeddingSet]:
        sets = {}
        for key in swept(info, entry, self.settings):
            found = open_embeddings(store, key.key())
            if found.meta["code_version"] != ENCODE_VERSION:
                raise DatasetError(
                    f"The embeddings are of version {found.meta['code_version']} of the code, "
                    f"this is {ENCODE_VERSION}",
                    where=f"{store.url}/{found.key}",
                    fix="Encode the dataset again",
                )
            sets[key] = quantized(store, found) if self.settings.precision == "int8" else found
        return sets


@dataclass(frozen=True)
class LeaderboardStage:
    """Every score there is, on one page."""

    code_version: str = "2"

    def key(self, partition: str = "") -> str:
        """Store key of the table beside the page."""
        return TABLE_KEY

    def inputs(self, store: Store, partition: str = "") -> str:
        """Every score of the registry's datasets."""
        return leaderboard_inputs(store)

    def make(self, store: Store) -> Outcome:
        """Write page and table."""
        ref = leaderboard(store)
        table = store.read_table(TABLE_KEY)
        metadata = {
            **table_metadata(table, ref),
            "dagster/row_count": table.num_rows,
            "page": Location(f"{store.url}/{PAGE_KEY}"),
            "leaderboard": Markdown(markdown_table(standings(table))),
        }
        checks = [schema_check(ref.report)]
        return Outcome(ref.provenance.content, ref.provenance.inputs, metadata, checks)


def _same_kind(found: pa.Table, new: pa.Table) -> pa.ChunkedArray:
    """Rows that a sweep's new rows, all of one kind, replace."""
    masks = [pc.equal(found[name], new[name][0]) for name in KIND]
    return reduce(pc.and_, masks)
