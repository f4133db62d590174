"""Loading weights, and the proof that they were loaded."""

import hashlib
import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch

from geofm_assets.core.errors import WeightsError
from geofm_assets.core.hashing import json_digest

_SHOWN = 5


@dataclass(frozen=True)
class WeightsProof:
    """What an encoder started from, and how much of it.

    Attributes:
        start: in words, for every score: `random initialisation, seed 0`, `path …`, `hub …`.
        sha256: of the weights file; None where there was none.
        tensors_loaded: encoder tensors taken from the file.
        tensors_total: encoder tensors there are.
        parameters_loaded: values in the loaded tensors.
        parameters_total: values in all encoder tensors.
        share: parameters_loaded / parameters_total.
        missing: encoder keys the file has not, each allowed by the caller.
        unexpected: encoder keys of the file the encoder has not, each allowed by the caller.
        model_id: sha256 of the encoder's weights as it starts, plus its configuration.
        key_map: (key in the file, key in the encoder) of every loaded tensor.
        unused: top-level parts of the file the encoder does not use (a decoder), with their
            tensor counts.
    """

    start: str
    sha256: str | None
    tensors_loaded: int
    tensors_total: int
    parameters_loaded: int
    parameters_total: int
    share: float
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    model_id: str
    key_map: tuple[tuple[str, str], ...] = ()
    unused: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready, as written to `weights.json`."""
        return asdict(self)


def state_digest(state: Mapping[str, torch.Tensor]) -> str:
    """Hex sha256 of names, types, shapes and bytes of tensors, whatever their order or device."""
    digest = hashlib.sha256()
    for key in sorted(state):
        tensor = state[key].detach().cpu().contiguous()
        digest.update(f"{key}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def model_id(state: Mapping[str, torch.Tensor], config: Mapping[str, Any]) -> str:
    """Hex sha256 of weights plus configuration: the identity of a model."""
    return json_digest({"weights": state_digest(state), "config": dict(config)})


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a weights file, read without running any code in it.

    Raises:
        WeightsError: no such file, not a state dict, or it holds more than tensors.
    """
    if not path.is_file():
        raise WeightsError("No weights file", where=str(path), fix="Give the folder that holds it")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        reason = (str(error) or repr(error)).splitlines()[0]
        raise WeightsError(
            f"The weights file cannot be read: {reason}",
            where=str(path),
            fix="Give a file written by torch.save(model.state_dict())",
        ) from error
    if not isinstance(state, dict) or not state:
        raise WeightsError("The weights file holds no state dict", where=str(path))
    for key, value in state.items():
        if not isinstance(value, torch.Tensor):
            raise WeightsError(
                f"The weights file holds a {type(value).__name__}, not a tensor",
                where=f"{path}, key {key!r}",
                fix="Save the state dict alone",
            )
    return state


@dataclass(frozen=True)
class LoadedKeys:
    """Which keys of a weights file went where.

    Attributes:
        key_map: (key in the file, key in the encoder) of every loaded tensor.
        missing: allowed missing encoder keys.
        unexpected: allowed unexpected encoder keys.
        unused: tensor counts of the file's other parts.
    """

    key_map: tuple[tuple[str, str], ...] = ()
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    unused: dict[str, int] = field(default_factory=dict)


def make_proof(
    encoder: torch.nn.Module,
    start: str,
    config: Mapping[str, Any],
    sha256: str | None = None,
    loaded: LoadedKeys | None = None,
) -> WeightsProof:
    """Count what was loaded into an encoder and name the result."""
    keys = loaded or LoadedKeys()
    state = encoder.state_dict()
    total = sum(t.numel() for t in state.values())
    taken = sum(state[key].numel() for _, key in keys.key_map)
    return WeightsProof(
        start=start,
        sha256=sha256,
        tensors_loaded=len(keys.key_map),
        tensors_total=len(state),
        parameters_loaded=taken,
        parameters_total=total,
        share=taken / total,
        missing=keys.missing,
        unexpected=keys.unexpected,
        model_id=model_id(state, config),
        key_map=keys.key_map,
        unused=keys.unused,
    )


def load_encoder(
    module: torch.nn.Module,
    state: Mapping[str, torch.Tensor],
    *,
    prefix: str,
    where: str,
    allow: tuple[str, ...] = (),
) -> LoadedKeys:
    """Copy a file's encoder tensors into a module and verify that they are there.

    Args:
        module: the encoder; changed in place.
        state: tensors of the whole file.
        prefix: what the file puts before encoder keys, `encoder.`.
        where: the file, for messages.
        allow: patterns (fnmatch) of encoder keys that may be missing or unexpected.

    Raises:
        WeightsError: a key is missing or unexpected and not allowed, a shape differs, a value is
            not finite, or a tensor differs from the file after loading.
    """
    own = module.state_dict()
    given = {k.removeprefix(prefix): k for k in state if k.startswith(prefix)}
    unused: dict[str, int] = {}
    for key in state:
        if not key.startswith(prefix):
            part = key.split(".", 1)[0]
            unused[part] = unused.get(part, 0) + 1
    missing = tuple(sorted(set(own) - set(given)))
    unexpected = tuple(sorted(set(given) - set(own)))
    _refuse("is missing", missing, allow, where)
    _refuse("is unexpected", unexpected, allow, where)
    key_map = tuple((given[key], key) for key in sorted(set(own) & set(given)))
    for source, target in key_map:
        if state[source].shape != own[target].shape:
            raise WeightsError(
                f"Encoder tensor {target!r} has shape {tuple(state[source].shape)}, "
                f"the architecture wants {tuple(own[target].shape)}",
                where=where,
                fix="Give the weights of the encoder named",
            )
        if state[source].is_floating_point() and not bool(state[source].isfinite().all()):
            raise WeightsError(
                f"Encoder tensor {target!r} holds NaN or infinity", where=where, fix="Fetch it anew"
            )
    module.load_state_dict({target: state[source] for source, target in key_map}, strict=False)
    loaded = module.state_dict()
    for source, target in key_map:
        if not torch.equal(loaded[target], state[source].to(loaded[target].dtype)):
            raise WeightsError(
                f"Encoder tensor {target!r} differs from the file after loading", where=where
            )
    return LoadedKeys(key_map, missing, unexpected, unused)


def _refuse(what: str, keys: tuple[str, ...], allow: tuple[str, ...], where: str) -> None:
    """Raise for the keys no pattern allows."""
    refused = [k for k in keys if not any(fnmatchcase(k, pattern) for pattern in allow)]
    if refused:
        shown = ", ".join(refused[:_SHOWN]) + (", …" if len(refused) > _SHOWN else "")
        noun = "1 encoder key" if len(refused) == 1 else f"{len(refused)} encoder keys"
        verb = what if len(refused) == 1 else what.replace("is ", "are ")
        raise WeightsError(
            f"{noun} {verb}: {shown}",
            where=where,
            fix="Give the weights of the encoder named, or list the keys in `allow`",
        )
