"""Which parameters are trained: dropped, re-initialised and frozen layers, and low-rank adapters."""

import copy
import logging
from collections.abc import Iterator, Mapping

from torch import Tensor, nn

from khasr.config import FinetuneConfig, LoraConfig, ModelConfig
from khasr.model.ctc import CtcModel
from khasr.text.counting import counted


def encoder_layers(encoder: nn.Module) -> nn.ModuleList:
    """The transformer layers of an encoder, lowest first."""
    layers = encoder.get_submodule("encoder.layers")
    assert isinstance(layers, nn.ModuleList)
    return layers


def apply_finetune(model: CtcModel, finetune: FinetuneConfig, options: ModelConfig, as_saved: bool = False) -> str:
    """Drops, re-initialises, adapts and freezes layers; returns notes and the fraction of trained parameters.

    Args:
        as_saved: the model is the checkpoint of a run that is resumed, whose layers were changed before.

    Raises:
        ValueError: fewer layers than are to be dropped or re-initialised, or a name in finetune.modules that no linear
            layer has.
    """
    notes = []
    if not as_saved:
        notes += _drop_layers(model, finetune.drop_layers) + _reinit_layers(model, finetune.reinit_layers)
    if options.gradient_checkpointing is True:
        # Non-reentrant: works with frozen inputs, and torch recommends it.
        model.encoder.gradient_checkpointing_enable({"use_reentrant": False})
    feature_encoder = getattr(model.encoder, "feature_extractor", None)  # w2v-BERT 2.0 has mel features instead
    if finetune.freeze_feature_encoder and feature_encoder is not None:
        feature_encoder._freeze_parameters()
    if options.mask_time_prob == 0:
        # Unused: without a gradient, which distributed training would wait for.
        model.encoder.masked_spec_embed.requires_grad_(False)
    if isinstance(finetune, LoraConfig):
        notes += _add_adapters(model, finetune)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in model.parameters())
    share = f"{trained / total:.1%}" if trained > 0.01 * total else f"{100 * trained / total:.2g}%"
    return "\n".join([*notes, f"{trained:,} of {total:,} parameters are trained ({share})"])


def _drop_layers(model: CtcModel, count: int) -> list[str]:
    if not count:
        return []
    layers = encoder_layers(model.encoder)
    if count >= len(layers):
        raise ValueError(
            f"finetune.drop_layers={count}: the encoder has {counted(len(layers), 'layer')}, one of which must stay."
        )
    del layers[len(layers) - count :]
    model.encoder.config.num_hidden_layers = len(layers)
    return [f"top layers dropped: {count}; layers left: {len(layers)}"]


def _reinit_layers(model: CtcModel, count: int) -> list[str]:
    if not count:
        return []
    layers = encoder_layers(model.encoder)
    if count > len(layers):
        there = counted(len(layers), "layer")
        raise ValueError(f"finetune.reinit_layers={count}: the encoder has {there} (after drop_layers).")
    # Copied from a new, small encoder of the same architecture. Its first layer is used only for the first layer,
    # because WavLM's has an additional table of positions.
    config = copy.deepcopy(model.encoder.config)
    config.num_hidden_layers = count + 1
    fresh = encoder_layers(type(model.encoder)(config))
    first = len(layers) - count
    for index in range(first, len(layers)):
        layers[index].load_state_dict(fresh[0 if index == 0 else index - first + 1].state_dict())
    return [f"top layers with random weights: {count}"]


# ------------------------------------------------------------------------------------------------------------- adapters


def _add_adapters(model: CtcModel, options: LoraConfig) -> list[str]:
    # Imported here because peft takes seconds and most runs have no adapters. peft imports bitsandbytes if it is
    # installed, whose warning on a CPU is about 4-bit kernels, which are not used.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    import peft

    layers = encoder_layers(model.encoder)
    linear = {name.rpartition(".")[2] for name, m in layers.named_modules() if isinstance(m, nn.Linear)}
    unknown = sorted(set(options.modules) - linear)
    if unknown or not options.modules:
        raise ValueError(
            f"finetune.modules={options.modules}: the encoder's layers have no linear layer {', '.join(unknown)}; "
            f"there are {', '.join(sorted(linear))}."
        )
    for parameter in model.encoder.parameters():
        parameter.requires_grad_(False)
    targets = [
        f"encoder.layers.{name}"
        for name, m in layers.named_modules()
        if isinstance(m, nn.Linear) and name.rpartition(".")[2] in options.modules
    ]
    lora = peft.LoraConfig(
        r=options.rank, lora_alpha=options.alpha, lora_dropout=options.dropout, target_modules=targets
    )
    peft.inject_adapter_in_model(lora, model.encoder)
    model.adapter_scale = options.alpha / options.rank
    return [f"adapters of rank {options.rank} beside {len(targets)} linear layers ({', '.join(options.modules)})"]


def plain_weights(weights: Mapping[str, Tensor], scale: float) -> Iterator[tuple[str, Tensor]]:
    """The weights of the model without adapters: names, and values W + scale * B A (Hu 2021, sec. 4.1)."""
    for name, weight in weights.items():
        if ".lora_" in name:
            continue
        stem, base, kind = name.rpartition(".base_layer.")
        if base and kind == "weight":
            down, up = weights[f"{stem}.lora_A.default.weight"], weights[f"{stem}.lora_B.default.weight"]
            weight = weight + (scale * up.float() @ down.float()).to(weight.dtype)
        yield f"{stem}.{kind}" if base else name, weight


def remove_adapters(model: CtcModel) -> None:
    """Replaces adapters by their original linear layers; the adapters' weights are discarded."""
    for name, module in list(model.encoder.named_modules()):
        if hasattr(module, "lora_A") and hasattr(module, "base_layer"):
            parent, _, attribute = name.rpartition(".")
            setattr(model.encoder.get_submodule(parent), attribute, module.base_layer)
    model.adapter_scale = 0.0
