"""Linear probes trained together against one at a time."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.generate_embeddings import CLASSES, generate
from benchmarks.harness import Arguments, Side, done, measured, run_side, side_main
from benchmarks.results import Result, compared
from benchmarks.workplace import Workplace
from geofm_assets.evaluation.probes.data import ProbeData
from geofm_assets.evaluation.registry.entry import TaskType
from geofm_assets.evaluation.sweeps.settings import RATES

if TYPE_CHECKING:  # it imports torch
    from geofm_assets.evaluation.probes.linear import LinearSweep

# not fields of Sizes, which would make results of other benchmarks count as outdated
_WINDOWS = {"tiny": 40, "small": 200, "full": 500}
_EPOCHS = {"tiny": 5, "small": 50, "full": 50}
_CHAOTIC = 1e-3  # from this rate on rounding decides which samples a probe gets right
_SAME = 0.02  # of accuracies of probes below that rate
_AT_LEAST = 3


def run(place: Workplace) -> list[Result]:
    """Probes of windows and of pixels, against torch's own parts and against ourselves."""
    sizes = place.sizes
    results = []
    for kind in ("windows", "pixels"):
        given = {
            "windows": _WINDOWS[sizes.name],
            "epochs": _EPOCHS[sizes.name],
            "seed": sizes.seed,
            "rates": RATES,
            "dense": kind == "pixels",
        }
        ours = run_side("bench_evaluation", "together", given, repeat=sizes.repeat)
        alone = run_side("bench_evaluation", "alone", given, repeat=sizes.repeat)
        usual = run_side("peers.torch_probes", "one_at_a_time", given, repeat=sizes.repeat)
        note = (
            f"{ours.rows} probes: {len(RATES)} rates on 4 inputs of {given['windows']} windows, "
            "embeddings of 128 numbers, 10 classes, 50 epochs in batches of 128, val looked at "
            "every 5. Pixels: 4 x 4 tokens a window, 16 pixels each. One thread. Accuracies on "
            f"val count as equal to torch's within {_SAME} at rates below {_CHAOTIC:g}; larger "
            "rates multiply rounding. Against ourselves they have to be the same to the last bit. "
            "Of pixels, two thirds of our time are matrix products at the processor's speed, which "
            "no batching can save."
        )
        off = np.abs(np.subtract(ours.said["last"], usual.said["last"]))
        calm = np.tile([rate < _CHAOTIC for rate in RATES], len(off) // len(RATES))
        more = {
            "equal": bool(off[calm].max() <= _SAME),
            "largest_difference": float(off[calm].max()),
            "mean_difference_of_all": float(off.mean()),
        }
        fields: dict[str, Any] = {
            "per_row": 1e3,
            "unit": "CPU ms a probe",
            "at_least": _AT_LEAST,
            "note": note,
        }
        name = f"linear probes of {kind}"
        torch_peer = "torch's modules and AdamW, one at a time"
        results.append(compared(name, ours, usual, torch_peer, more=more, **fields))
        same = {"equal": ours.said["last"] == alone.said["last"]}
        results.append(
            compared(f"{name}, batching alone", ours, alone, "our own, one at a time", more=same,
                     **fields)
        )  # fmt: skip
    return results


def together(arguments: Arguments) -> Side:
    """All probes in one pass."""
    train, val = _data(arguments)
    rates = arguments["rates"]
    with measured() as taken:
        sweep = _fit(arguments, train, val, rates)
    return done(taken, len(rates) * len(train.features), last=_last(sweep))


def alone(arguments: Arguments) -> Side:
    """The same code, a pass a probe."""
    train, val = _data(arguments)
    last: list[float] = []
    with measured() as taken:
        for number in range(len(train.features)):
            one, asked = (
                replace(d, features=d.features[number : number + 1]) for d in (train, val)
            )
            for rate in arguments["rates"]:
                last += _last(_fit(arguments, one, asked, [rate]))
    return done(taken, len(last), last=last)


def _data(arguments: Arguments) -> tuple[ProbeData, ProbeData]:
    """Data, after a fit of a handful: first calls load libraries. It takes one thread by itself."""
    train, val = generate(arguments["windows"], arguments["seed"], dense=arguments["dense"])
    few = train.take(np.arange(8))
    _fit({**arguments, "epochs": 1}, few, few, [0.01])
    return train, val


def _fit(
    arguments: Arguments, train: ProbeData, val: ProbeData, rates: list[float]
) -> "LinearSweep":
    from geofm_assets.evaluation.probes.linear import fit_linear

    task_type: TaskType = "segmentation" if arguments["dense"] else "classification"
    metric = "overall_acc" if arguments["dense"] else "accuracy"
    return fit_linear(
        train, val, task_type=task_type, classes=CLASSES, rates=rates, metric=metric,
        epochs=arguments["epochs"], batch_size=128, seed=0, eval_every=5,
    )  # fmt: skip


def _last(sweep: "LinearSweep") -> list[float]:
    """Accuracy on val of every probe after the last epoch."""
    return [float(value) for value in sweep.curve[..., -1].reshape(-1)]


SIDES = {"together": together, "alone": alone}

if __name__ == "__main__":
    side_main(SIDES)
