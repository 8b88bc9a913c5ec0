"""Measurements of a model during training: blank frames, and gradients, updates and drift of each part."""

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, distributed, nn

from khasr.model.ctc import CtcModel
from khasr.model.finetune import plain_weights
from khasr.optim.parameters import named_parameters, part_of, parts


def count_blanks(log_probs: Tensor, frame_lengths: Tensor) -> Tensor:
    """The number of frames whose best symbol is the blank, without padding, on the device of log_probs.

    Args:
        log_probs: (batch, frames, vocab), blank first.
        frame_lengths: (batch,).
    """
    device = log_probs.device
    valid = torch.arange(log_probs.shape[1], device=device) < frame_lengths[:, None].to(device, non_blocking=True)
    return (log_probs.argmax(dim=-1).eq(0) & valid).sum()


def clip_gradients(model: nn.Module, part: Mapping[str, str], largest: float, sharded: bool = False) -> Tensor:
    """Clips the gradient to a maximum norm, as torch's clip_grad_norm_, and returns the norms before clipping.

    The result, (1 + parts,) on the device of the gradient, is the norm of the whole gradient and then the norms of the
    parts by name. These cost nothing extra, because the norm of the whole is computed from those of the parameters.

    Args:
        part: the part of each parameter, as returned by `parts`.
        largest: maximum norm; 0 for no clipping.
        sharded: each rank has a shard of every gradient; all ranks have to call this.
    """
    trained = [(name, p, p.grad) for name, p in named_parameters(model) if p.grad is not None]
    place = {name: index for index, name in enumerate(sorted(set(part.values())))}
    device = next(model.parameters()).device
    norms = (
        torch.stack(torch._foreach_norm([gradient for *_, gradient in trained]))
        if trained
        else torch.zeros(0, device=device)
    )
    wide = torch.promote_types(norms.dtype, torch.float32)  # float64 stays float64
    places = torch.tensor([place[part[name]] for name, *_ in trained], dtype=torch.long).to(device, non_blocking=True)
    squares = torch.zeros(len(place), dtype=wide, device=device).index_add_(0, places, norms.to(wide) ** 2)
    if sharded:
        distributed.all_reduce(squares)
        whole = squares.sum().sqrt()
    else:
        whole = torch.linalg.vector_norm(norms)
    torch.nn.utils.clip_grads_with_norm_([p for _, p, _ in trained], largest or float("inf"), whole)
    return torch.cat([whole.to(wide)[None], squares.sqrt()])


class UpdateRatios:
    """The size of an update relative to the weights of each part: |update| / |weights|, both as 2-norms.

    Estimated from the same 1,024 random elements of each tensor at every step, so that it works with any optimizer and
    needs no second copy of the weights.
    """

    _PLACES = 1024

    def __init__(self, model: nn.Module) -> None:
        part = parts(model)
        self._tensors = [(part[name], p) for name, p in model.named_parameters() if p.requires_grad]
        self._places: dict[int, Tensor] = {}
        self._before: list[Tensor] = []

    def before_step(self) -> None:
        """Stores the sampled elements."""
        self._before = [self._sample(p).clone() for _, p in self._tensors]

    def after_step(self) -> dict[str, float]:
        """The ratios since `before_step`, as "update_ratio/layer_07" and so on; 0 for a part that did not change."""
        squares: dict[str, Tensor] = {}
        for (part, parameter), before in zip(self._tensors, self._before, strict=True):
            scale = parameter.numel() / before.numel()
            step = (self._sample(parameter).float() - before.float()).square().sum()
            both = scale * torch.stack([step, before.float().square().sum()])
            squares[part] = squares[part] + both if part in squares else both
        self._before = []
        if not squares:
            return {}
        sums = torch.stack([squares[part] for part in sorted(squares)]).tolist()
        return {
            f"update_ratio/{part}": math.sqrt(update / weights) if weights else 0.0
            for part, (update, weights) in zip(sorted(squares), sums, strict=True)
        }

    def _sample(self, parameter: nn.Parameter) -> Tensor:
        flat = parameter.detach().flatten()
        count = flat.numel()
        if count <= self._PLACES:
            return flat
        if count not in self._places:
            generator = torch.Generator().manual_seed(count)
            self._places[count] = torch.randint(count, (self._PLACES,), generator=generator).to(flat.device)
        return flat[self._places[count]]


# ---------------------------------------------------------------------------------------------------------------- drift


class StartWeights:
    """The initial weights of a run, read one tensor at a time from memory-mapped files.

    The files are the pretrained checkpoint and the run's start.ckpt, which has the weights that are in no other file (a
    new head, re-initialised layers, random weights).
    """

    _MAPPED = 200_000_000
    """Bytes read from the files before they are opened again."""

    def __init__(self, files: Sequence[Path], own: Path, model: CtcModel) -> None:
        """Opens the files that exist.

        Args:
            files: the pretrained checkpoint.
            own: the run's start.ckpt.
        """
        self._own = own
        self._damaged: bool | None = None
        self._pretrained = [file for file in files if file.is_file()]
        probe = next(name for name, _ in model.encoder.named_parameters() if ".layers.0." in name)
        probe = probe.replace(".base_layer.", ".")
        opened = self._open_pretrained()
        ends = (key.removesuffix(probe) for file in opened for key in _keys(file) if key.endswith(probe))
        self._prefix = next(ends, "")

    def write_own(self, model: CtcModel) -> None:
        """Writes start.ckpt: the initial weights that are not in the pretrained files with the same values."""
        own = {}
        pretrained_files = self._open_pretrained()
        for name, weight in plain_weights(model.state_dict(), model.adapter_scale):
            pretrained = self._read_pretrained(pretrained_files, name)
            held = pretrained is not None and pretrained.shape == weight.shape
            if not held or not torch.equal(pretrained.to(weight.device, weight.dtype), weight):  # type: ignore[union-attr]
                own[name] = weight.cpu()
        self._own.parent.mkdir(parents=True, exist_ok=True)
        partial = self._own.with_name(f"{self._own.name}.partial")
        torch.save(own, partial)
        partial.replace(self._own)
        self._damaged = False

    @torch.no_grad()
    def drift(self, model: CtcModel) -> dict[str, float]:
        """The distance of each part from its start, |weights - start| / |start|, as "drift/layer_07" and so on.

        Parts for which a file is missing are left out; nothing is measured if start.ckpt is damaged, which is printed.
        """
        if self._is_damaged():
            return {}
        top_norm = bool(getattr(model.encoder.config, "do_stable_layer_norm", True))
        squares: dict[str, Tensor] = {}
        missing = set()
        mapped = self._MAPPED
        for name, weight in plain_weights(model.state_dict(), model.adapter_scale):
            part = part_of(name, top_norm)
            if mapped >= self._MAPPED:
                # Mapped pages count as memory of the process until the file is closed, and those of a 1B are 4 GB.
                own = _open(self._own) if self._own.is_file() else {}
                pretrained, mapped = self._open_pretrained(), 0
            start = own[name] if name in own else self._read_pretrained(pretrained, name)
            if start is None or start.shape != weight.shape:
                missing.add(part)
            else:
                mapped += start.nbytes
                start = start.to(weight.device, torch.float32)
                both = torch.stack([(weight.float() - start).square().sum(), start.square().sum()])
                squares[part] = squares[part] + both if part in squares else both
        found = {part: pair.tolist() for part, pair in sorted(squares.items()) if part not in missing}
        return {f"drift/{part}": math.sqrt(moved / size) if size else 0.0 for part, (moved, size) in found.items()}

    def _is_damaged(self) -> bool:
        """Whether start.ckpt cannot be read; printed once."""
        if self._damaged is None:
            try:
                self._damaged = self._own.is_file() and not isinstance(_open(self._own), Mapping)
            except (RuntimeError, EOFError, UnpicklingError, ValueError, AttributeError, OSError):
                self._damaged = True
            if self._damaged:
                print(f"{self._own} is damaged; the distance of the weights from it is not measured.", file=sys.stderr)
        return self._damaged

    def _open_pretrained(self) -> list[Any]:
        return [_open(file) for file in self._pretrained]

    def _read_pretrained(self, files: Sequence[Any], name: str) -> Tensor | None:
        bare = self._prefix + name.removeprefix("encoder.")
        # Names of the two tensors of a weight norm in checkpoints from before torch 2.
        older = bare.replace("parametrizations.weight.original0", "weight_g")
        older = older.replace("parametrizations.weight.original1", "weight_v")
        for key in (f"model.{name}", bare, older):
            for file in files:
                if key in _keys(file) and (name.startswith("encoder.") or key.startswith("model.")):
                    tensor: Tensor = file.get_tensor(key) if hasattr(file, "get_tensor") else file[key]
                    return tensor
        return None


def _open(path: Path) -> Any:
    """A memory-mapped file of weights, from which tensors are read by name."""
    if path.suffix == ".safetensors":
        return safe_open(path, framework="pt", device="cpu")
    loaded: Mapping[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return loaded.get("state_dict", loaded)


def _keys(file: Any) -> Iterable[str]:
    return file.keys()  # type: ignore[no-any-return]
