"""Units of a split that keep groups together, such as a fire with its ring and its complex.

A unit is a connected component: samples that share an H3 block are of one unit, and so are those
that share a group. A group that spans blocks joins them, with everything else that lies there.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from geofm_assets.core.errors import SchemaError


def groups_of(points: pa.Table, groups: pa.Table | None) -> np.ndarray:
    """The group of each point, (N,) object.

    Args:
        points: N rows with `collection_id` and `sample_id`.
        groups: columns `sample_id`, unique, and `group_id`.

    Raises:
        SchemaError: there are no groups, or a point has none.
    """
    fix = "Use split.by: h3_cell, or labels whose source says what belongs together"
    if groups is None:
        raise SchemaError("The label source has no groups", where="split.by: group", fix=fix)
    at = pc.index_in(points["sample_id"], groups["sample_id"].combine_chunks())
    if at.null_count:
        row = pc.index(pc.is_null(at), True).as_py()
        raise SchemaError(
            f"{at.null_count} samples have no group",
            where=f"sample {points['sample_id'][row]} of {points['collection_id'][row]}",
            fix="Make the reference points and the samples of its collection again",
        )
    found = groups["group_id"].take(at)
    if found.null_count:
        raise SchemaError(f"{found.null_count} groups have no name", where="column group_id")
    return np.array(found.to_pylist(), dtype=object)


def group_units(blocks: pa.Array, groups: np.ndarray) -> pa.Array:
    """The unit of each point, named after the first of its blocks by name.

    A unit stays what it is until a new sample joins it to another.

    Args:
        blocks: H3 cell of each point, N strings.
        groups: group of each point, (N,) object.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    block = blocks.dictionary_encode()
    group = pa.array(groups, pa.string()).dictionary_encode()
    block_of, group_of = np.asarray(block.indices), np.asarray(group.indices)
    names = np.array(block.dictionary.to_pylist(), dtype=object)
    size = len(names) + len(group.dictionary)
    # a graph of blocks and groups, in which every point ties its block to its group
    ties = coo_array(
        (np.ones(len(block_of), bool), (block_of, len(names) + group_of)), shape=(size, size)
    )
    _, component = connected_components(ties, directed=False)
    order = np.argsort(names.astype(str))
    first: dict[int, str] = {}
    for number in order.tolist():
        first.setdefault(int(component[number]), names[number])
    unit = np.array([first[c] for c in component[: len(names)].tolist()], dtype=object)
    return pa.array(unit[block_of], pa.string())
