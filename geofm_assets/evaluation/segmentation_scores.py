"""Scores of a segmentation head, from its counted pixels and nothing else.

Pixels of a fire resemble each other, and so do its windows: what is drawn in the bootstrap is
never a pixel but a window, or better a whole group (a fire, its ring and its complex).
"""

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from geofm_assets.evaluation.bootstrap import Values, interval
from geofm_assets.evaluation.schema import SCORE
from geofm_assets.evaluation.scores import SPLITS, class_slugs
from geofm_assets.evaluation.segmentation_counts import Part, metrics_of, said_of


def segmentation_scores(
    rows: pa.Table,
    classes: tuple[str, ...],
    *,
    groups: Mapping[str, str] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> pa.Table:
    """Pixel accuracy, macro-F1, mean IoU and per-class IoU, F1, precision and recall by split.

    Means are over the classes that occur in the split as truth or prediction. Intervals are the
    2.5th and 97.5th percentile of a seeded bootstrap over groups, or over windows where there are
    no groups or the split has only one.

    Args:
        rows: SEGMENTATION rows of one model; other splits than train, val and test are left out.
        classes: names in the order of `class_id`.
        groups: group of each sample, by sample_id; what belongs together is drawn together.
        resamples: bootstrap resamples.
        seed: of the bootstrap.

    Returns:
        SCORE table, splits in order train, val, test; a split without a labelled pixel has none.
        `n` is how many windows have pixels the metric rests on, `groups` how many groups.

    Raises:
        ExperimentError: rows of several models, other classes, or a sample without a group.
        ConfigError: two class names are spelt alike.
    """
    slugs, said = class_slugs(classes), said_of(rows)
    found: list[dict[str, object]] = []
    for split in SPLITS:
        part = Part.of(rows.filter(pc.equal(rows["split"], split)), len(classes), groups)
        if not part.pixels.any():
            continue
        drawn = part.resampled(resamples, seed)
        total = part.pixels.sum(axis=0)
        averaged = total.sum(axis=0) > 0
        value, spread = metrics_of(total, averaged), metrics_of(drawn, averaged)
        for name in ("accuracy", "macro_f1", "mean_iou"):
            low, high = interval(spread[name])
            counts = part.counted(part.labelled())
            found.append(_row(said, split, name, (value[name], low, high), counts))
        for name in ("precision", "recall", "f1", "iou"):
            low, high = interval(spread[name])
            for k, slug in enumerate(slugs):
                counts = part.counted(part.rests(name, k))
                numbers = value[name][k], low[k], high[k]
                found.append(_row(said, split, f"{name}_{slug}", numbers, counts))
    return pa.Table.from_pylist(found, schema=SCORE)


def _row(
    said: Mapping[str, object],
    split: str,
    metric: str,
    numbers: tuple[Values, Values, Values],
    counts: tuple[int, int | None],
) -> dict[str, object]:
    value, low, high = map(float, numbers)
    told = {"value": value, "low": low, "high": high, "n": counts[0], "groups": counts[1]}
    return {**said, "split": split, "metric": metric, **told}
