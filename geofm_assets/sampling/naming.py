"""The name of a window, shared by whatever needs it before windows exist."""

import datetime


def window_name(h3_cell: str, lat: float, lon: float, valid_time: datetime.date) -> str:
    """Name of the window at a point: `{h3_cell}_{lat}_{lon}_{valid_time}`.

    Latitude and longitude are written as Python's shortest text that reads back as the same
    float, the date as YYYY-MM-DD. This is the rule of AI2's WorldCereal pipeline
    (rslearn_projects, create_windows_for_cropland, with the date since 2025-06-26), so names and
    everything hashed from them agree with it.

    Args:
        h3_cell: cell at the sampling resolution.
        lat: degrees, EPSG:4326.
        lon: degrees, EPSG:4326.
        valid_time: day the label is for.
    """
    return f"{h3_cell}_{float(lat)}_{float(lon)}_{valid_time.isoformat()}"
