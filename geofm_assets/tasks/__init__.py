"""One folder with one defs.yaml a task, and the component that turns it into assets."""

from geofm_assets.tasks.component import FineTuneTask

__all__ = ["FineTuneTask"]
