"""What people see of a sweep in asset metadata, and its checks."""

from typing import Any

import pyarrow as pa

from geofm_assets.core.outcome import CheckOutcome
from geofm_assets.evaluation.backbones.base import EvalModel
from geofm_assets.evaluation.embeddings.encode import Samples
from geofm_assets.evaluation.embeddings.store import EmbeddingSet
from geofm_assets.evaluation.sweeps import page


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
        }
        for r in table.to_pylist()
    ]
    return pa.Table.from_pylist(shown or [{"task": "none yet"}])


def described(embeddings: EmbeddingSet) -> dict[str, Any]:
    """What a header says, without the list of samples."""
    names = ("normalization", "patch_size", "precision", "float16", "content", "empty_places")
    return {name: embeddings.meta[name] for name in names if name in embeddings.meta}


def once_check(sets: list[EmbeddingSet], samples: Samples) -> CheckOutcome:
    """That each file has each sample of the dataset once, in the dataset's order."""
    wanted = samples.table["sample_id"].to_pylist()
    wrong = [one.key for one in sets if one.sample_ids != wanted]
    repeated = len(wanted) - len(set(wanted))
    text = f"{len(wanted)} samples, each once in each of {len(sets)} files"
    if wrong or repeated:
        text = f"{repeated} samples twice; other samples than the dataset's in {', '.join(wrong)}"
    measured = {"samples": len(wanted), "files": len(sets)}
    return CheckOutcome("encodings_once", not wrong and not repeated, text, measured)


def weights_check(model: EvalModel) -> CheckOutcome:
    """That a start which is not random really loaded something."""
    info = model.info
    proof = getattr(model, "proof", None)
    if proof is None:
        return CheckOutcome("weights", True, f"{info.start}; model {info.model_id}")
    passed = info.start.startswith("random") or (proof.share > 0 and not proof.unexpected)
    text = f"{info.start}: {proof.share:.1%} of parameters loaded"
    measured = {"share": proof.share, "sha256": proof.sha256 or ""}
    return CheckOutcome("weights", passed, text, measured)
