"""Names of the models that can be evaluated, and which weights a name asks for.

Apart from their code, so that a list of models or a typing error costs no import of torch.
"""

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from geofm_assets.core.errors import ConfigError, WeightsError
from geofm_assets.models.names import OLMOEARTH_WIDTHS, PRESTO

RAW_PIXELS = "raw_pixels"
IMAGE_STATISTICS = "image_statistics"
CHECKPOINT = "checkpoint:"
# Read out through location tokens, so they are evaluated here but not fine-tuned.
OLMOEARTH_V1_3 = ("olmoearth_v1_3_base",)
OLMOEARTH = (*sorted(OLMOEARTH_WIDTHS), *OLMOEARTH_V1_3)
GALILEO = ("galileo_nano", "galileo_tiny", "galileo_base")
# What rslearn wraps, by name: (what it is, what must be installed or reachable besides weights).
WRAPPED = {
    "croma_base": ("CROMA base on Sentinel-2", ""),
    "croma_large": ("CROMA large on Sentinel-2", ""),
    "croma_base_s1": ("CROMA base on Sentinel-1", ""),
    "croma_large_s1": ("CROMA large on Sentinel-1", ""),
    "panopticon": ("Panopticon ViT-B/14 on Sentinel-2", "code of its torch hub repository"),
    "dinov3_vitb16": ("DINOv3 ViT-B/16 (web images)", "code of its torch hub repository"),
    "dinov3_vitl16": ("DINOv3 ViT-L/16 (web images)", "code of its torch hub repository"),
    "dinov3_vitl16_sat": ("DINOv3 ViT-L/16 (satellite)", "code of its torch hub repository"),
    "prithvi_v2_300": ("Prithvi-EO 2.0, 300M", "package timm"),
    "prithvi_v2_600": ("Prithvi-EO 2.0, 600M", "package timm"),
    "terramind_v1_base": ("TerraMind 1.0 base on Sentinel-2", "package terratorch"),
    "terramind_v1_large": ("TerraMind 1.0 large on Sentinel-2", "package terratorch"),
    "clay": ("Clay 1.5 large on Sentinel-2", "package terratorch"),
    "anysat": ("AnySat base on Sentinel-2 series", "code of its torch hub repository"),
    "satlas": ("SatlasPretrain Swin-v2-B on Sentinel-2", "package satlaspretrain_models"),
}
BUILT = (*OLMOEARTH, PRESTO, *GALILEO)
"""Models of which a random start can be built without fetching anything."""
NAMES = (*BUILT, RAW_PIXELS, IMAGE_STATISTICS, *WRAPPED)

# Families whose published evaluations normalise by the dataset only (full_eval_sweep of
# olmoearth_pretrain; the baselines know nothing but the dataset).
DATASET_ONLY = ("croma", "panopticon", "dinov3", "anysat", RAW_PIXELS, IMAGE_STATISTICS)

PatchSizes = tuple[int, ...]
FLEXIBLE: PatchSizes = (4, 1, 2, 8)
PIXEL: PatchSizes = (1,)
WRAPPED_PATCHES: PatchSizes = (8, 4, 2, 1)

_CHECKPOINT_NAME = re.compile(r"checkpoint:(?P<task>[A-Za-z0-9_.\-]+)/(?P<experiment>[^/@]+)")
_WAYS = "path:FOLDER, hub, hub:OWNER/REPO or seed:NUMBER"


@dataclass(frozen=True)
class KnownModel:
    """One name for `--model`.

    Attributes:
        name: what to write.
        what: what it is.
        normalizations: rules it runs with, the default first.
        patch_sizes: it runs with, the default first.
        needs: what must be given or installed for it; empty if nothing.
    """

    name: str
    what: str
    normalizations: tuple[Literal["pretrained", "dataset"], ...]
    patch_sizes: PatchSizes
    needs: str


@dataclass(frozen=True)
class ModelChoice:
    """A name and the weights it asks for.

    Attributes:
        name: of the model, without weights.
        text: all that was asked for; what the scores call the model.
        source: `random`, `path` or `hub`; None for models that have no choice of weights.
        location: folder (of Presto also a file), or `owner/repo[@revision]`; None for the
            published repository.
        seed: of a random start.
    """

    name: str
    text: str
    source: Literal["random", "path", "hub"] | None
    location: str | None = None
    seed: int = 0

    @property
    def checkpoint(self) -> tuple[str, str] | None:
        """Task and experiment, if the name is of a fine-tuned checkpoint."""
        found = _CHECKPOINT_NAME.fullmatch(self.name)
        return (found["task"], found["experiment"]) if found else None


def known_models() -> list[KnownModel]:
    """Every name `build_model` understands, in the order they are worth listing."""
    return [_known(name) for name in NAMES] + [
        KnownModel(
            "checkpoint:<task>/<experiment>",
            "an encoder fine-tuned here",
            ("pretrained",),
            (),
            "the task's checkpoint in the store",
        )
    ]


def normalizations(name: str) -> tuple[Literal["pretrained", "dataset"], ...]:
    """Rules a model of this name runs with, the default first."""
    only_dataset = name.startswith(DATASET_ONLY)
    return ("dataset",) if only_dataset else ("pretrained", "dataset")


def _known(name: str) -> KnownModel:
    """A listed model."""
    if name in WRAPPED:
        what, needs = WRAPPED[name]
        needs = "weights (@path: or @hub)" + (f" and {needs}" if needs else "")
        return KnownModel(name, what, normalizations(name), WRAPPED_PATCHES, needs)
    if name == RAW_PIXELS:
        what, patches = "baseline: each pixel's bands at all times", PIXEL
    elif name == IMAGE_STATISTICS:
        what, patches = "baseline: statistics of each band over the window", PIXEL
    elif name == PRESTO:
        what, patches = "Presto, pixel time series", PIXEL
    else:
        family = "OlmoEarth" if name in OLMOEARTH else "Galileo"
        version, _, size = name.partition("_")[2].rpartition("_")
        what = " ".join(part for part in (family, version.replace("_", "."), size) if part)
        patches = FLEXIBLE
    return KnownModel(name, what, normalizations(name), patches, "")


def parse_model(text: str, *, weights: str | None = None, seed: int = 0) -> ModelChoice:
    """Name and weights of what was asked for.

    Args:
        text: `name` or `name@weights`, weights being `path:FOLDER`, `hub` (the published
            repository), `hub:OWNER/REPO[@REVISION]` or `seed:NUMBER` (a random start).
        weights: the same weights given apart from the name.
        seed: of a random start, where nothing says which weights.

    Raises:
        ConfigError: no such model or weights, weights given twice or to what has none.
    """
    where = f"--model {text!r}"
    name, _, said = text.partition("@")
    if said and weights and said != weights:
        raise ConfigError(
            f"Two weights are asked for, {said!r} and {weights!r}", where=where, fix="Name one"
        )
    said = said or weights or ""
    text = f"{name}@{said}" if said else name
    if name.startswith(CHECKPOINT):
        if not _CHECKPOINT_NAME.fullmatch(name):
            raise ConfigError(
                "Not the name of a checkpoint",
                where=where,
                fix="Write checkpoint:TASK/EXPERIMENT, as in the store",
            )
        return _without_weights(name, text, said, where)
    if name not in NAMES:
        close = difflib.get_close_matches(name, NAMES, n=1)
        hint = f"Did you mean {close[0]}? " if close else ""
        raise ConfigError(
            f"No model is named {name!r}",
            where=where,
            fix=f"{hint}Use one of {', '.join(NAMES)}, checkpoint:TASK/EXPERIMENT",
        )
    if name in (RAW_PIXELS, IMAGE_STATISTICS):
        return _without_weights(name, text, said, where)
    if not said:
        if name in WRAPPED:
            raise ConfigError(
                f"{name} has no random start, so its weights must be named",
                where=where,
                fix=f"Write {name}@path:FOLDER or {name}@hub",
            )
        return ModelChoice(name, text if seed == 0 else f"{name}@seed:{seed}", "random", seed=seed)
    return _with_weights(name, text, said, where)


def require_folder(choice: ModelChoice) -> None:
    """Refuse weights that are named by a path where there are none.

    Raises:
        WeightsError: no such folder, or a file where a folder is needed.
    """
    where = f"model {choice.text}"
    path = Path(choice.location or "").expanduser()
    if choice.source != "path" or path.is_dir():
        return
    if not path.is_file():
        raise WeightsError(
            f"There is no folder {choice.location}", where=where, fix="Give the weights' folder"
        )
    if choice.name != PRESTO:
        raise WeightsError(
            f"{choice.location} is a file, and {choice.name} needs a folder",
            where=where,
            fix="Give the folder that holds its files",
        )


def _without_weights(name: str, text: str, said: str, where: str) -> ModelChoice:
    """A model that is what it is."""
    if said:
        raise ConfigError(f"{name} has no choice of weights", where=where, fix=f"Write {name}")
    return ModelChoice(name, text, None)


def _with_weights(name: str, text: str, said: str, where: str) -> ModelChoice:
    """A model whose weights are named."""
    way, _, rest = said.partition(":")
    if way == "path" and rest:
        return ModelChoice(name, text, "path", rest)
    if way == "hub" and (rest or ":" not in said):
        return ModelChoice(name, text, "hub", rest or None)
    if way == "seed" and rest.isdecimal() and int(rest) < 2**63:
        if name in WRAPPED:
            raise ConfigError(
                f"{name} has no random start", where=where, fix=f"Write {name}@path:FOLDER"
            )
        return ModelChoice(name, text, "random", seed=int(rest))
    raise ConfigError(f"No such weights: {said!r}", where=where, fix=f"Write {name}@ and {_WAYS}")
