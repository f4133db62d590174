"""A sweep over cached embeddings against one encoding a run, in one process."""

from pathlib import Path
from typing import Any

from benchmarks.harness import Arguments, Side, done, measured, run_side, side_main
from benchmarks.results import Result
from benchmarks.workplace import Workplace

MODEL = "olmoearth_v1_nano"
PEER = "one encoding a run"
# not fields of Sizes, which would make results of other benchmarks count as outdated
_WINDOWS = {"tiny": 21, "small": 140, "full": 500}
_MONTHS = {"tiny": 2, "small": 12, "full": 12}


def run(place: Workplace) -> list[Result]:
    """Encodings a sample, wall time of a full sweep, and of the same sweep once more."""
    sizes = place.sizes
    store = place.work("sweeps", fresh=True) / "store"
    months = _MONTHS[sizes.name]
    given = {
        "store": str(store),
        "windows": _WINDOWS[sizes.name],
        "months": months,
        "seed": sizes.seed,
    }
    run_side("bench_sweeps", "prepare", given)
    side = run_side("bench_sweeps", "sweeps", given)
    place.clear_work("sweeps")
    said, rows = side.said, side.rows
    more = {
        "equal": said["equal"],
        "largest_difference": said["largest_difference"],
        "first_wall_s": said["first_s"],
        "second_wall_s": said["second_s"],
        "peer_wall_s": said["peer_s"],
        "peer_cpu_s": said["peer_cpu_s"],
        "cpu_ratio": said["peer_cpu_s"] / said["first_cpu_s"],
        "encoding_s": said["encoding_s"],
        "runs": said["runs"],
        "chosen": said["chosen"],
        "test": said["test"],
    }
    note = (
        f"{MODEL} from a random start, windows of 16 x 16 px, {months} months of Sentinel-2, "
        "patches of 4 px; 8 rates x 2 normalisations x 2 poolings, and kNN for each of the "
        "latter. Both sides in one process with one thread, models built and imports done before."
    )
    shared: dict[str, Any] = {"rows": rows, "note": note, "more": more}
    return [
        Result(
            *("sweep, encodings a sample", said["encoded"] / rows, "passes", PEER),
            peer_value=said["peer_encoded"] / rows,
            ratio=said["peer_encoded"] / said["encoded"],
            at_most=2,
            **shared,
        ),
        Result(
            *("sweep, first", said["first_s"], "wall s", PEER),
            peer_value=said["peer_s"],
            ratio=said["peer_s"] / said["first_s"],
            at_least=8,
            cpu_s=said["first_cpu_s"],
            peak_mb=side.peak_mb,
            **shared,
        ),
        Result(
            *("sweep, the same again", 100 * said["second_s"] / said["first_s"], "% of the first"),
            at_most=10,
            cpu_s=said["second_cpu_s"],
            rows=rows,
            note=note,
            more={**more, "equal": said["encoded_again"] == 0, "encoded": said["encoded_again"]},
        ),
    ]


def prepare(arguments: Arguments) -> Side:
    """A registered dataset."""
    from benchmarks.generate_samples import generate
    from geofm_assets.core.store import Store

    with measured() as taken:
        store = Store(Path(arguments["store"]))
        generate(store, arguments["windows"], arguments["seed"], arguments["months"])
    return done(taken, int(arguments["windows"]))


def sweeps(arguments: Arguments) -> Side:
    """A full sweep, the same again, and each of its runs with an encoding of its own."""
    import torch

    from benchmarks.generate_samples import NAME
    from benchmarks.peers import encode_per_run
    from geofm_assets.core.store import Store
    from geofm_assets.evaluation.backbones.build import build_model
    from geofm_assets.evaluation.registry.registry import Registry
    from geofm_assets.evaluation.sweeps.run import run_sweep

    torch.set_num_threads(1)
    store = Store(Path(arguments["store"]))
    entry = Registry(store).get(NAME)
    model = build_model(MODEL)

    def ours() -> Any:
        return run_sweep(store, [MODEL], [NAME], "full", build=lambda _: model)

    encode_per_run.warm_up(model, store, entry)
    with measured() as first:
        result = ours()
    with measured() as second:
        again = ours()
    with measured() as theirs:
        peer = encode_per_run.sweep(model, store, entry)
    mine = {row["probe"]: row for row in result.test.to_pylist()}
    differences = [abs(mine[probe]["value"] - found.test) for probe, found in peer.best.items()]
    same = all(
        (mine[probe]["normalization"], mine[probe]["pooling"], mine[probe]["rate"]) == found.setting
        for probe, found in peer.best.items()
    )
    costs = [store.read_json(key) for key in store.list_keys("evaluation/embeddings", ".cost.json")]
    return done(
        first, sum(entry.split.counts.values()),
        first_s=first.wall_s, first_cpu_s=first.cpu_s,
        second_s=second.wall_s, second_cpu_s=second.cpu_s,
        peer_s=theirs.wall_s, peer_cpu_s=theirs.cpu_s,
        encoded=result.encoded, encoded_again=again.encoded, peer_encoded=peer.encoded,
        encoding_s=sum(cost["seconds_per_sample"] * cost["samples"] for cost in costs),
        runs=peer.runs, equal=same and max(differences) < 1e-3,
        largest_difference=max(differences),
        chosen={probe: list(found.setting) for probe, found in peer.best.items()},
        test={probe: row["value"] for probe, row in mine.items()},
    )  # fmt: skip


SIDES = {"prepare": prepare, "sweeps": sweeps}

if __name__ == "__main__":
    side_main(SIDES)
