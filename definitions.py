"""The code location: what the platform is made of, in one place.

Label sources, one set of assets per task file, the SQL models, sensors, schedules and resources
are put together by `build_definitions` from the task files found and the settings of the store
(`GEOFM_STORE`). Load it with `dagster dev -m definitions`, `dg dev` or `geofm ui`.
"""

import warnings

import dagster as dg

# backfill_policy is beta and partitioned asset checks are preview in 1.13: known, and tested here
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)

from geofm_assets.core.redact import redact_logs  # noqa: E402
from geofm_assets.platform.definitions import build_definitions  # noqa: E402

redact_logs()
defs = build_definitions()
