"""Rows that leave the sample, with the reason, as QUARANTINED_ROW tables."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from geofm_assets.labels.schema import QUARANTINED_ROW, REFERENCE_POINT

IGNORED_LABEL = "ignored_label"
UNKNOWN_LABEL = "unknown_label"
LOW_QUALITY = "low_quality"
MISSING_QUALITY = "missing_quality"
DUPLICATE_LOCATION = "duplicate_location"
DUPLICATE_SAMPLE_ID = "duplicate_sample_id"


def quarantined(points: pa.Table, reason: str, detail: pa.Array | str) -> pa.Table:
    """Rows of `points` as quarantined rows, in the order given.

    Args:
        points: N rows with columns of REFERENCE_POINT.
        reason: snake_case code.
        detail: one text for all, or N texts.
    """
    rows, names = points.num_rows, points.column_names
    if isinstance(detail, str):
        detail = pa.repeat(pa.scalar(detail, pa.string()), rows)
    return pa.Table.from_arrays(
        [
            points["collection_id"],
            # sampled points no longer know where they lay in their file
            points["source_row"] if "source_row" in names else pa.nulls(rows, pa.int64()),
            points["sample_id"],
            pa.repeat(pa.scalar(reason, pa.string()), rows),
            detail,
            json_rows(points.select([n for n in REFERENCE_POINT.names if n in names])),
        ],
        schema=QUARANTINED_ROW,
    )


def set_aside(points: pa.Table, reason: str, column: str, text: str) -> pa.Table:
    """Rows left out for the value of one column; the rows themselves stay in reference points.

    Args:
        points: N rows with columns of REFERENCE_POINT.
        reason: snake_case code.
        column: whose value decides; `row_json` holds that alone.
        text: what is asked of it.
    """
    rows = points.num_rows
    coded = points[column].cast(pa.string()).combine_chunks().dictionary_encode()
    values = [*coded.dictionary.to_pylist(), None]
    at = pc.fill_null(coded.indices, len(values) - 1)
    details = pa.array([f"{column} {'none' if v is None else v}: {text}" for v in values])
    plain = [v if v is None or column == "label_raw" else int(v) for v in values]
    jsons = pa.array([json.dumps({column: v}, ensure_ascii=False) for v in plain])
    return pa.Table.from_arrays(
        [
            points["collection_id"].cast(pa.string()),
            points["source_row"],
            points["sample_id"],
            pa.repeat(pa.scalar(reason, pa.string()), rows),
            details.take(at),
            jsons.take(at),
        ],
        schema=QUARANTINED_ROW,
    )


def merge_quarantines(tables: list[pa.Table]) -> pa.Table:
    """All rows, sorted by collection_id, source_row, reason."""
    merged = pa.concat_tables([QUARANTINED_ROW.empty_table(), *tables])
    keys = [(name, "ascending") for name in ("collection_id", "source_row", "reason", "detail")]
    return merged.sort_by(keys).combine_chunks()


def json_rows(table: pa.Table) -> pa.ChunkedArray | pa.Array:
    """Each row as a JSON object, column by column, so that millions of rows stay cheap."""
    if table.num_rows == 0:
        return pa.array([], pa.string())
    parts = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        text = pc.fill_null(_json_values(column.combine_chunks()), "null")
        parts.append(pc.binary_join_element_wise(json.dumps(name) + ": ", text, ""))
    body = pc.binary_join_element_wise(*parts, ", ") if len(parts) > 1 else parts[0]
    return pc.binary_join_element_wise("{", body, "}", "")


def _json_values(column: pa.Array) -> pa.Array:
    if pa.types.is_string(column.type):
        special = pc.match_substring_regex(column, r'["\\\x00-\x1f\x7f]')
        if pc.any(special).as_py():
            values = [None if v is None else json.dumps(v) for v in column.to_pylist()]
            return pa.array(values, pa.string())
        return pc.binary_join_element_wise('"', column, '"', "")
    if pa.types.is_floating(column.type):
        finite = pc.if_else(pc.is_finite(column), column, pa.scalar(None, column.type))
        return pc.cast(finite, pa.string())
    if pa.types.is_temporal(column.type):
        return pc.binary_join_element_wise('"', pc.cast(column, pa.string()), '"', "")
    return pc.cast(column, pa.string())


def describe_rows(rows: pa.Table, numbers: np.ndarray) -> pa.Array:
    """`sample X of collection Y (class Z)` for each row number."""
    taken = rows.select(["sample_id", "collection_id", "class_name"]).take(pa.array(numbers))
    return pc.binary_join_element_wise(
        "sample ",
        taken["sample_id"].combine_chunks(),
        " of collection ",
        taken["collection_id"].combine_chunks(),
        " (class ",
        taken["class_name"].combine_chunks(),
        ")",
        "",
    )
