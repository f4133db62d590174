"""Fixtures every test may use."""

import os
from pathlib import Path

import hypothesis
import pytest

# no test is timed: the first call of a compiled kernel loads it
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")
os.environ["DAGSTER_DISABLE_TELEMETRY"] = "1"
REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_dir() -> Path:
    """Folder of real WorldCereal samples; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("GEOFM_REAL_DATA", REPOSITORY.parent / "shared" / "real"))
    if not (folder / "worldcereal_corsica_2022").is_dir():
        pytest.skip(f"no real WorldCereal samples at {folder} (set GEOFM_REAL_DATA)")
    return folder
