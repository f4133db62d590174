"""Small generated samples in the stored units, as an evaluation dataset would hold them."""

import datetime as dt

import numpy as np

from geofm_assets.evaluation.registry.entry import BandStatistics, ModalityEntry
from geofm_assets.evaluation.samples.types import EvalSample, SampleImage

S2, S1, LANDSAT = "sentinel2_l2a", "sentinel1", "landsat"
# Stored orders differ from every model's on purpose.
BANDS = {
    S2: ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12"),
    S1: ("vh", "vv"),
    LANDSAT: tuple(f"B{i}" for i in range(1, 12)),
}
RANGE = {S2: (200.0, 5000.0), S1: (-25.0, -5.0), LANDSAT: (7000.0, 20000.0)}


def month(number, year=2022):
    """A month's start and end."""
    start = dt.datetime(year, number, 1, tzinfo=dt.UTC)
    return start, start + dt.timedelta(days=28)


def image(modality=S2, months=(5, 6, 7), seed=0, size=8, bands=None, year=2022):
    """Uniform noise within the modality's range."""
    names = BANDS[modality] if bands is None else tuple(bands)
    low, high = RANGE[modality]
    draw = np.random.default_rng([seed, len(modality)])
    values = draw.uniform(low, high, (len(months), len(names), size, size)).astype(np.float32)
    return SampleImage(values, names, tuple(month(m, year) for m in months))


def sample(sample_id="a", months=(5, 6, 7), modalities=(S2, S1), seed=0, size=8, **options):
    """A sample without any gap."""
    images = {name: image(name, months, seed, size, **options) for name in modalities}
    return EvalSample(sample_id, images, 0, 9.1, 42.2)


def changed(one, modality, change):
    """A copy of a sample whose values of one modality were changed in place."""
    old = one.images[modality]
    values = old.values.copy()
    change(values)
    images = one.images | {modality: SampleImage(values, old.bands, old.timestamps)}
    return EvalSample(one.sample_id, images, one.label, one.lon, one.lat)


def statistics(low, high):
    """Of uniform values between two bounds."""
    mean, std = (low + high) / 2, (high - low) / 12**0.5
    p02, p98 = low + 0.02 * (high - low), low + 0.98 * (high - low)
    return BandStatistics(
        count=1000, mean=mean, std=std, min=low, max=high, p02=p02, p50=mean, p98=p98
    )


def entry(modality=S2, bands=None, timesteps=3, filled=()):
    """What a registry would say of a modality."""
    names = BANDS[modality] if bands is None else tuple(bands)
    return ModalityEntry(
        bands=names,
        timesteps=timesteps,
        nodata=None,
        statistics={n: statistics(*RANGE[modality]) for n in names if n not in filled},
        filled_bands=tuple(filled),
    )


ENTRIES = {name: entry(name) for name in (S2, S1)}
