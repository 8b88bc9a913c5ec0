"""Predicted memory of a run's training step, and the batches that it is predicted for."""

from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedConfig

from khasr.config import Config, OptimizerConfig
from khasr.data.audio import SAMPLE_RATE
from khasr.data.datamodule import CorpusDataModule
from khasr.model.ctc import CtcModel
from khasr.model.encoders import KINDS
from khasr.model.finetune import apply_finetune
from khasr.model.footprint import Footprint, step_footprint
from khasr.model.hub import read_pretrained_config
from khasr.model.precision import AUTOCAST
from khasr.model.weights import encoder_config

GIB = 2**30
# Of the CUDA context and its libraries; Python's and torch's need about as much on a CPU.
_CONTEXT_BYTES = 0.6 * GIB


def state_bytes(options: OptimizerConfig, footprint: Footprint) -> float:
    """Bytes of the optimizer's states, and of the average of the weights."""
    per_weight = {"adam": 8.0, "adamw": 8.0, "adamw_8bit": 2.06, "adafactor": 0.0}[options.name]
    factored = 4 * footprint.factored if options.name == "adafactor" else 0
    average = 4 * footprint.trained if options.ema_decay > 0 else 0
    return per_weight * footprint.trained + factored + average


def memory_by_use(config: Config, footprint: Footprint, devices: int = 1) -> dict[str, float]:
    """Predicted GiB of each use of a device's memory."""
    shards = devices if config.trainer.strategy == "fsdp" else 1
    uses = {
        "weights": 4 * footprint.parameters / shards,
        "gradients": 4 * footprint.trained / shards,
        "optimizer": state_bytes(config.optimizer, footprint) / shards,
        "activations": footprint.activation_bytes,
        "CUDA": _CONTEXT_BYTES,
    }
    if shards > 1:  # two layers are whole at a time
        uses["gathered layers"] = 2 * 2 * 4 * footprint.parameters / max(1, config.model.architecture.layers)
    return {use: size / GIB for use, size in uses.items()}


def predict(
    config: Config,
    utterances: int,
    samples: int,
    symbols: int,
    shape: PreTrainedConfig | None = None,
    as_saved: bool = False,
) -> Footprint:
    """The footprint of a step with these options on a batch of equally long utterances.

    Args:
        shape: of the encoder; that of the options if None.
        as_saved: the shape is that of a run's checkpoint, whose layers were dropped before.
    """
    options = config.model
    shape = shape or _config_of(config)

    def build() -> CtcModel:
        model = CtcModel(KINDS[shape.model_type].encoder(shape), symbols, options)
        apply_finetune(model, config.finetune, options, as_saved)
        return model.train()

    return step_footprint(build, utterances, samples, AUTOCAST[config.precision.name])


def _config_of(config: Config) -> PreTrainedConfig:
    options = config.model
    if options.init == "pretrained" and Path(str(options.checkpoint)).is_dir():
        return read_pretrained_config(options)
    return encoder_config(options)  # the shape of the published checkpoint, which is perhaps not on this machine


@dataclass(frozen=True)
class Batches:
    """The batches of an epoch: utterances and samples of the largest one, and the seconds of all, padding included.

    The samples are those of the longest utterance after changes of speed and pauses.
    """

    utterances: int
    samples: int
    seconds: float


def batches_of(config: Config, data: CorpusDataModule) -> Batches:
    """The batches of the first epoch on one device, with these options and the parts of a corpus that was read."""
    lengths = data.parts["train"].lengths
    planned = CorpusDataModule(config.data, config.seed, config.trainer.accumulate_grad_batches)
    planned.parts = data.parts
    order = planned.training_order(ranks=config.trainer.devices * config.trainer.num_nodes)
    shapes = [(len(batch), max(lengths[i] for i in batch)) for batch in order.epoch(0)]
    utterances, samples = max(shapes, key=lambda shape: shape[0] * shape[1])
    augment = config.data.augment
    samples = int(samples / min([1.0, *augment.speed]) + 2 * SAMPLE_RATE * max([0.0, *augment.pause_seconds]))
    return Batches(utterances, samples, sum(count * longest for count, longest in shapes) / SAMPLE_RATE)
