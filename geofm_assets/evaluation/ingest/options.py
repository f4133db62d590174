"""What a person may say of a dataset that is ingested; what they leave out is inferred."""

import datetime as dt
import warnings
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from geofm_assets.core.redact import has_secret
from geofm_assets.evaluation.registry.entry import SplitRule, TaskType

BLOCK_M = 2560.0
"""Side of a spatial block: one tile of OlmoEarth's pretraining grid (256 pixels of 10 m)."""
SUBSETS = (1, 5, 20)
CODE_VERSION = "2"
"""Version of the code that makes samples of a source."""
_LISTS = ("modalities", "classes", "groups")
DESCRIBING = ("display_name", "licence", "citation", "target_unit", "subsets", "simulated")
"""Options that say what the data is; an ingest that leaves them out keeps what was said before."""


class _Options(BaseModel):
    """All options but `register`; see `IngestOptions`."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")
    source: str = Field(min_length=1)
    display_name: str | None = Field(default=None, min_length=1)
    task_type: TaskType | None = None
    modalities: tuple[str, ...] | None = Field(default=None, min_length=1)
    temporal_range: tuple[dt.datetime, dt.datetime] | None = None
    property_name: str | None = Field(default=None, min_length=1)
    classes: tuple[str, ...] | None = Field(default=None, min_length=1)
    label_layer: str | None = Field(default=None, min_length=1)
    label_nodata: float | None = None
    label_outside: str | None = Field(default=None, min_length=1)
    groups: tuple[str, ...] | None = Field(default=None, min_length=1)
    tags: dict[str, str | None] | None = None
    split_property: str = Field(default="split", min_length=1)
    split_rule: SplitRule | None = None
    block_m: float = Field(default=BLOCK_M, gt=0)
    seed: int = Field(default=0, ge=0, lt=2**63)
    max_samples: int | None = Field(default=None, ge=1)
    sentinel1_unit: Literal["decibels", "linear"] = "decibels"
    target_unit: str = ""
    licence: str = Field(default="unknown", min_length=1)
    citation: str = Field(default="unknown", min_length=1)
    subsets: tuple[int, ...] = SUBSETS
    simulated: bool = False
    overwrite: bool = False

    @field_validator("source")
    @classmethod
    def _without_credentials(cls, value: str) -> str:
        if has_secret(value):
            raise ValueError(
                "the address holds credentials, which the run's config and the registry would "
                "keep; put them into the environment (AWS_*) or ~/.netrc"
            )
        return value

    @field_validator(*_LISTS, mode="before")
    @classmethod
    def _split_commas(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator(*_LISTS)
    @classmethod
    def _require_distinct(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        twice = sorted({v for v in value or () if (value or ()).count(v) > 1})
        if twice:
            raise ValueError(f"{twice[0]!r} is given twice")
        return value

    @field_validator("tags", mode="before")
    @classmethod
    def _parse_tags(cls, value: Any) -> Any:
        """`key=value` or `key`, one or several, as the command line gives them."""
        if value is None:
            return None
        if isinstance(value, Mapping):
            return {str(k): None if v is None else str(v) for k, v in value.items()}
        parts = value.split(",") if isinstance(value, str) else list(value)
        pairs = [str(part).strip().partition("=") for part in parts if str(part).strip()]
        return {key: wanted if between else None for key, between, wanted in pairs}

    @field_validator("temporal_range", mode="before")
    @classmethod
    def _parse_range(cls, value: Any) -> Any:
        parts = value.split(",") if isinstance(value, str) else value
        if isinstance(parts, list | tuple):
            return tuple(_moment(part) for part in parts)
        return parts

    @field_validator("subsets")
    @classmethod
    def _sort_subsets(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(not 0 < percent < 100 for percent in value):
            raise ValueError("percentages lie between 1 and 99")
        return tuple(sorted(set(value)))

    @model_validator(mode="after")
    def _require_order(self) -> Self:
        if self.temporal_range is not None and self.temporal_range[0] >= self.temporal_range[1]:
            raise ValueError("the temporal range ends before it begins")
        return self

    def making(self) -> dict[str, Any]:
        """The options the samples depend on; the others only describe them."""
        return self.model_dump(
            mode="json",
            exclude={
                "source",
                "display_name",
                "licence",
                "citation",
                "overwrite",
                "register",
                "target_unit",
                "subsets",
            },
        )


with warnings.catch_warnings():
    # pydantic takes the `register` of Python's abstract classes for a method of its own
    warnings.filterwarnings("ignore", message='Field name "register"')

    class IngestOptions(_Options):
        """Options of `geofm evals ingest`, of an evaluation.yaml, and of the asset.

        Attributes:
            name: of the dataset in the registry; also of its folder.
            source: an rslearn dataset, a folder or any URL fsspec knows.
            display_name: for people; the name if not given.
            task_type: what is predicted.
            modalities: those to keep, such as sentinel2_l2a.
            temporal_range: images that begin before the first or end after the second are left out.
            property_name: of a vector label layer, the property that is the label.
            classes: names in order of class id; the value of a raster label is the class id.
            label_layer: the layer that holds the labels.
            label_nodata: value of a label of pixels that is no label.
            label_outside: of a segmentation drawn from polygons, the class of pixels outside all
                of them; without it they have no label.
            groups: rslearn groups to keep.
            tags: window options a window must have; a null value means any value will do.
            split_property: window option that says a window's split.
            split_rule: `kept`, `spatial_blocks` or `random`; random only if said so.
            block_m: side of a spatial block in metres.
            seed: of splits, subsets and of `max_samples`.
            max_samples: at most so many windows, drawn per split and class by keyed hash.
            sentinel1_unit: unit of the source's Sentinel-1; `linear` power is turned into dB.
            target_unit: of a regression's target.
            licence: of the data.
            citation: of the data.
            subsets: percentages of the train split that are kept as nested subsets.
            simulated: whether the data was simulated; true anyway where the source says so.
            overwrite: replace a dataset that is registered under this name.
            register: whether to put it into the registry at the end.
        """

        register: bool = True


def _moment(value: Any) -> Any:
    """A time in UTC of an ISO date or time."""
    if isinstance(value, str):
        value = dt.datetime.fromisoformat(value.strip())
    elif isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        value = dt.datetime(value.year, value.month, value.day)
    if isinstance(value, dt.datetime):
        return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)
    return value
