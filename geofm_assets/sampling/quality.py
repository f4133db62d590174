"""How good a set of labels is to learn from, before any imagery is fetched.

The three figures are those of olmoearth_projects' label_quality: how uneven the classes are, how
far a label can be guessed from where it lies, and how much of the area each class covers. They
describe; nothing is refused because of them.
"""

from typing import Any

import numpy as np
import pyarrow as pa

from geofm_assets.sampling.leakage import unit_vectors

NEIGHBOURS = 5


def label_quality(points: pa.Table, k: int = NEIGHBOURS) -> dict[str, Any]:
    """The three figures of a table of labelled points.

    Args:
        points: columns `lon`, `lat` (degrees, EPSG:4326) and `class_name`.
        k: neighbours asked for their label.

    Returns:
        JSON-encodable: `points`, `label_imbalance`, `spatial_clustering`, `spatial_extent`.
    """
    lon, lat = points["lon"].to_numpy(), points["lat"].to_numpy()
    labels = np.array(points["class_name"].to_pylist(), dtype=object)
    return {
        "points": points.num_rows,
        "label_imbalance": label_imbalance(labels),
        "spatial_clustering": spatial_clustering(lon, lat, labels, k),
        "spatial_extent": spatial_extent(lon, lat, labels),
    }


def label_imbalance(labels: np.ndarray) -> dict[str, Any]:
    """Count and share per class, and how many times commoner the commonest is than the rarest."""
    names, codes = _coded(labels)
    counts = np.bincount(codes, minlength=len(names))
    total = int(counts.sum())
    return {
        "counts": {n: int(c) for n, c in zip(names, counts, strict=True)},
        "shares": {n: round(int(c) / total, 6) for n, c in zip(names, counts, strict=True)},
        "ratio": round(float(counts.max() / counts.min()), 6) if total else None,
    }


def spatial_clustering(
    lon: np.ndarray, lat: np.ndarray, labels: np.ndarray, k: int = NEIGHBOURS
) -> dict[str, Any]:
    """F1 of guessing each label from the `k` other labels nearest to it on the globe.

    The higher, the more the labels are clustered, and the less a random split says about new
    places. Neighbours are by great-circle distance; the point itself is left out; of equally
    frequent labels the first by name wins.

    Args:
        lon: (N,) degrees, EPSG:4326.
        lat: (N,) degrees, EPSG:4326.
        labels: (N,) class names.
        k: neighbours asked.

    Returns:
        `k`, `f1` per class and `macro_f1`; both None with `k` points or fewer.
    """
    from scipy.spatial import cKDTree

    if len(labels) <= k:
        return {"k": k, "f1": None, "macro_f1": None}
    names, codes = _coded(labels)
    vectors = unit_vectors(lon, lat)
    _, near = cKDTree(vectors).query(vectors, k=k + 1)
    own = near == np.arange(len(labels))[:, None]
    own[~own.any(axis=1), -1] = True  # k or more others at the very spot: any one of them may go
    others = near[~own].reshape(len(labels), k)
    votes = np.stack([(codes[others] == c).sum(axis=1) for c in range(len(names))], axis=1)
    guess = votes.argmax(axis=1)
    f1 = {}
    for code, name in enumerate(names):
        true_positives = int(((guess == code) & (codes == code)).sum())
        f1[name] = round(2 * true_positives / int((guess == code).sum() + (codes == code).sum()), 6)
    return {"k": k, "f1": f1, "macro_f1": round(float(np.mean(list(f1.values()))), 6)}


def spatial_extent(lon: np.ndarray, lat: np.ndarray, labels: np.ndarray) -> dict[str, float | None]:
    """Area of each class's lon/lat bounding box as a share of the box of all points.

    Areas are on the sphere, (lon span) x (difference of sin lat). A class far below 1 lies in one
    corner of the data. None where all points lie on one line or at one spot. Boxes are not
    wrapped at 180 degrees.
    """
    total = _box(lon, lat) if len(labels) else 0.0
    shares: dict[str, float | None] = {}
    names, codes = _coded(labels)
    for code, name in enumerate(names):
        inside = codes == code
        shares[name] = round(_box(lon[inside], lat[inside]) / total, 6) if total else None
    return shares


def _coded(labels: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Names in order, and which of them each label is."""
    encoded = pa.array(labels, pa.string()).dictionary_encode()
    names = encoded.dictionary.to_pylist()
    order = sorted(range(len(names)), key=names.__getitem__)
    rank = np.empty(len(names), dtype=np.int64)
    rank[order] = np.arange(len(names))
    return [names[i] for i in order], rank[np.asarray(encoded.indices)]


def _box(lon: np.ndarray, lat: np.ndarray) -> float:
    height = np.sin(np.radians(lat.max())) - np.sin(np.radians(lat.min()))
    return float(np.radians(lon.max() - lon.min()) * height)
