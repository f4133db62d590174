"""The floor of any way to reference points: pyarrow decodes the needed columns and no more."""

from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.harness import Arguments, Side, done, measured, side_main

COLUMNS = [
    "sample_id", "ewoc_code", "valid_time", "h3_l3_cell", "quality_score_lc", "quality_score_ct",
    "geometry",
]  # fmt: skip
_BATCH_ROWS = 131_072


def read(arguments: Arguments) -> Side:
    """Every file of a mirror, batch by batch, each batch dropped."""
    files = sorted(Path(arguments["mirror"]).glob("*/*.geoparquet"))
    rows = 0
    with measured() as taken:
        for path in files:
            with pq.ParquetFile(path, pre_buffer=False, buffer_size=4 << 20) as file:
                for batch in file.iter_batches(_BATCH_ROWS, columns=COLUMNS, use_threads=False):
                    rows += batch.num_rows
    return done(taken, rows)


SIDES = {"read": read}

if __name__ == "__main__":
    side_main(SIDES)
