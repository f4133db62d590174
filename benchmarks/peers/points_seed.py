"""Reference points as the seed's scripts make them: geopandas, a row at a time, a CSV between.

Two stages. `process` reads every file and walks its rows; `analyze` samples 100 rows a cell.
The scripts themselves are not copied; what they do is (docs/benchmarks.md).
"""

from pathlib import Path

import geopandas as gpd
import pandas as pd

from benchmarks.harness import Arguments, Side, done, measured, side_main

_PER_CELL = 100


def points(arguments: Arguments) -> Side:
    """A mirror's files to the CSV of sampled points."""
    mirror, out = Path(arguments["mirror"]), Path(arguments["out"])
    files = sorted(mirror.glob("*/*.geoparquet"))
    out.mkdir(parents=True, exist_ok=True)
    with measured() as taken:
        rows = process(files, out / "points.csv")
        sampled = analyze(out / "points.csv", out / "points_filtered.csv")
    for name in ("points.csv", "points_filtered.csv"):
        (out / name).unlink()
    return done(taken, rows, sampled=sampled)


def process(files: list[Path], csv: Path) -> int:
    """Rows of all files, polygons by their centroid, as one CSV."""
    samples = []
    for path in files:
        frame = gpd.read_parquet(path)
        for _, row in frame.iterrows():
            samples.append(
                {
                    "sample_id": row["sample_id"],
                    "longitude": row["geometry"].centroid.x,
                    "latitude": row["geometry"].centroid.y,
                    "valid_time": row["valid_time"],
                    "ewoc_code": row["ewoc_code"],
                    "h3_l3_cell": row["h3_l3_cell"],
                    "quality_score_lc": row["quality_score_lc"],
                    "quality_score_ct": row["quality_score_ct"],
                }
            )
    table = pd.DataFrame(samples)
    table.to_csv(csv, index=False)
    return len(table)


def analyze(csv: Path, sampled_csv: Path) -> int:
    """A hundred random rows of each cell, as one CSV."""
    table = pd.read_csv(csv)
    parts = [group.sample(min(_PER_CELL, len(group))) for _, group in table.groupby("h3_l3_cell")]
    sampled = pd.concat(parts)
    sampled.to_csv(sampled_csv, index=False)
    return len(sampled)


SIDES = {"points": points}

if __name__ == "__main__":
    side_main(SIDES)
