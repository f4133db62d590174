"""The `sampling` and `split` sections of a task file."""

import math
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class SamplingConfig(BaseModel):
    """How many points are kept, and where.

    Attributes:
        h3_resolution: H3 resolution of the sampling cells (3: about 12,400 km2 on average).
        per_cell: at most this many points a cell.
        seed: key of the hash that ranks points; the same seed gives the same sample anywhere.
        min_quality_lc: rows with a lower or missing `quality_score_lc` are set aside; None keeps
            every row. Stricter than the collection's own confidence, which labels/ filters by.
        min_quality_ct: the same for `quality_score_ct`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    h3_resolution: int = Field(default=3, ge=0, le=10)
    per_cell: int = Field(default=100, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**63)
    min_quality_lc: int | None = Field(default=None, ge=0, le=100)
    min_quality_ct: int | None = Field(default=None, ge=0, le=100)


class Fractions(BaseModel):
    """Shares of the sample each split asks for; they add up to 1."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: float = Field(default=0.7, gt=0, lt=1)
    val: float = Field(default=0.15, gt=0, lt=1)
    test: float = Field(default=0.15, gt=0, lt=1)

    @model_validator(mode="after")
    def _sum_to_one(self) -> Self:
        total = self.train + self.val + self.test
        if not math.isclose(total, 1.0, abs_tol=1e-6):
            raise ValueError(f"train + val + test must be 1, they are {total:g}")
        return self


class SplitConfig(BaseModel):
    """How points are divided into train, val and test.

    Attributes:
        by: `h3_cell` gives whole H3 cells to one split; `group` gives H3 cells and what belongs
            together (a fire, its ring and its complex) to one split, cells joined where a group
            lies in several; `ai2_hash` is the reference's split by the window name's sha256 (train
            and val only, no separation in space).
        fractions: wanted shares of the points; not used by `ai2_hash`, whose share of val is
            2/16 by construction.
        tolerance: how far each share may be from its fraction; relaxed in steps to 0.15 before
            the split is refused.
        seed: key of the hash that assigns cells.
        min_distance_m: metres that must lie between points of different splits; None means
            just enough that no two windows overlap. Not for `ai2_hash`.
        max_resolution: the finest H3 resolution used where there are too few cells.
        min_units: fewer cells than this and a finer resolution is tried.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    by: Literal["h3_cell", "group", "ai2_hash"] = "h3_cell"
    fractions: Fractions = Fractions()
    tolerance: float = Field(default=0.05, gt=0, lt=0.5)
    seed: int = Field(default=0, ge=0, lt=2**63)
    min_distance_m: float | None = Field(default=None, ge=0)
    max_resolution: int = Field(default=7, ge=0, le=12)
    min_units: int = Field(default=20, ge=3)

    @model_validator(mode="after")
    def _no_distance_under_ai2_hash(self) -> Self:
        if self.by == "ai2_hash" and self.min_distance_m is not None:
            raise ValueError(
                "min_distance_m cannot be kept by ai2_hash, which ignores where points are; "
                "use by: h3_cell"
            )
        return self
