"""What people see of a sweep in asset metadata, and its checks."""

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from geofm_assets.core.outcome import (
    CheckOutcome,
    Location,
    Markdown,
    Outcome,
    markdown_table,
    table_metadata,
)
from geofm_assets.evaluation.backbones.base import ModelInfo
from geofm_assets.evaluation.embeddings.store import EmbeddingSet
from geofm_assets.evaluation.sweeps import page

if TYPE_CHECKING:
    from geofm_assets.evaluation.embeddings.encode import Samples

NO_WEIGHTS = "no weights"
"""Start of a floor; see backbones/baselines.py."""
RANDOM = "random initialisation"
"""How the start of what was drawn from a seed begins; see models/encoders.py."""
_NAMED = 20


def readable(rows: pa.Table) -> pa.Table:
    """Test scores of chosen settings as people read them."""
    shown = [
        {
            "probe": r["probe"],
            "metric": r["metric"],
            "test": page.number(r["value"]),
            "95 % interval": f"{page.number(r['low'])} to {page.number(r['high'])}",
            "samples": r["n"],
            "chosen": page.setting(r),
            "encoder": r["start"],
            "data": "SIMULATED" if r["simulated"] else "real",
            "seen in training": page.seen(r),
        }
        for r in rows.to_pylist()
        if r["split"] == "test"
    ]
    none = {"probe": "none", "metric": "", "test": "", "samples": 0}
    return pa.Table.from_pylist(shown or [none])


def standings(table: pa.Table) -> pa.Table:
    """The leaderboard as people read it in the UI."""
    shown = [
        {
            "task": r["display_name"],
            "probe": r["probe"],
            "model": r["model"],
            "test": f"{page.number(r['value'])} {r['metric']}",
            "95 % interval": f"{page.number(r['low'])} to {page.number(r['high'])}",
            "encoder": r["start"],
            "data": "SIMULATED" if r["simulated"] else "real",
            "seen in training": page.seen(r),
            "chosen": page.setting(r),
        }
        for r in table.to_pylist()
    ]
    return pa.Table.from_pylist(shown or [{"task": "none yet"}])


def described(embeddings: EmbeddingSet) -> dict[str, Any]:
    """What a header says, without the list of samples."""
    names = ("normalization", "patch_size", "precision", "float16", "content", "empty_places")
    return {name: embeddings.meta[name] for name in names if name in embeddings.meta}


def once_check(sets: list[EmbeddingSet], samples: "Samples") -> CheckOutcome:
    """That each file has each sample of the dataset once, in the dataset's order."""
    wanted = samples.table["sample_id"].to_pylist()
    wrong = [one.key for one in sets if one.sample_ids != wanted]
    repeated = len(wanted) - len(set(wanted))
    text = f"{len(wanted)} samples, each once in each of {len(sets)} files"
    if wrong or repeated:
        text = f"{repeated} samples twice; other samples than the dataset's in {', '.join(wrong)}"
    measured = {"samples": len(wanted), "files": len(sets)}
    return CheckOutcome("encodings_once", not wrong and not repeated, text, measured)


def scored(
    content: str,
    inputs: str,
    rows: pa.Table,
    check: CheckOutcome,
    path: str,
    *,
    skipped: bool = False,
    notes: tuple[str, ...] = (),
) -> Outcome:
    """What a sweep's rows come to; there is at least one."""
    metadata: dict[str, Any] = {
        **table_metadata(rows),
        "scores": Markdown(markdown_table(readable(rows))),
        "simulated": bool(pc.any(rows["simulated"]).as_py()),
        "path": Location(path),
    }
    seen = seen_check(rows)
    if not seen.passed:
        notes = (seen.description, *notes)
    if notes:
        metadata["notes"] = Markdown("\n".join(f"- {note}" for note in notes))
    return Outcome(content, inputs, metadata, [check, seen], skipped)


def seen_check(rows: pa.Table) -> CheckOutcome:
    """Warns where test samples lie in windows the model was fine-tuned on, or nobody knows."""
    (row,) = rows.slice(0, 1).to_pylist()
    text = page.seen(row)
    good = "Not a checkpoint that was fine-tuned here"
    if row["seen_in_training"] is not None:
        good = f"None of {row['test_samples']:,} test samples lies in its training windows"
    measured = {"seen_in_training": row["seen_in_training"], "test_samples": row["test_samples"]}
    return CheckOutcome(
        "seen_in_training",
        not text,
        text or good,
        {name: value for name, value in measured.items() if value is not None},
        blocking=False,
    )


def weights_check(info: ModelInfo) -> CheckOutcome:
    """That a model has the weights it says it has.

    A start from a seed passes, and is called what it is. Whatever else says it has weights must
    show a file or tensors they came from, and none of its own may have been left out.
    """
    proof = info.proof
    measured: dict[str, Any] = {"start": info.start, "model_id": info.model_id}
    if info.start == NO_WEIGHTS:
        return CheckOutcome("weights", True, "A floor that has no weights to load", measured)
    if info.start.startswith(RANDOM):
        text = f"RANDOM START, nothing pretrained was loaded: {info.start}"
        return CheckOutcome("weights", True, text, {**measured, "random_start": True})
    if proof is None or proof.sha256 is None:
        text = f"The model says its weights are {info.start!r}, and nothing proves it"
        return CheckOutcome("weights", False, text, measured)
    measured |= {
        "random_start": False,
        "sha256": proof.sha256,
        "share": proof.share,
        "parameters_loaded": proof.parameters_loaded,
        "parameters_total": proof.parameters_total,
        "missing": list(proof.missing[:_NAMED]),
        "unexpected": list(proof.unexpected[:_NAMED]),
        "unused": proof.unused,
    }
    wrong = [
        f"{len(keys)} keys {what}: {', '.join(keys[:_NAMED])}"
        for what, keys in (("missing", proof.missing), ("unexpected", proof.unexpected))
        if keys
    ]
    passed = not wrong and proof.share > 0
    text = f"{info.start}: {proof.share:.1%} of {proof.parameters_total:,} parameters loaded"
    return CheckOutcome("weights", passed, "; ".join([text, *wrong]), measured)
