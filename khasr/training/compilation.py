"""Compilation of the transformer layers with torch.compile."""

import importlib.util

import torch

from khasr.config import Config
from khasr.model.ctc import CtcModel
from khasr.model.finetune import encoder_layers
from khasr.run.results import uses_gpu

# Parameters of a model whose layers auto compiles. A smaller one trains in less time than compiling takes.
_LARGE = 50_000_000


def choose_compilation(config: Config, parameters: int) -> bool:
    """Whether to compile the layers. auto: of a large model on a GPU for which Triton can compile, not with fsdp.

    On a CPU a compiled layer norm with GELU was slower, and compiling took 17 s (experiments/speed).
    """
    asked = config.model.compile
    if isinstance(asked, bool):
        return asked
    if parameters < _LARGE or not uses_gpu(config.trainer) or config.trainer.strategy == "fsdp":
        return False
    # Triton needs compute capability 7.0 (Volta).
    return importlib.util.find_spec("triton") is not None and torch.cuda.get_device_capability()[0] >= 7


def compile_layers(model: CtcModel, required: bool, backend: str = "inductor") -> None:
    """Compiles each layer in place, once for all lengths; names of modules and weights stay the same.

    Layers of one kind share the compiled code, so that 48 of them take no longer than a few.

    Args:
        required: whether a layer that cannot be compiled is an error; otherwise it runs as it is.
    """
    torch._dynamo.config.suppress_errors = not required
    for layer in encoder_layers(model.encoder):
        layer.compile(dynamic=True, backend=backend)
