"""WorldCereal's legend of land cover and crop type codes.

A code has ten digits, `AA BB CC DDD E`: five levels, zero where a level is not specified. The
legend grows at its lower levels (dozens of new crops between two releases), so it is kept here to
level 2: a code is *known* when its first four digits are a level_1 + level_2 pair of the legend,
whatever follows. Code 0 is known and means "unknown land cover"; 1-999999 are not codes.

Source and licence of the data: the head of `legend.csv`.
"""

import csv
from functools import cache
from importlib.resources import files

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

LANDCOVER10_CLASSES = (
    "temporary_crops",
    "temporary_grasses",
    "permanent_crops",
    "grasslands",
    "wetlands",
    "shrubland",
    "trees",
    "bare_sparsely_vegetated",
    "built_up",
    "water",
)
IGNORE = "ignore"
_PREFIX_UNIT = 1_000_000  # a code without its first four digits
_NO_CODE = -1


@cache
def prefixes() -> dict[int, str]:
    """LANDCOVER10 class, or `ignore`, by the first four digits of a code."""
    text = files("geofm_assets.labels.worldcereal").joinpath("legend.csv").read_text("utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return {int(row["prefix"]): row["landcover10"] for row in rows}


@cache
def _known_prefixes() -> np.ndarray:
    known = np.zeros(10_000, dtype=bool)
    known[list(prefixes())] = True
    return known


def known_codes(codes: np.ndarray) -> np.ndarray:
    """Whether each code is in the legend.

    Args:
        codes: int64, shape (n,).

    Returns:
        bool, shape (n,).
    """
    prefix = codes // _PREFIX_UNIT
    inside = (prefix >= 0) & (prefix < 10_000)
    known = inside & _known_prefixes()[np.where(inside, prefix, 0)]
    return known & ((prefix > 0) | (codes == 0))


def landcover10(code: int) -> str:
    """LANDCOVER10 class of a known code, or `ignore`.

    Raises:
        KeyError: the code is not in the legend.
    """
    return prefixes()[code // _PREFIX_UNIT]


def level_1(code: int) -> int:
    """The first two digits of a code."""
    return code // 100_000_000


def parse_codes(column: pa.Array) -> np.ndarray:
    """Codes as int64 from integers, whole floats or text (`1101010000`, `11-01-01-000-0`).

    Returns:
        int64, shape (n,); -1, which the legend does not know, where there is no readable code.
    """
    kind = column.type
    if pa.types.is_integer(kind):
        return np.asarray(pc.fill_null(column.cast(pa.int64(), safe=False), _NO_CODE))
    if pa.types.is_floating(kind):
        values = np.asarray(pc.fill_null(column, np.nan), dtype=np.float64)
        whole = np.isfinite(values) & (values == np.floor(values)) & (np.abs(values) < 1e11)
        return np.where(whole, np.where(whole, values, 0), _NO_CODE).astype(np.int64)
    encoded = column.cast(pa.string()).dictionary_encode()
    codes = [_parse_code(text) for text in encoded.dictionary.to_pylist()]
    lookup = np.array([*codes, _NO_CODE], dtype=np.int64)
    return lookup[np.asarray(pc.fill_null(encoded.indices, len(codes)))]


def _parse_code(text: str) -> int:
    digits = text.strip().replace("-", "")
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 10 else _NO_CODE


def code_strings(codes: np.ndarray) -> pa.DictionaryArray:
    """Codes as ten zero-padded digits, dictionary-coded."""
    coded = pa.array(codes, pa.int64()).dictionary_encode()
    names = pa.array([f"{code:010d}" for code in coded.dictionary.to_pylist()], pa.string())
    return pa.DictionaryArray.from_arrays(coded.indices, names)
