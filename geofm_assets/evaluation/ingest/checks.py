"""What can be wrong between windows: sizes, duplicates, classes a split lacks, leakage."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from geofm_assets.core.errors import DatasetError
from geofm_assets.evaluation.ingest.options import IngestOptions
from geofm_assets.evaluation.ingest.report import Findings
from geofm_assets.evaluation.ingest.rows import ScannedWindow
from geofm_assets.evaluation.samples.split import (
    Place,
    Split,
    class_gaps,
    overlapping,
    split_samples,
)
from geofm_assets.evaluation.scores import class_slug

_SIZES_SHOWN = 5


def common_size(sizes: Mapping[tuple[int, int], int], findings: Findings) -> int | None:
    """Side of every window in pixels; None, and a finding, if they differ or are not square.

    Args:
        sizes: how many windows are of a height and width.
        findings: where it is written down.
    """
    if len(sizes) > 1:
        most = Counter(sizes).most_common(_SIZES_SHOWN)
        listed = ", ".join(f"{h} x {w} ({n})" for (h, w), n in most)
        fix = "Keep those of one size with --groups or --tags, or make the windows anew"
        findings.add("error", f"Windows are of several sizes: {listed}", fix=fix)
        return None
    ((height, width),) = sizes
    if height != width:
        findings.add("error", f"Windows are {height} x {width} pixels", fix="Make square windows")
        return None
    return height


def look_at_duplicates(rows: Sequence[ScannedWindow], findings: Findings) -> None:
    """Windows of one place and time: an error if their labels differ."""
    same: dict[tuple[Any, ...], list[ScannedWindow]] = defaultdict(list)
    for row in rows:
        window = row.window
        same[str(window.projection), tuple(window.bounds), str(window.time_range)].append(row)
    for held in same.values():
        if len(held) < 2:
            continue
        names = " and ".join(sorted(row.place.sample_id for row in held)[:3])
        if len({row.label_text for row in held}) > 1:
            what = "Windows of one place and time have different labels"
            findings.add_window("error", what, names, "Keep one of them")
        else:
            findings.add_window("warning", "Windows are of one place and time", names)


def look_at_class_names(classes: Sequence[str], findings: Findings) -> None:
    """Classes whose names metrics of single classes (`f1_<class>`) could not be told apart by."""
    fix = (
        "Use letters a-z and digits that tell them apart: in the labels, or with --classes where "
        "labels are class ids"
    )
    first: dict[str, str] = {}
    for name in classes:
        slug = class_slug(name)
        if not slug:
            what = f"Class {name!r} has no letter a-z or digit to name its metrics by"
            findings.add("error", what, "classes", fix)
        elif slug in first:
            what = f"Metrics of classes {first[slug]!r} and {name!r} would both be named {slug}"
            findings.add("error", what, "classes", fix)
        first.setdefault(slug, name)


def look_at_conflicts(conflicts: Mapping[str, int], findings: Findings) -> None:
    """Pixels that polygons of different labels share."""
    if not conflicts:
        return
    pixels, count = sum(conflicts.values()), len(conflicts)
    first = min(conflicts)
    findings.add(
        "warning",
        f"{pixels} pixels of {count} window{'s' * (count > 1)} lie in polygons of different "
        "labels and have none",
        f"window {first} ({conflicts[first]} pixels)",
        "Cut the polygons so that they do not overlap, if these pixels should count",
    )


def divide(
    rows: Sequence[ScannedWindow],
    classes: Sequence[str],
    options: IngestOptions,
    findings: Findings,
) -> Split | None:
    """The division of the windows; what is wrong with it is written down.

    Args:
        rows: usable windows.
        classes: names by class id; empty for regressions.
        options: rule, seed and blocks.
        findings: where it is written down.
    """
    places = [row.place for row in rows]
    if not places:
        return None
    try:
        split = split_samples(places, options.split_rule, options.seed, options.block_m)
    except DatasetError as error:
        findings.add_error(error)
        return None
    empty = [name for name, count in split.counts().items() if not count]
    if empty:
        fix = "Say another --split-rule, or add windows"
        findings.add("error", f"No window is in {' or '.join(empty)}", fix=fix)
    _look_at_classes(places, split, classes, findings)
    _look_at_targets(rows, split, findings)
    _look_at_leakage(places, split, options, findings)
    return split


def _look_at_classes(
    places: Sequence[Place], split: Split, classes: Sequence[str], findings: Findings
) -> None:
    counts = Counter(name for place in places for name in place.classes)
    for name, missing in class_gaps(places, split.by_id).items():
        held = f"{counts[name]} windows" if counts[name] > 1 else "1 window"
        if "train" in missing:
            findings.add(
                "error",
                f"Class {name!r} ({held}) is not in train",
                fix="Put windows of it into train, leave its windows out, or say --split-rule "
                "spatial_blocks or another --seed",
            )
        else:
            findings.add("warning", f"Class {name!r} ({held}) is not in {' and '.join(missing)}")
    unseen = [name for name in classes if not counts[name]]
    if unseen:
        fix = "It cannot be learned or predicted; leave it out of the class names if it should not"
        findings.add("warning", f"No window shows class {', '.join(map(repr, unseen))}", fix=fix)
    train = {name for p in places if split.by_id[p.sample_id] == "train" for name in p.classes}
    if len(train) == 1:
        fix = "There is nothing to tell apart: look at --property-name, --classes or the labels"
        findings.add("warning", f"Train has one class only, {train.pop()!r}", fix=fix)


def _look_at_targets(rows: Sequence[ScannedWindow], split: Split, findings: Findings) -> None:
    """Targets of a regression that never change in train."""
    ranges = [r.target for r in rows if r.target and split.by_id[r.place.sample_id] == "train"]
    if ranges and min(low for low, _ in ranges) == max(high for _, high in ranges):
        fix = "There is nothing to learn: look at --property-name or --label-layer"
        findings.add("error", "Every target of the train split is the same", fix=fix)


def _look_at_leakage(
    places: Sequence[Place], split: Split, options: IngestOptions, findings: Findings
) -> None:
    """Windows of two splits that share ground."""
    pairs = [
        (places[a].sample_id, places[b].sample_id)
        for a, b in overlapping(places)
        if split.by_id[places[a].sample_id] != split.by_id[places[b].sample_id]
    ]
    if not pairs:
        return
    on_purpose = options.split_rule in ("kept", "random")
    count = "1 pair" if len(pairs) == 1 else f"{len(pairs)} pairs"
    findings.add(
        "warning" if on_purpose else "error",
        f"Leakage: {count} of windows of different splits overlap, scores would be too good",
        f"windows {pairs[0][0]} and {pairs[0][1]}",
        "Say --split-rule spatial_blocks, or --split-rule kept to take the source's word",
    )
