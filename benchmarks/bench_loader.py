"""Training samples: files a window, samples a second, and a GPU's waiting for them."""

from pathlib import Path

from benchmarks.harness import run_side
from benchmarks.results import Result, compared
from benchmarks.workplace import Workplace, count_files

_BYTES_A_WINDOW = 2_000_000  # ours, rslearn's default and its fastest
_SAME = 1e-5  # of inputs that are mostly within 0..1; sums are rounded in another order
LAYOUTS = {
    "default": ("rslearn ModelDataset, default layout", 50),
    "fastest": ("rslearn ModelDataset, numpy arrays, SQLite windows, per-layer storage", 8),
}


def run(place: Workplace) -> list[Result]:
    """Files and samples against rslearn's default and its fastest layout."""
    sizes = place.sizes
    world = place.sites(sizes.loader_cells, sizes.loader_windows, clouds=False)
    folder = place.work("loader", fresh=True)
    count = sizes.loader_cells * sizes.loader_windows
    place.require(count * _BYTES_A_WINDOW, "chips and both rslearn layouts")
    store = folder / "store"
    given = {"store": str(store), "mirror": str(world.mirror), "scenes": str(world.scenes)}
    given["inputs_file"] = str(folder / "inputs.npz")
    run_side("sides", "prepare_sites", given)
    run_side("sides", "rasters", given)
    run_side("sides", "manifest", given)
    asked = {**given, "samples": min(sizes.samples, count), "compared": sizes.compared}
    ours = run_side("sides", "loader", asked, repeat=max(2, sizes.repeat))
    results = []
    for layout, (peer, at_least) in LAYOUTS.items():
        dataset = folder / layout
        there = {**given, "dataset": str(dataset), "layout": layout}
        laid = run_side("peers.rslearn_training", "lay_out", there)
        if layout == "default":
            results.append(_files(store, dataset, laid.rows))
        there["samples"] = str(min(sizes.peer_samples, laid.rows))
        theirs = run_side("peers.rslearn_training", "loader", there, repeat=sizes.repeat)
        said = {key: theirs.said[key] for key in ("compared_samples", "worst_difference")}
        results.append(
            compared(
                *(f"samples a second and core, against {layout} layout", ours, theirs, peer),
                unit="samples / CPU s",
                more_is_better=True,
                at_least=at_least,
                note="Both sensors, 12 months of 32 x 32 px, normalised for OlmoEarth, one "
                "process, second pass over the same samples; every pixel valid. Inputs count as "
                f"equal within {_SAME:g}.",
                more={
                    **said,
                    "first_pass_cpu_s": ours.said["first_pass_cpu_s"],
                    "peer_first_pass_cpu_s": theirs.said["first_pass_cpu_s"],
                    "equal": theirs.said["worst_difference"] <= _SAME,
                },
            )
        )
    place.clear_work("loader")
    return results


def _files(store: Path, dataset: Path, windows: int) -> Result:
    """Files a window, counted on disk."""
    (task,) = (store / "tasks").iterdir()
    mine, theirs = count_files(task), count_files(dataset)
    # what the peer's files hold: windows, labels and rasters; and the chips on top
    total = sum(mine.get(kind, 0) for kind in ("dataset", "windows", "rasters", "chips"))
    peers = sum(theirs.values())
    return Result(
        "files a window",
        total / windows,
        "files",
        "rslearn's default layout",
        peers / windows,
        peers / total,
        at_most=0.1,
        rows=windows,
        note="Files that hold windows, labels, rasters and chips; with the cells' sampled points "
        "and the task's tables it is `more.all_files` a window. rslearn's: the dataset without "
        "ingested tiles.",
        more={
            "all_files": sum(mine.values()) / windows,
            "kinds": mine,
            "peer_kinds": theirs,
            "bytes": _bytes(task),
            "peer_bytes": _bytes(dataset),
        },
    )


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
