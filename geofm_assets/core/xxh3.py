"""XXH3-64 of many strings at once; compiled code is loaded when first asked for a hash."""

import numpy as np
import pyarrow as pa
import xxhash


def xxh3_64(values: pa.Array, seed: int) -> np.ndarray:
    """xxh3_64 of each string's UTF-8 bytes under a seed.

    Args:
        values: string or binary array, N values without nulls.
        seed: 0 to 2**64 - 1.

    Returns:
        uint64 (N,), equal to `xxhash.xxh3_64_intdigest(value, seed)`.
    """
    from geofm_assets.core.raw_memory import bytes_of
    from geofm_assets.core.xxh3_kernels import SECRET, hash_all

    if values.null_count:
        raise ValueError("a null has no hash")
    data, offsets = bytes_of(values)
    hashes = np.empty(len(values), np.uint64)
    long = hash_all(data, offsets, np.uint64(seed), SECRET, hashes)
    for row in long.tolist():
        content = data[offsets[row] : offsets[row + 1]].tobytes()
        hashes[row] = xxhash.xxh3_64_intdigest(content, seed=seed)
    return hashes
