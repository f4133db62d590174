"""What windows around polygons ask of the rest of a task file."""

from collections.abc import Sequence

from geofm_assets.labels.calfire.samples_config import PolygonWindows, SamplesConfig
from geofm_assets.labels.config import LabelsConfig
from geofm_assets.windows.config import WindowsConfig

_OF_POINTS = ("points", "spacing_m", "max_points_per_fire")
_AROUND = "labels.calfire.samples.around"


def labels_around(
    labels: LabelsConfig, windows: WindowsConfig, heads: Sequence[str]
) -> LabelsConfig:
    """The label settings, with what `windows.around` says of the samples put into them.

    Raises:
        ValueError: they do not go with windows around polygons; names the key.
    """
    fires = labels.calfire
    stated = None if fires is None else fires.samples.around
    if windows.around == "points":
        if stated is not None:
            raise ValueError(f"{_AROUND} follows from windows.around, which says points")
        return labels
    if fires is None:
        raise ValueError(
            "windows.around polygons needs labels.source calfire: other labels come as points"
        )
    if set(heads) != {"segmentation"}:
        raise ValueError(
            "experiments.head must be [segmentation] where windows.around says polygons: such a "
            "window is burnt somewhere, not in its middle, so it has no class of its own"
        )
    default = SamplesConfig()
    for key in _OF_POINTS:
        if getattr(fires.samples, key) != getattr(default, key):
            raise ValueError(
                f"labels.calfire.samples.{key} is of points, but windows.around says polygons"
            )
    around = PolygonWindows(size=windows.size, resolution=windows.resolution)
    if stated not in (None, around):
        raise ValueError(f"{_AROUND} follows from windows.size and resolution: leave it out")
    samples = fires.samples.model_copy(update={"around": around})
    return labels.model_copy(update={"calfire": fires.model_copy(update={"samples": samples})})
