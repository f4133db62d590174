"""What a package's own loading really put into a model: seen from outside, proved by value.

The models that rslearn wraps load their weights themselves, some leniently. Here every state dict
given to a module while a model is built is noted, and each parameter is then looked up among them.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from geofm_assets.core.hashing import sha256_file
from geofm_assets.models.proof import WeightsProof, state_digest


@dataclass
class GivenWeights:
    """Tensors that were given to modules.

    Attributes:
        tensors: each with its key in the state dict it came in.
    """

    tensors: list[tuple[str, torch.Tensor]] = field(default_factory=list)

    def add(self, state: Mapping[str, Any]) -> None:
        """Note a state dict."""
        self.tensors += [(k, v) for k, v in state.items() if isinstance(v, torch.Tensor)]

    def proof(
        self, module: torch.nn.Module, start: str, model_id: str, weights: Path | None
    ) -> WeightsProof:
        """How much of a model holds the values it was given; then forget them.

        Parameters are what counts: buffers are recomputed by some, and learn nothing.

        Args:
            module: as it was built.
            start: what the weights are, in words.
            model_id: of the model.
            weights: their file; None where a package keeps it, and the sha256 is then that of the
                tensors given.
        """
        sources = {_value(tensor): key for key, tensor in self.tensors}
        own = dict(module.named_parameters())
        found = {name: sources.get(_value(tensor)) for name, tensor in own.items()}
        key_map = tuple((key, name) for name, key in sorted(found.items()) if key is not None)
        used = {key for key, _ in key_map}
        sha256 = None
        if self.tensors:
            numbered = {f"{i} {key}": tensor for i, (key, tensor) in enumerate(self.tensors)}
            sha256 = sha256_file(weights) if weights else state_digest(numbered)
        total = sum(tensor.numel() for tensor in own.values())
        taken = sum(own[name].numel() for _, name in key_map)
        unused = Counter(key.split(".", 1)[0] for key, _ in self.tensors if key not in used)
        self.tensors = []
        return WeightsProof(
            start=start,
            sha256=sha256,
            tensors_loaded=len(key_map),
            tensors_total=len(own),
            parameters_loaded=taken,
            parameters_total=total,
            share=taken / max(total, 1),
            missing=tuple(sorted(name for name, key in found.items() if key is None)),
            unexpected=(),
            model_id=model_id,
            key_map=key_map,
            unused=dict(sorted(unused.items())),
        )


@contextmanager
def watching_loads() -> Iterator[GivenWeights]:
    """Note every state dict given to any module within this context; not for several threads."""
    given, original = GivenWeights(), torch.nn.Module.load_state_dict

    def noting(
        module: torch.nn.Module, state_dict: Mapping[str, Any], *more: Any, **named: Any
    ) -> Any:
        result = original(module, state_dict, *more, **named)
        given.add(state_dict)
        return result

    torch.nn.Module.load_state_dict = noting  # type: ignore[assignment,method-assign]
    try:
        yield given
    finally:
        torch.nn.Module.load_state_dict = original  # type: ignore[method-assign]


def _value(tensor: torch.Tensor) -> str:
    """Digest of shape and values; half precision and float32 of the same values are the same."""
    plain = tensor.detach().cpu()
    if plain.is_floating_point():
        plain = plain.float()
    digest = hashlib.sha256(f"{plain.dtype}:{tuple(plain.shape)};".encode())
    digest.update(plain.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
