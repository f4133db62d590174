"""What the registry says of a dataset."""

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

REGISTRY_VERSION: Final = 1
SPLITS = ("train", "val", "test")
TaskType = Literal[
    "classification", "multilabel", "segmentation", "window_regression", "per_pixel_regression"
]
SplitRule = Literal["kept", "spatial_blocks", "random"]
LOWER_IS_BETTER = frozenset({"rmse", "mae"})
DEFAULT_METRIC: dict[TaskType, str] = {
    "classification": "accuracy",
    "multilabel": "micro_f1",
    "segmentation": "miou",
    "window_regression": "rmse",
    "per_pixel_regression": "rmse",
}


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BandStatistics(_Frozen):
    """Statistics of one band over the valid pixels of the train split, in the stored unit.

    Sentinel-1 is in dB. Percentiles are of the pixels, 0 to 100.
    """

    count: int = Field(ge=1)
    mean: float
    std: float = Field(ge=0)
    min: float
    max: float
    p02: float
    p50: float
    p98: float


class ModalityEntry(_Frozen):
    """One modality of a dataset.

    Attributes:
        bands: in stored order.
        timesteps: the most any sample has.
        nodata: stored value of a pixel without data; NaN never is data either.
        statistics: by band; what a `dataset` normalisation reads.
        filled_bands: of `bands`, those without a valid pixel in train (no statistics then).
    """

    bands: tuple[str, ...] = Field(min_length=1)
    timesteps: int = Field(ge=1)
    nodata: float | None
    statistics: dict[str, BandStatistics]
    filled_bands: tuple[str, ...] = ()


class SplitEntry(_Frozen):
    """How the samples are divided.

    Attributes:
        rule: `kept` (the source had train, val and test), `spatial_blocks` or `random`.
        seed: of the two that draw.
        block_m: side of a spatial block in metres; None for the other rules.
        counts: samples by split.
        subsets: percentage (as text, `5`) to how many train samples it keeps. Nested.
    """

    rule: SplitRule
    seed: int
    block_m: float | None = None
    counts: dict[str, int]
    subsets: dict[str, int] = Field(default_factory=dict)


class Target(_Frozen):
    """Distribution of a regression's target over train; probes learn it standardised."""

    mean: float
    std: float = Field(gt=0)
    unit: str = ""


class DatasetEntry(_Frozen):
    """One registered evaluation dataset.

    Attributes:
        name: of the registry; also of its folder.
        display_name: for people.
        source: where it was ingested from.
        content: sha256 of samples, labels, splits and pixels; changes whenever any of them does.
        licence: of the data, as its owner names it; `unknown` if nobody said.
        citation: likewise.
        task_type: what is predicted.
        classes: names by class id; empty for regressions.
        target: of regressions.
        modalities: by name.
        window_size: side of a sample in pixels.
        split: how samples are divided.
        metric: the one to compare models by.
        simulated: whether any input was simulated.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")
    display_name: str = Field(min_length=1)
    source: str
    content: str = Field(pattern=r"^[0-9a-f]{64}$")
    licence: str = "unknown"
    citation: str = "unknown"
    task_type: TaskType
    classes: tuple[str, ...] = ()
    target: Target | None = None
    modalities: dict[str, ModalityEntry] = Field(min_length=1)
    window_size: int = Field(ge=1)
    split: SplitEntry
    metric: str
    simulated: bool

    @property
    def lower_is_better(self) -> bool:
        """Direction of `metric`."""
        return self.metric in LOWER_IS_BETTER

    @property
    def dataset_id(self) -> str:
        """Name and content: the key embeddings and scores are kept under."""
        return f"{self.name}-{self.content[:16]}"

    @property
    def dense(self) -> bool:
        """Whether every pixel has a label of its own."""
        return self.task_type in ("segmentation", "per_pixel_regression")


class RegistryFile(_Frozen):
    """`evaluation/registry.json`."""

    version: Literal[1] = REGISTRY_VERSION
    datasets: dict[str, DatasetEntry] = Field(default_factory=dict)
