"""Where fire perimeters come from: the `labels.calfire` section of a task file."""

import hashlib
import re
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

from geofm_assets.core.redact import has_secret
from geofm_assets.labels.calfire.samples_config import SamplesConfig
from geofm_assets.labels.calfire.schema import FIRST_FIRE_YEAR, LAST_FIRE_YEAR

CLASSES = ["unburnt", "burnt"]
"""Classes of the labels, in the order of their ids."""
_SOURCE_ID = r"^[a-z0-9]+$"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class PerimeterColumns(_Section):
    """Which column holds what; null for the name FRAP gives it, in any case.

    FRAP's names, of fires and of prescribed burns, are in `labels.calfire.columns`. A column named
    here must exist. `year`, `alarm_date` and `contained_date` must be found, the others are left
    null where a source lacks them.

    Attributes:
        year: fire year, a number or text.
        alarm_date: the day the fire began (a date, a timestamp, ISO 8601 text or epoch ms).
        contained_date: the day it was contained, likewise.
        global_id: an id that stays when the source is published again.
        irwin_id: id of the incident, shared by its perimeters.
        inc_num: the unit's number of the incident, likewise.
        state: such as CA.
        agency: responsible for the fire.
        unit_id: its unit.
        fire_name: of the fire or treatment.
        cause: FRAP's number, 1-19.
        acres: size as stated.
        complex_id: id of the complex of fires it belongs to.
        complex_name: its name.
        simulated: whether the perimeter is made up.
    """

    year: str | None = None
    alarm_date: str | None = None
    contained_date: str | None = None
    global_id: str | None = None
    irwin_id: str | None = None
    inc_num: str | None = None
    state: str | None = None
    agency: str | None = None
    unit_id: str | None = None
    fire_name: str | None = None
    cause: str | None = None
    acres: str | None = None
    complex_id: str | None = None
    complex_name: str | None = None
    simulated: str | None = None


class CalfireConfig(_Section):
    """Fire perimeters and where to find them.

    Attributes:
        perimeters: a file GeoPandas reads (file geodatabase, also zipped, GeoPackage, shapefile,
            GeoJSON) or the URL of an ArcGIS feature-service layer (`…/FeatureServer/0`).
        layer: of that file; null for the only one with polygons and FRAP's columns.
        columns: which column holds what.
        prescribed: prescribed burns, a file or URL likewise; null for none, or, if
            `prescribed_layer` is set, for the file of the perimeters.
        prescribed_layer: of that file.
        prescribed_columns: which column holds what there.
        source_id: names the source in the store; null for one made of the file's or service's name.
        first_year: first fire year points are drawn from. Sentinel-2 images begin in July 2015.
        last_year: the last one; null for the latest there is.
        oldest_year: fires of earlier years are left out altogether; null for none. Every fire kept
            is removed from the negatives of later ones.
        samples: where samples are taken around fires, and how many.
        timeout_s: seconds to wait for a feature service.
        retries: tries after the first on 429, 5xx and dropped connections.
        backoff_s: base of the exponential wait between them.
        page_size: features asked for at a time.
        allowed_hosts: hosts a feature service may redirect to, beside its own.
    """

    perimeters: str = Field(min_length=1)
    layer: str | None = None
    columns: PerimeterColumns = PerimeterColumns()
    prescribed: str | None = Field(default=None, min_length=1)
    prescribed_layer: str | None = None
    prescribed_columns: PerimeterColumns = PerimeterColumns()
    source_id: str | None = Field(default=None, pattern=_SOURCE_ID)
    first_year: int = Field(default=2016, ge=FIRST_FIRE_YEAR, le=LAST_FIRE_YEAR)
    last_year: int | None = Field(default=None, ge=FIRST_FIRE_YEAR, le=LAST_FIRE_YEAR)
    oldest_year: int | None = Field(default=None, ge=FIRST_FIRE_YEAR, le=LAST_FIRE_YEAR)
    samples: SamplesConfig = SamplesConfig()
    timeout_s: float = Field(default=60.0, gt=0)
    retries: int = Field(default=5, ge=0)
    backoff_s: float = Field(default=0.5, ge=0)
    page_size: int = Field(default=1000, ge=1)
    allowed_hosts: list[str] = []

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.last_year is not None and self.last_year < self.first_year:
            raise ValueError(f"last_year {self.last_year} is before first_year {self.first_year}")
        if self.oldest_year is not None and self.oldest_year > self.first_year:
            raise ValueError("oldest_year is after first_year: points are drawn from those years")
        for location in (self.perimeters, self.prescribed or ""):
            scheme = urlsplit(location).scheme if "://" in location else ""
            if scheme not in ("", "http", "https"):
                raise ValueError(f"{location}: {scheme} is neither a file nor http(s)")
            if has_secret(location):
                raise ValueError(
                    "perimeters or prescribed holds credentials: put them into ~/.netrc"
                )
        if self.prescribed is None and self.prescribed_layer and is_url(self.perimeters):
            raise ValueError("prescribed_layer: a URL names its layer; set prescribed to its URL")
        return self

    @property
    def name(self) -> str:
        """`source_id`, or one made of the name of the file or service."""
        if self.source_id is not None:
            return self.source_id
        pieces = urlsplit(self.perimeters).path.rstrip("/").split("/")
        # …/<service>/FeatureServer/<layer>
        text = "".join(pieces[-3::2]) if is_url(self.perimeters) else Path(pieces[-1]).stem
        key = re.sub(r"[^a-z0-9]", "", text.lower())
        return key or f"file{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def sampled(self, year: int) -> bool:
        """Whether points are drawn from fires of this year."""
        return self.first_year <= year and (self.last_year is None or year <= self.last_year)


def is_url(location: str) -> bool:
    """Whether a location is a feature service, not a file."""
    return location.startswith(("http://", "https://"))
