# ruff: noqa: ANN001, ANN201, ANN202 - numba gives the kernels their types
"""XXH3-64 straight from an Arrow buffer, compiled.

The algorithm is xxHash's XXH3_64bits_withSeed (specification in the xxHash repository); results
equal the xxhash package's, which takes over for strings of more than 240 bytes.
"""

import numpy as np
from numba import njit

from geofm_assets.core.raw_memory import load_u32, load_u64

_LONGEST = 240
SECRET = np.frombuffer(
    bytes.fromhex(
        "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f"
        "cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c"
        "3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
        "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364"
        "eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e"
        "2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
    ),
    np.uint8,
)
_P32_1, _P32_2, _P32_3 = np.uint64(0x9E3779B1), np.uint64(0x85EBCA77), np.uint64(0xC2B2AE3D)
_P64_1 = np.uint64(0x9E3779B185EBCA87)
_P64_2 = np.uint64(0xC2B2AE3D27D4EB4F)
_P64_3 = np.uint64(0x165667B19E3779F9)
_MX1, _MX2 = np.uint64(0x165667919E3779F9), np.uint64(0x9FB21C651E98DF25)
_LOW = np.uint64(0xFFFFFFFF)
_32, _37, _33, _29 = np.uint64(32), np.uint64(37), np.uint64(33), np.uint64(29)


@njit(cache=True)
def hash_all(data, offsets, seed, secret, out):  # type: ignore[no-untyped-def]
    """Fill `out`; row numbers of strings that are too long."""
    long = []
    for row in range(len(out)):
        begin = offsets[row]
        size = offsets[row + 1] - begin
        if size > _LONGEST:
            long.append(row)
        elif size > 128:
            out[row] = _129_to_240(data, begin, size, seed, secret)
        elif size > 16:
            out[row] = _17_to_128(data, begin, size, seed, secret)
        elif size > 8:
            out[row] = _9_to_16(data, begin, size, seed, secret)
        elif size >= 4:
            out[row] = _4_to_8(data, begin, size, seed, secret)
        else:
            out[row] = _0_to_3(data, begin, size, seed, secret)
    return np.array(long, dtype=np.int64)


@njit(inline="always")
def _fold(a, b):  # type: ignore[no-untyped-def]
    """Low and high half of the 128-bit product, xored."""
    a_low, a_high, b_low, b_high = a & _LOW, a >> _32, b & _LOW, b >> _32
    low, middle = a_low * b_low, a_high * b_low
    cross = (low >> _32) + (middle & _LOW) + a_low * b_high
    high = (middle >> _32) + (cross >> _32) + a_high * b_high
    return ((cross << _32) | (low & _LOW)) ^ high


@njit(inline="always")
def _avalanche(h):  # type: ignore[no-untyped-def]
    h ^= h >> _37
    h *= _MX1
    return h ^ (h >> _32)


@njit(inline="always")
def _swap64(x):  # type: ignore[no-untyped-def]
    y = np.uint64(0)
    for _ in range(8):
        y = (y << np.uint64(8)) | (x & np.uint64(0xFF))
        x >>= np.uint64(8)
    return y


@njit(inline="always")
def _swap32(x):  # type: ignore[no-untyped-def]
    return _swap64(x) >> _32


@njit(inline="always")
def _0_to_3(data, at, size, seed, secret):  # type: ignore[no-untyped-def]
    if size == 0:
        h = seed ^ load_u64(secret, 56) ^ load_u64(secret, 64)
    else:
        first, middle, last = data[at], data[at + (size >> 1)], data[at + size - 1]
        combined = (
            (np.uint64(first) << np.uint64(16))
            | (np.uint64(middle) << np.uint64(24))
            | np.uint64(last)
            | (np.uint64(size) << np.uint64(8))
        )
        flip = np.uint64(load_u32(secret, 0) ^ load_u32(secret, 4)) + seed
        h = combined ^ flip
    h ^= h >> _33
    h *= _P64_2
    h ^= h >> _29
    h *= _P64_3
    return h ^ (h >> _32)


@njit(inline="always")
def _4_to_8(data, at, size, seed, secret):  # type: ignore[no-untyped-def]
    seed ^= _swap32(seed & _LOW) << _32
    first, last = np.uint64(load_u32(data, at)), np.uint64(load_u32(data, at + size - 4))
    flip = (load_u64(secret, 8) ^ load_u64(secret, 16)) - seed
    h = (last + (first << _32)) ^ flip
    h ^= ((h << np.uint64(49)) | (h >> np.uint64(15))) ^ (
        (h << np.uint64(24)) | (h >> np.uint64(40))
    )
    h *= _MX2
    h ^= (h >> np.uint64(35)) + np.uint64(size)
    h *= _MX2
    return h ^ (h >> np.uint64(28))


@njit(inline="always")
def _9_to_16(data, at, size, seed, secret):  # type: ignore[no-untyped-def]
    flip_1 = (load_u64(secret, 24) ^ load_u64(secret, 32)) + seed
    flip_2 = (load_u64(secret, 40) ^ load_u64(secret, 48)) - seed
    low = load_u64(data, at) ^ flip_1
    high = load_u64(data, at + size - 8) ^ flip_2
    return _avalanche(np.uint64(size) + _swap64(low) + high + _fold(low, high))


@njit(inline="always")
def _mix(data, at, secret, key, seed):  # type: ignore[no-untyped-def]
    return _fold(
        load_u64(data, at) ^ (load_u64(secret, key) + seed),
        load_u64(data, at + 8) ^ (load_u64(secret, key + 8) - seed),
    )


@njit(inline="always")
def _17_to_128(data, at, size, seed, secret):  # type: ignore[no-untyped-def]
    h = np.uint64(size) * _P64_1
    pairs = (size - 1) // 32
    for i in range(pairs, -1, -1):
        h += _mix(data, at + 16 * i, secret, 32 * i, seed)
        h += _mix(data, at + size - 16 * (i + 1), secret, 32 * i + 16, seed)
    return _avalanche(h)


@njit(inline="always")
def _129_to_240(data, at, size, seed, secret):  # type: ignore[no-untyped-def]
    h = np.uint64(size) * _P64_1
    for i in range(8):
        h += _mix(data, at + 16 * i, secret, 16 * i, seed)
    h = _avalanche(h)
    for i in range(8, size // 16):
        h += _mix(data, at + 16 * i, secret, 16 * (i - 8) + 3, seed)
    h += _mix(data, at + size - 16, secret, 136 - 17, seed)
    return _avalanche(h)
