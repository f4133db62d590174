"""The `labels` section of a task file."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from geofm_assets.labels.calfire.config import CLASSES, CalfireConfig

WORLDCEREAL_RULES = ("ai2_v1", "worldcereal_temporary", "worldcereal_landcover10")
IDENTITY_RULE = "identity"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MinConfidence(_Section):
    """Thresholds on a collection's confidences, 0-100, both inclusive.

    They are the provider's scores of a whole collection, not of a sample. A collection without a
    score is never accepted.
    """

    land_cover: float = Field(default=90, ge=0, le=100)
    crop_type: float = Field(default=90, ge=0, le=100)


class ColumnMap(_Section):
    """Which column of a label file holds what.

    Attributes:
        lon: longitude, degrees EPSG:4326; null, with `lat` null, for the geometry column where the
            file has one, else for columns called `lon` and `lat`.
        lat: latitude, degrees EPSG:4326.
        label: the label text.
        valid_time: the day the label holds for (ISO 8601, a date or a timestamp, UTC).
        sample_id: a unique id; null to derive one from the row's content.
    """

    lon: str | None = None
    lat: str | None = None
    label: str = "label"
    valid_time: str = "valid_time"
    sample_id: str | None = None

    @model_validator(mode="after")
    def _both_or_neither(self) -> Self:
        if (self.lon is None) != (self.lat is None):
            raise ValueError("lon and lat go together: name both columns, or set both to null")
        return self


class LabelsConfig(_Section):
    """Where labels come from and how they become classes.

    Attributes:
        source: `worldcereal` (the reference data module or a mirror of it), `csv` (your file) or
            `calfire` (fire perimeters).
        min_confidence: which WorldCereal collections are taken; unused for other sources.
        rule: name of the label rule, see `labels.rules`.
        file: the label file of source `csv`, CSV or GeoParquet.
        columns: the columns of that file.
        classes: class names of rule `identity`, in the order of their ids.
        ignore: labels that rule `identity` leaves out on purpose.
        calfire: where the perimeters of source `calfire` are, and how they are sampled.
        licence: of the labels of source `csv` or `calfire`, as their owner words it; maps carry it.
            Null if it is not known: maps then say that it is not stated.
        attribution: whom to name with it, likewise.
    """

    source: Literal["worldcereal", "csv", "calfire"]
    min_confidence: MinConfidence = MinConfidence()
    rule: str
    file: str | None = None
    columns: ColumnMap = ColumnMap()
    classes: list[str] | None = None
    ignore: list[str] = []
    calfire: CalfireConfig | None = None
    licence: str | None = Field(default=None, min_length=1)
    attribution: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        known = (*WORLDCEREAL_RULES, IDENTITY_RULE)
        if self.rule not in known:
            raise ValueError(f"rule {self.rule!r} is none of {', '.join(known)}")
        if self.source == "worldcereal" and self.rule == IDENTITY_RULE:
            raise ValueError(f"source worldcereal needs one of {', '.join(WORLDCEREAL_RULES)}")
        if self.source == "csv" and not self.file:
            raise ValueError("source csv needs file: the path of a CSV or GeoParquet")
        if self.source != "csv" and self.file:
            raise ValueError("file belongs to source csv; a mirror is set where the RDM is")
        if (self.source == "calfire") != (self.calfire is not None):
            raise ValueError("source calfire and the section calfire go together")
        if self.source == "calfire" and (self.rule, self.classes) != (IDENTITY_RULE, CLASSES):
            raise ValueError(f"source calfire needs rule identity and classes {CLASSES}")
        if self.source == "worldcereal" and (self.licence or self.attribution):
            raise ValueError("licence and attribution of worldcereal are those of its listing")
        if self.rule != IDENTITY_RULE and (self.classes or self.ignore):
            raise ValueError(f"classes and ignore belong to rule identity, not to {self.rule}")
        return self
