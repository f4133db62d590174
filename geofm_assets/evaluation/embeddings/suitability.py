"""Whether a model can run on a dataset, and how."""

from geofm_assets.core.errors import ModelInputError
from geofm_assets.evaluation.backbones.base import ModelInfo, Tokens
from geofm_assets.evaluation.embeddings.cost import places
from geofm_assets.evaluation.registry.entry import DatasetEntry

MOST_AT_ONCE = 32
_BATCH_BYTES = 256 << 20
_BAND_SETS = 3  # of Sentinel-2 under OlmoEarth v1, the most a modality is cut into
_USUAL_SIZE = 128


def require_suitable(
    info: ModelInfo, entry: DatasetEntry, normalization: str, patch_size: int
) -> None:
    """Refuse what a model or a dataset cannot do.

    Raises:
        ModelInputError: names what it can.
    """
    where = f"{info.name} on {entry.name}"
    if normalization not in info.normalizations:
        raise ModelInputError(
            f"The model has no {normalization} normalisation",
            where=where,
            fix=f"Choose one of {', '.join(info.normalizations)}",
        )
    if patch_size not in info.patch_sizes or entry.window_size % patch_size:
        raise _no_patch(info, entry, f"Patch size {patch_size} does not suit")


def choose_patch_size(info: ModelInfo, entry: DatasetEntry) -> int:
    """The model's first patch size that divides the dataset's windows.

    Raises:
        ModelInputError: none does.
    """
    for size in info.patch_sizes:
        if entry.window_size % size == 0:
            return size
    raise _no_patch(info, entry, "No patch size of the model suits")


def choose_batch_size(info: ModelInfo, entry: DatasetEntry, patch_size: int) -> int:
    """Samples at once, so that their tokens take no more than a few hundred megabytes."""
    tokens = places(entry, patch_size) * _BAND_SETS
    size = tokens * (info.embedding_size or _USUAL_SIZE) * 4
    return int(min(MOST_AT_ONCE, max(1, _BATCH_BYTES // size)))


def require_shape(
    tokens: Tokens, count: int, info: ModelInfo, entry: DatasetEntry, patch_size: int
) -> None:
    """Refuse tokens of another shape than the model says.

    A window's vector may come from any places; a map must have the places it says.

    Raises:
        ModelInputError: names the shape.
    """
    side = entry.window_size // patch_size
    shape = tuple(tokens.values.shape)
    good = len(shape) == 5 and shape[0] == count
    good = good and shape[-1] == (info.embedding_size or shape[-1])  # 0: it is the dataset's
    good = good and (not entry.dense or shape[1:3] == (side, side))
    if not good or tuple(tokens.valid.shape) != shape[:4] or len(tokens.modality) != shape[3]:
        raise ModelInputError(
            f"The model gave tokens {shape} for {count} samples of {side} x {side} places and "
            f"{info.embedding_size} channels",
            where=f"{info.name} on {entry.name}",
            fix="Correct the model's adapter",
        )


def _no_patch(info: ModelInfo, entry: DatasetEntry, what: str) -> ModelInputError:
    able = [str(p) for p in info.patch_sizes if entry.window_size % p == 0]
    return ModelInputError(
        f"{what} windows of {entry.window_size} pixels",
        where=f"{info.name} on {entry.name}",
        fix=f"Choose one of {', '.join(able)}" if able else "Choose another model",
    )
