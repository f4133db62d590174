"""Generate reference collections at the size of the world: a SIMULATED mirror in a folder.

`python -m benchmarks.generate_points FOLDER --rows 54000000` writes about 130 bytes a row.
Rows are drawn in blocks of a fixed size, each from its own seed, so neither the chunk they are
generated in nor the order of collections shows in the bytes.
"""

import argparse
import datetime as dt
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.disk import require_space
from benchmarks.mirror import ROW_GROUP, SCHEMA, add_to_listing, write_collection, write_listing
from benchmarks.places import CollectionPlan, draw_places, extra_collection, plan_mirror
from benchmarks.wkb import draw_shapes

BLOCK = 1 << 16
"""Rows drawn from one seed; a whole number of blocks is a row group."""
BYTES_A_ROW = 145
_FIRST, _LAST = dt.date(2017, 1, 6), dt.date(2023, 10, 20)
_USEFUL = 0.92
# Codes the legend knows, with their names and shares among useful rows; 0 is "unknown".
_CODES: tuple[tuple[int, str, float], ...] = (
    (1101010001, "winter_common_wheat", 13), (1101020002, "spring_barley", 8),
    (1101060000, "maize", 12), (1101080000, "rice", 3), (1105000000, "dry_pulses", 3),
    (1106000021, "rapeseed", 5), (1106000031, "sunflower", 4), (1107000010, "sugar_beet", 3),
    (1108000000, "root_tuber_crops", 2), (1103000000, "vegetables", 2),
    (1111000000, "grass_fodder_crops", 7), (1115000000, "fallow", 2),
    (1200000000, "permanent_crops", 1), (1201000010, "vineyards", 3), (1202000010, "apples", 1),
    (1400000000, "mixed_cropland", 0.3), (1500000000, "greenhouse", 0.2),
    (2000000000, "non_cropland_herbaceous", 14), (2002000000, "wetlands", 0.5),
    (2500000000, "non_cropland_mixed", 2), (3000000000, "shrubland", 2),
    (4000000000, "trees_unspecified", 1), (4100000000, "trees_broadleaved", 4),
    (4200000000, "trees_coniferous", 3), (4300000000, "trees_mixed", 2),
    (5000000000, "bare_sparsely_vegetated", 0.6), (6000000000, "built_up", 0.9),
    (7000000000, "open_water", 0.5),
)  # fmt: skip


def generate(
    folder: Path, rows: int, *, collections: int = 90, seed: int = 0, chunk_blocks: int = 8
) -> Path:
    """Write a mirror, unless it is there.

    Args:
        folder: of the mirror.
        rows: in all collections.
        collections: how many.
        seed: another one gives another mirror.
        chunk_blocks: blocks held at a time before they are joined to a row group.

    Returns:
        The folder.

    Raises:
        DiskSpaceError: there is not enough room.
    """
    if (folder / "collections.json").exists():
        return folder
    require_space(folder, rows * BYTES_A_ROW, "the mirror of reference collections")
    records = []
    for plan in plan_mirror(rows, collections, seed):
        records.append(_write(folder, plan, seed, chunk_blocks))
    write_listing(folder, records)
    return folder


def add_collection(folder: Path, rows: int, seed: int = 0) -> dict[str, Any]:
    """Add one more collection to a mirror; returns its record."""
    record = _write(folder, extra_collection(rows, seed), seed, 8)
    add_to_listing(folder, record)
    return record


def _write(folder: Path, plan: CollectionPlan, seed: int, chunk_blocks: int) -> dict[str, Any]:
    box = _box(plan)
    groups = _row_groups(plan, seed, chunk_blocks)
    return write_collection(folder, plan.title, groups, box=box, polygons=plan.lpis)


def _row_groups(plan: CollectionPlan, seed: int, chunk_blocks: int) -> Iterator[pa.Table]:
    blocks = range(-(-plan.rows // BLOCK))
    held: list[pa.Table] = []
    for first in range(0, len(blocks), chunk_blocks):
        chunk = [draw_block(plan, block, seed) for block in blocks[first : first + chunk_blocks]]
        held.append(pa.concat_tables(chunk))
        while sum(table.num_rows for table in held) >= ROW_GROUP:
            joined = pa.concat_tables(held)
            yield joined.slice(0, ROW_GROUP)
            held = [joined.slice(ROW_GROUP)]
    rest = pa.concat_tables(held)
    if rest.num_rows:
        yield rest


def draw_block(plan: CollectionPlan, block: int, seed: int) -> pa.Table:
    """One block of a collection: the same rows whatever was drawn before."""
    first = block * BLOCK
    count = min(BLOCK, plan.rows - first)
    rng = np.random.default_rng([seed, 3, plan.number, block])
    lon, lat, which = draw_places(plan, count, rng)
    codes = np.array([0, *(code for code, _, _ in _CODES)], dtype=np.int64)
    names = pa.array(["unknown", *(name for _, name, _ in _CODES)])
    shares = np.array([share for _, _, share in _CODES], dtype=float)
    weights = np.concatenate([[1 - _USEFUL], _USEFUL * shares / shares.sum()])
    code = rng.choice(len(codes), count, p=weights)
    days = rng.integers(0, (_LAST - _FIRST).days + 1, count)
    scores = rng.integers(90, 101, (2, count))
    serial = pc.utf8_lpad(pa.array(np.arange(first, first + count)).cast(pa.string()), 9, "0")
    columns = {
        "sample_id": pc.binary_join_element_wise(plan.title, serial, "_"),
        "ewoc_code": pa.array(codes[code]),
        "sampling_ewoc_code": names.take(pa.array(code)),
        "valid_time": _days().take(pa.array(days)),
        "irrigation_status": pa.array(rng.choice([0, 100, 200], count, p=[0.8, 0.15, 0.05])),
        "quality_score_lc": pa.array(scores[0]),
        "quality_score_ct": pa.array(scores[1]),
        "extract": pa.array(rng.choice([0, 1, 2], count, p=[0.9, 0.08, 0.02])),
        "h3_l3_cell": pa.array(plan.cells).take(pa.array(which)),
        "ref_id": pa.repeat(plan.title, count),
        "geometry": draw_shapes(lon, lat, plan.polygons, rng),
    }
    return pa.table([columns[name] for name in SCHEMA.names], schema=SCHEMA)


def _days() -> pa.Array:
    days = range((_LAST - _FIRST).days + 1)
    return pa.array([(_FIRST + dt.timedelta(days=day)).isoformat() for day in days])


def _box(plan: CollectionPlan) -> list[float]:
    """A box around every cell of the collection."""
    import h3

    corners = np.array([corner for cell in plan.cells for corner in h3.cell_to_boundary(cell)])
    west, east = corners[:, 1].min(), corners[:, 1].max()
    return [float(west), float(corners[:, 0].min()), float(east), float(corners[:, 0].max())]


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--collections", type=int, default=90)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    generate(given.folder, given.rows, collections=given.collections, seed=given.seed)
    print(f"{given.folder}: {given.rows:,} SIMULATED rows, seed {given.seed}", file=sys.stderr)


if __name__ == "__main__":
    main()
