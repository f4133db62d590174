"""How each model that rslearn wraps is built, and what it reads. Imports happen when one is built.

None of these ships here: packages and weights are the user's. What is stated is what the wrapper
cannot say itself: input key, bands in order, normalisation, width.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from geofm_assets.core.errors import WeightsError
from geofm_assets.evaluation.backbones.names import ModelChoice
from geofm_assets.evaluation.backbones.normalize import RULES, Factors, own_factors, std_factors
from geofm_assets.models.hub import ModelHub

S2, S1 = "sentinel2_l2a", "sentinel1"
_RGB = ("B04", "B03", "B02")
_TEN = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
_TWELVE = ("B01", *_TEN[:-2], "B09", *_TEN[-2:])


@dataclass(frozen=True)
class Reading:
    """What a wrapped model reads.

    Attributes:
        family: key of RULES.
        key: of its input.
        modality: of ours.
        bands: in its order.
        width: D.
        pretrained: normalisation by its own statistics; None if it has none.
        mean: taken off after normalisation, per band, with `std`; None for nothing.
        std: see mean.
        series: whether it reads all times at once; else each image is a pass of its own.
    """

    family: str
    key: str
    modality: str
    bands: tuple[str, ...]
    width: int
    pretrained: Factors | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    series: bool = False


@dataclass(frozen=True)
class Wrapped:
    """A built model.

    Attributes:
        module: takes a `ModelContext`, returns `FeatureMaps`.
        reading: what it reads.
        start: what its weights are, in words.
        weights: their file; None where a package or torch hub keeps it.
    """

    module: torch.nn.Module
    reading: Reading
    start: str
    weights: Path | None = None


def _files(
    choice: ModelChoice, hub: ModelHub | None, location: str, files: tuple[str, ...]
) -> tuple[Path, str]:
    """Folder that holds the files a model needs, and what it is in words."""
    if choice.source == "hub":
        assert hub is not None  # build_model refuses a hub nobody gave
        bundle = hub.fetch(choice.location or location, files)
        return bundle.folder, f"hub {bundle.name}"
    folder = Path(choice.location or "").expanduser()
    for name in files:
        if not (folder / name).is_file():
            raise WeightsError(
                f"{choice.name} needs the file {name}",
                where=str(folder),
                fix=f"Take it from the hub's {location}",
            )
    return folder, f"path {choice.location}"


def _only_hub(choice: ModelChoice) -> str:
    """Of a package that fetches its weights itself."""
    if choice.source != "hub" or choice.location:
        raise WeightsError(
            f"The package of {choice.name} fetches its weights by itself",
            where=f"model {choice.text}",
            fix=f"Write {choice.name}@hub",
        )
    return "published weights, fetched by the model's package"


@contextmanager
def _torch_hub(choice: ModelChoice, repository: str) -> Iterator[str]:
    """Torch hub's folder set to the one given, which must hold the repository's code."""
    if choice.source == "hub":
        if choice.location:
            raise WeightsError(
                f"{choice.name} comes from torch hub's {repository} alone",
                where=f"model {choice.text}",
                fix=f"Write {choice.name}@hub",
            )
        yield f"published weights, torch hub {repository}"
        return
    folder = Path(choice.location or "").expanduser()
    if not any(folder.glob(f"{repository.replace('/', '_')}_*")):
        raise WeightsError(
            f"{choice.name} needs the code of {repository} as torch hub keeps it",
            where=str(folder),
            fix=f"Give a torch hub folder that holds {repository.replace('/', '_')}_main",
        )
    before = torch.hub.get_dir()
    torch.hub.set_dir(str(folder))
    try:
        yield f"path {choice.location}"
    finally:
        torch.hub.set_dir(before)


def _croma(choice: ModelChoice, hub: ModelHub | None) -> Wrapped:
    """CROMA, Fuller et al. 2023 (arXiv 2311.00566)."""
    from rslearn.models.croma import Croma, CromaModality, CromaSize

    size = CromaSize(choice.name.split("_")[1])
    file = f"CROMA_{size.value}.pt"
    folder, start = _files(choice, hub, "antofuller/CROMA", (file,))
    radar = choice.name.endswith("_s1")
    module = Croma(
        size=size,
        modality=CromaModality.SENTINEL1 if radar else CromaModality.SENTINEL2,
        pretrained_path=str(folder / file),
        do_resizing=True,
    )
    width = {"base": 768, "large": 1024}[size.value]
    key, modality, bands = ("sentinel1", S1, ("vv", "vh")) if radar else ("sentinel2", S2, _TWELVE)
    return Wrapped(module, Reading("croma", key, modality, bands, width), start, folder / file)


def _panopticon(choice: ModelChoice, hub: ModelHub | None) -> Wrapped:
    """Panopticon, Waldmann et al. 2025 (arXiv 2503.10845)."""
    from rslearn.models.panopticon import Panopticon

    with _torch_hub(choice, "panopticon-FM/panopticon") as start:
        module = Panopticon(band_order={"sentinel2": list(_TWELVE)})
    return Wrapped(module, Reading("panopticon", "sentinel2", S2, _TWELVE, 768), start)


def _dinov3(choice: ModelChoice, hub: ModelHub | None) -> Wrapped:
    """DINOv3, Siméoni et al. 2025 (arXiv 2508.10104); its weights are gated."""
    from rslearn.models.dinov3 import DINOV3_PTHS, DinoV3, DinoV3Models, DinoV3Normalize

    size = DinoV3Models(choice.name)
    if choice.source != "path":
        raise WeightsError(
            f"The weights of {choice.name} are given out by their owner only",
            where=f"model {choice.text}",
            fix=f"Write {choice.name}@path:FOLDER, a torch hub folder that holds "
            f"{DINOV3_PTHS[size]}",
        )
    folder, _ = _files(choice, hub, "facebookresearch/dinov3", (DINOV3_PTHS[size],))
    with _torch_hub(choice, "facebookresearch/dinov3") as start:
        module = DinoV3(checkpoint_dir=str(folder), size=size)
    normal = DinoV3Normalize(satellite=choice.name.endswith("_sat")).normalize
    mean, std = (
        tuple(float(v) / 255 for v in torch.as_tensor(t).flatten())
        for t in (normal.mean, normal.std)
    )
    width = 768 if "vitb" in choice.name else 1024
    reading = Reading("dinov3", "image", S2, _RGB, width, mean=mean, std=std)
    return Wrapped(module, reading, start, folder / DINOV3_PTHS[size])


def _prithvi(choice: ModelChoice, hub: ModelHub | None) -> Wrapped:
    """Prithvi-EO 2.0, Szwarcman et al. 2024 (arXiv 2412.02732); statistics of its config.json."""
    from rslearn.models.prithvi import MODEL_TO_HF_INFO, PrithviV2, PrithviV2Models, get_config

    size = PrithviV2Models(f"VIT_{choice.name.rsplit('_', 1)[1]}")
    known = MODEL_TO_HF_INFO[size]
    location = f"{known['hf_hub_id']}@{known['revision']}"
    folder, start = _files(choice, hub, location, ("config.json", known["weights"]))
    config = get_config(folder, known["hf_hub_id"], known["revision"])
    rule = RULES["prithvi"]["pretrained"]
    reading = Reading(
        "prithvi",
        "image",
        S2,
        ("B02", "B03", "B04", "B8A", "B11", "B12"),
        int(config["embed_dim"]),
        std_factors(rule, config["mean"], config["std"]),
    )
    module = PrithviV2(cache_dir=folder, size=size)
    return Wrapped(module, reading, start, folder / known["weights"])


def _terramind(choice: ModelChoice, hub: ModelHub | None) -> Wrapped:
    """TerraMind 1.0, Jakubik et al. 2025 (arXiv 2504.11171)."""
    from rslearn.models.terramind import PRETRAINED_BANDS, Terramind, TerramindSize

    start = _only_hub(choice)
    size = TerramindSize(choice.name.rsplit("_", 1)[1])
    known = PRETRAINED_BANDS["S2L2A"]
    rule = RULES["terramind"]["pretrained"]
    means, stds = ([values[i] for values in known.values()] for i in (0, 1))
    width = {"base": 768, "large": 1024}[size.value]
    reading = Reading("terramind", "S2L2A", S2, tuple(known), width, std_factors(rule, means, stds))
    return Wrapped(Terramind(size, ["S2L2A"], do_resizing=True), reading, start)


def _clay(choice: ModelChoice, hub: ModelHub | None) -> Wrapped:
    """Clay 1.5; its bands' statistics are those of its metadata.yaml."""
    from rslearn.models.clay.clay import CLAY_METADATA_PATH, Clay, ClaySize

    file, modality = "v1.5/clay-v1.5.ckpt", "sentinel-2-l2a"
    folder, start = _files(choice, hub, "made-with-clay/Clay", (file,))
    known: Any = yaml.safe_load(Path(CLAY_METADATA_PATH).read_text())[modality]
    names = {
        "blue": "B02",
        "green": "B03",
        "red": "B04",
        "rededge1": "B05",
        "rededge2": "B06",
        "rededge3": "B07",
        "nir": "B08",
        "nir08": "B8A",
        "swir16": "B11",
        "swir22": "B12",
    }
    order = known["band_order"]
    means, stds = ([known["bands"][what][b] for b in order] for what in ("mean", "std"))
    factors = std_factors(RULES["clay"]["pretrained"], means, stds)
    bands = tuple(names[band] for band in order)
    module = Clay(ClaySize.LARGE, modality, checkpoint_path=str(folder / file), do_resizing=True)
    reading = Reading("clay", modality, S2, bands, 1024, factors)
    return Wrapped(module, reading, start, folder / file)


def _anysat(choice: ModelChoice, hub: ModelHub | None) -> Wrapped:
    """AnySat, Astruc et al. 2024 (arXiv 2412.14123)."""
    from rslearn.models.anysat import AnySat

    with _torch_hub(choice, "gastruc/anysat") as start:
        module = AnySat(modalities=["s2"], patch_size_meters=10)
    return Wrapped(module, Reading("anysat", "s2", S2, _TEN, 768, series=True), start)


def _satlas(choice: ModelChoice, hub: ModelHub | None) -> Wrapped:
    """SatlasPretrain, Bastani et al. 2023 (arXiv 2211.15660); divisors of its Normalization.md.

    Its first three channels are ESA's 8-bit true-colour image, which reaches 255 at a digital
    number of 3558.
    """
    from rslearn.models.satlaspretrain import SatlasPretrain

    start = _only_hub(choice)
    bands = (*_RGB, "B05", "B06", "B07", "B08", "B11", "B12")
    spans = [3558.0] * 3 + [8160.0] * 6
    factors = own_factors(RULES["satlas"]["pretrained"], [0.0] * len(bands), spans)
    module = SatlasPretrain("Sentinel2_SwinB_SI_MS", resize_to_pretrain=True)
    return Wrapped(module, Reading("satlas", "image", S2, bands, 1024, factors), start)


BUILDERS: dict[str, Callable[[ModelChoice, ModelHub | None], Wrapped]] = {
    "croma": _croma,
    "panopticon": _panopticon,
    "dinov3": _dinov3,
    "prithvi": _prithvi,
    "terramind": _terramind,
    "clay": _clay,
    "anysat": _anysat,
    "satlas": _satlas,
}
PACKAGES = {
    "prithvi": "timm",
    "terramind": "terratorch",
    "clay": "terratorch",
    "satlas": "satlaspretrain_models",
}
