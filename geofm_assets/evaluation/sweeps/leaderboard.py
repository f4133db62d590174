"""The leaderboard: models by tasks, gathered from every score there is."""

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from geofm_assets.core.hashing import json_digest
from geofm_assets.core.stage import content_of
from geofm_assets.core.store import Store, TableRef
from geofm_assets.evaluation.registry.entry import DatasetEntry
from geofm_assets.evaluation.registry.registry import Registry
from geofm_assets.evaluation.sweeps import page
from geofm_assets.evaluation.sweeps.schema import LEADERBOARD, LeaderboardRow
from geofm_assets.evaluation.sweeps.settings import SWEEPS

PROBES = "evaluation/probes"
PAGE_KEY = "evaluation/leaderboard.html"
TABLE_KEY = "evaluation/leaderboard.parquet"
_VERSION = "1"
_COPIED = (
    "dataset", "probe", "model", "start", "value", "low", "high", "n", "normalization", "pooling",
    "patch_size", "rate", "best_epoch", "sweep", "precision", "subset", "model_id", "dataset_id",
    "embeddings", "simulated", "metric",
)  # fmt: skip


def score_key(model_id: str, dataset_id: str) -> str:
    """Store key of the scores of a model on a dataset."""
    return f"{PROBES}/{model_id}/{dataset_id}/scores.parquet"


def leaderboard(store: Store) -> TableRef:
    """Gather every score, write the page and its table.

    Shown are datasets as the registry has them today. Where a model was swept in several ways,
    the widest sweep counts.
    """
    entries, keys, shown = _gathered(store)
    rows: list[dict[str, Any]] = []
    for key in shown:
        found = store.read_table(key).to_pylist()
        rows += _rows(found, entries[key.split("/")[3]], key)
    rows.sort(key=_order)
    table = pa.Table.from_pylist(rows, schema=LEADERBOARD)
    store.write_bytes(PAGE_KEY, page.render(rows, len(keys) - len(shown)).encode())
    return store.write_table(
        TABLE_KEY,
        table,
        LeaderboardRow,
        inputs=leaderboard_inputs(store),
        code_version=_VERSION,
        simulated=any(row["simulated"] for row in rows),
    )


def leaderboard_inputs(store: Store) -> str:
    """Digest of every score that is shown, and of what the registry says of its dataset."""
    entries, _, shown = _gathered(store)
    scores = {key: content_of(store, key) for key in shown}
    said = {i: [e.display_name, e.metric] for i, e in entries.items()}
    return json_digest(["leaderboard", _VERSION, scores, said])


def _gathered(store: Store) -> tuple[dict[str, DatasetEntry], list[str], list[str]]:
    """Registered datasets by id, keys of all scores, and of those that are of such a dataset."""
    entries = {e.dataset_id: e for e in Registry(store).read().datasets.values()}
    keys = store.list_keys(PROBES, "/scores.parquet")
    return entries, keys, [key for key in keys if key.split("/")[3] in entries]


def _rows(scores: list[dict[str, Any]], entry: DatasetEntry, key: str) -> Iterable[dict[str, Any]]:
    """Test scores of chosen settings in the dataset's own metric, the widest sweep of each."""
    best: dict[tuple[Any, ...], dict[str, Any]] = {}
    chosen = [s for s in scores if s["chosen"] and s["main"]]
    validated = {_setting(s): s["value"] for s in chosen if s["split"] == "val"}
    for score in chosen:
        if score["split"] != "test":
            continue
        group = (score["probe"], score["precision"], score["subset"])
        kept = best.get(group)
        if kept is None or SWEEPS.index(score["sweep"]) < SWEEPS.index(kept["sweep"]):
            best[group] = score
    for score in best.values():
        yield {
            **{name: score[name] for name in _COPIED},
            "display_name": entry.display_name,
            "task_type": entry.task_type,
            "lower_is_better": entry.lower_is_better,
            "val": validated[_setting(score)],
            "scores": key,
        }


def _order(row: dict[str, Any]) -> tuple[Any, ...]:
    names = ("dataset", "probe", "model", "model_id", "precision")
    return (*(row[name] for name in names), -row["subset"])


def _setting(score: dict[str, Any]) -> tuple[Any, ...]:
    names = ("sweep", "precision", "subset", "probe", "normalization", "pooling", "patch_size")
    return tuple(score[name] for name in (*names, "rate"))
