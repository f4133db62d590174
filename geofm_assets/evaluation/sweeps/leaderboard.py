"""The leaderboard: models by tasks, gathered from every score there is."""

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from geofm_assets.core.hashing import json_digest
from geofm_assets.core.stage import content_of
from geofm_assets.core.store import Store, TableRef
from geofm_assets.evaluation.registry.entry import DatasetEntry
from geofm_assets.evaluation.registry.lock import exclusive
from geofm_assets.evaluation.registry.registry import Registry
from geofm_assets.evaluation.sweeps import page
from geofm_assets.evaluation.sweeps.schema import (
    KIND,
    LEADERBOARD,
    PROBE_SCORE,
    SETTING,
    TRAINED,
    LeaderboardRow,
)
from geofm_assets.evaluation.sweeps.settings import SWEEPS, SweepSettings

SCORES_VERSION = "2"
"""Of the code that makes scores, and of their table."""
PROBES = "evaluation/probes"
PAGE_KEY = "evaluation/leaderboard.html"
TABLE_KEY = "evaluation/leaderboard.parquet"
LOCK_KEY = "evaluation/.leaderboard.lock"
_VERSION = "2"
_WAIT_S = 300.0  # gathering takes seconds even of thousands of scores
_COPIED = (
    "dataset", "probe", "model", "start", "value", "low", "high", "n", "normalization", "pooling",
    "patch_size", "rate", "best_epoch", "sweep", "precision", "subset", *TRAINED, "default_patch",
    "test_samples", "seen_in_training", "cosine_mean", "cosine_min", "model_id", "dataset_id",
    "embeddings", "simulated", "metric",
)  # fmt: skip
_USUAL = SweepSettings()


def score_key(model_id: str, dataset_id: str) -> str:
    """Store key of the scores of a model on a dataset."""
    return f"{PROBES}/{model_id}/{dataset_id}/scores.parquet"


def leaderboard(store: Store) -> TableRef:
    """Gather every score, write the page and its table; one process at a time.

    Shown are datasets as the registry has them today. Where a model was swept in several ways,
    the widest sweep of each seed, patch size and training stands in the table, and one of them is
    `first`: the widest sweep, the model's own patch size, the usual training, the smallest seed,
    in that order.

    Raises:
        RegistryError: another process wrote it for minutes, or the store has no locks.
    """
    taken = "Another process is writing the leaderboard"
    with exclusive(store, LOCK_KEY, taken=taken, wait_s=_WAIT_S):
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


def read_scores(store: Store, key: str) -> pa.Table:
    """PROBE_SCORE rows of a key; none if there are none, or another version wrote them."""
    return store.read_table(key) if _readable(store, key) else PROBE_SCORE.empty_table()


def leaderboard_inputs(store: Store) -> str:
    """Digest of every score that is shown, and of what the registry says of its dataset."""
    entries, _, shown = _gathered(store)
    scores = {key: content_of(store, key) for key in shown}
    said = {i: [e.display_name, e.metric] for i, e in entries.items()}
    return json_digest(["leaderboard", _VERSION, scores, said])


def _gathered(store: Store) -> tuple[dict[str, DatasetEntry], list[str], list[str]]:
    """Registered datasets by id, keys of all scores, and of those that can be shown."""
    entries = {e.dataset_id: e for e in Registry(store).read().datasets.values()}
    keys = store.list_keys(PROBES, "/scores.parquet")
    shown = [key for key in keys if key.split("/")[3] in entries and _readable(store, key)]
    return entries, keys, shown


def _readable(store: Store, key: str) -> bool:
    """Whether scores are there and of this version of the table."""
    found = store.provenance(key)
    return found is not None and found.code_version == SCORES_VERSION


def _rows(scores: list[dict[str, Any]], entry: DatasetEntry, key: str) -> Iterable[dict[str, Any]]:
    """Test scores of chosen settings in the dataset's own metric, the widest sweep of each."""
    widest: dict[tuple[Any, ...], dict[str, Any]] = {}
    chosen = [s for s in scores if s["chosen"] and s["main"]]
    validated = {_setting(s): s["value"] for s in chosen if s["split"] == "val"}
    for score in chosen:
        if score["split"] != "test":
            continue
        group = tuple(score[name] for name in ("probe", *KIND) if name != "sweep")
        kept = widest.get(group)
        if kept is None or SWEEPS.index(score["sweep"]) < SWEEPS.index(kept["sweep"]):
            widest[group] = score
    first: dict[tuple[Any, ...], dict[str, Any]] = {}
    for score in sorted(widest.values(), key=_rank):
        first.setdefault(_rivals(score), score)
    for score in widest.values():
        yield {
            **{name: score[name] for name in _COPIED},
            "display_name": entry.display_name,
            "task_type": entry.task_type,
            "lower_is_better": entry.lower_is_better,
            "val": validated[_setting(score)],
            "scores": key,
            "first": first[_rivals(score)] is score,
        }


def _rivals(score: dict[str, Any]) -> tuple[Any, ...]:
    """Rows of the same have one place on the page."""
    return score["probe"], score["precision"], score["subset"]


def _rank(score: dict[str, Any]) -> tuple[Any, ...]:
    """The smallest stands on the page: default settings first."""
    training = [score[name] for name in TRAINED if name != "seed"]
    usual = [getattr(_USUAL, name) for name in TRAINED if name != "seed"]
    sweep = SWEEPS.index(score["sweep"])
    other = (not score["default_patch"], training != usual)
    return sweep, *other, score["seed"], score["patch_size"], *training


def _order(row: dict[str, Any]) -> tuple[Any, ...]:
    names = ("dataset", "probe", "model", "model_id", "precision")
    return (*(row[name] for name in names), -row["subset"], not row["first"], *_rank(row))


def _setting(score: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(score[name] for name in SETTING)
