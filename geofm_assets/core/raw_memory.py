"""Unaligned loads for compiled kernels that read Arrow buffers byte by byte."""

from typing import Any

import numpy as np
import pyarrow as pa
from llvmlite import ir
from numba import types
from numba.extending import intrinsic


def _loader(number: Any, bits: ir.Type) -> Any:
    @intrinsic
    def load(typingctx: Any, data: Any, position: Any) -> Any:
        signature = number(data, types.intp)

        def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            array = context.make_array(sig.args[0])(context, builder, args[0])
            pointer = builder.bitcast(builder.gep(array.data, [args[1]]), bits.as_pointer())
            return builder.load(pointer, align=1)

        return signature, code

    return load


load_f64 = _loader(types.float64, ir.DoubleType())
"""`load_f64(data, position)`: the little-endian float64 at a byte position of a uint8 array."""
load_u32 = _loader(types.uint32, ir.IntType(32))
"""Likewise uint32."""
load_u64 = _loader(types.uint64, ir.IntType(64))
"""Likewise uint64."""


def bytes_of(values: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Bytes and offsets of a string or binary array.

    Args:
        values: string, large_string, binary or large_binary, N values; nulls count as empty.

    Returns:
        uint8 of all bytes, and int64 (N + 1,) where each value begins; the last ends.
    """
    _, offsets, data = values.buffers()
    wide = pa.types.is_large_string(values.type) or pa.types.is_large_binary(values.type)
    kind = np.dtype(np.int64 if wide else np.int32)
    begin = values.offset
    where = np.frombuffer(offsets, kind, len(values) + 1, begin * kind.itemsize)
    content = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
    return content, where.astype(np.int64)
