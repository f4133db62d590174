"""A code location of the real assets from labels to windows, for one task of a label file.

`geofm run`'s own takes longer to load. Beside them the shared WorldCereal assets.
"""

import warnings
from pathlib import Path

import dagster as dg

warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)

from geofm_assets.core.resources import StoreResource  # noqa: E402
from geofm_assets.core.settings import load_settings  # noqa: E402
from geofm_assets.labels.assets import build_csv_assets, build_worldcereal_assets  # noqa: E402
from geofm_assets.labels.config import LabelsConfig, MinConfidence  # noqa: E402
from geofm_assets.labels.resources import RdmClient  # noqa: E402
from geofm_assets.labels.source import label_source  # noqa: E402
from geofm_assets.platform.executors import build_executor  # noqa: E402
from geofm_assets.sampling.assets import build_sampling_assets  # noqa: E402
from geofm_assets.sampling.config import SamplingConfig, SplitConfig  # noqa: E402
from geofm_assets.sampling.task import SamplingTask  # noqa: E402

NAME = "fields"
RESOLUTION = 9  # cells of about 350 m
settings = load_settings()
labels = LabelsConfig(
    source="csv",
    rule="identity",
    classes=["crop", "other"],
    file=str(Path(settings.store).parent / "labels.csv"),
)
task = SamplingTask(
    name=NAME,
    source=label_source(NAME, labels),
    labels=labels,
    sampling=SamplingConfig(h3_resolution=RESOLUTION, per_cell=5),
    split=SplitConfig(by="ai2_hash"),
    window_extent_m=40.0,
)
defs = dg.Definitions(
    assets=[
        *build_worldcereal_assets([MinConfidence(land_cover=0, crop_type=0)]),
        *build_csv_assets(task.source),
        *build_sampling_assets(task),
    ],
    resources={
        "store": StoreResource(url=settings.store),
        "rdm": RdmClient(location=settings.rdm or "", timeout_s=300),
    },
    executor=build_executor(settings),
)
