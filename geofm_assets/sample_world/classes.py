"""The land the sample world is covered with: classes, their codes, their shares.

Codes and sampling labels are those of WorldCereal's legend (crop_type_class_mappings.csv of
worldcereal-classification, MIT). Shares are chosen so that cropland and the rest are about even
and each holds what the other can be mistaken for: temporary grass and meadows, fallow and natural
grassland, orchards and shrubs, coppiced willow and broadleaved trees.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

Leaf = Literal["crop", "grass", "broadleaf", "conifer"]
Canopy = Literal["cereal", "broad", "grass", "shrub", "deciduous", "conifer", "none"]


@dataclass(frozen=True)
class LandClass:
    """One kind of land.

    Attributes:
        name: short name.
        ewoc_code: WorldCereal code.
        sampling_label: WorldCereal's `sampling_label`, the file's `sampling_ewoc_code`.
        cropland: whether it is cropland in the wide sense (temporary and permanent crops, fallow).
        share: weight among the classes of its side of that line.
        leaf: which green endmember its vegetation has.
        canopy: which radar canopy it has.
        annual: sown anew every year, so that its neighbours in time are other annual crops.
        plain: label in the file for anybody's labels.
    """

    name: str
    ewoc_code: int
    sampling_label: str
    cropland: bool
    share: float
    leaf: Leaf
    canopy: Canopy
    annual: bool
    plain: Literal["crops", "grass", "other"]


CLASSES = (
    LandClass("wheat", 1101010011, "wheat", True, 0.23, "crop", "cereal", True, "crops"),
    LandClass("barley", 1101020001, "barley", True, 0.10, "crop", "cereal", True, "crops"),
    LandClass("rapeseed", 1106000031, "rapeseed_rape", True, 0.08, "crop", "broad", True, "crops"),
    LandClass("maize", 1101060000, "maize", True, 0.22, "crop", "broad", True, "crops"),
    LandClass("sunflower", 1106000010, "sunflower", True, 0.09, "crop", "broad", True, "crops"),
    LandClass(
        *("temporary_grass", 1111000010, "grass_fodder_crops", True, 0.11),
        *("grass", "grass", False, "grass"),
    ),
    LandClass("fallow", 1115000000, "fallow", True, 0.06, "grass", "grass", True, "crops"),
    LandClass("orchard", 1201000000, "fruits", True, 0.08, "broadleaf", "shrub", False, "crops"),
    LandClass(
        *("willow", 1206000160, "other_permanent_crops", True, 0.03),
        *("broadleaf", "deciduous", False, "other"),
    ),
    LandClass("meadow", 2001020020, "grasslands", False, 0.24, "grass", "grass", False, "grass"),
    LandClass(
        *("natural_grassland", 2001010000, "grasslands", False, 0.14),
        *("grass", "grass", False, "grass"),
    ),
    LandClass(
        "shrubland", 3005000000, "shrubland", False, 0.14, "broadleaf", "shrub", False, "other"
    ),
    LandClass(
        *("broadleaved", 4102000000, "trees_broadleaved", False, 0.16),
        *("broadleaf", "deciduous", False, "other"),
    ),
    LandClass(
        "coniferous",
        4201000000,
        "trees_coniferous",
        False,
        0.11,
        "conifer",
        "conifer",
        False,
        "other",
    ),
    LandClass(
        *("bare", 5009000000, "bare_sparsely_vegetated", False, 0.06),
        *("grass", "none", False, "other"),
    ),
    LandClass("built_up", 6005000000, "built_up", False, 0.09, "grass", "none", False, "other"),
    LandClass("water", 7002000000, "open_water", False, 0.06, "grass", "none", False, "other"),
)

INDEX = {land.name: number for number, land in enumerate(CLASSES)}
ANNUAL = np.array([i for i, land in enumerate(CLASSES) if land.annual and land.name != "fallow"])


def draw_classes(rng: np.random.Generator, cropland: np.ndarray) -> np.ndarray:
    """A class for each field, by the shares of its side; int64, the shape of `cropland`."""
    drawn = np.empty(len(cropland), dtype=np.int64)
    for side in (True, False):
        ids = np.array([i for i, land in enumerate(CLASSES) if land.cropland is side])
        shares = np.array([CLASSES[i].share for i in ids])
        mask = cropland == side
        drawn[mask] = rng.choice(ids, size=int(mask.sum()), p=shares / shares.sum())
    return drawn
