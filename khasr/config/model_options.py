"""Options of the model: its architecture and weights, and which of them are trained."""

from dataclasses import dataclass, field
from typing import Literal

from khasr.config.limits import limited, limits, share


@dataclass
class ArchitectureConfig:
    """The shape of a wav2vec 2.0 encoder, used with model.init=random; otherwise the checkpoint determines it."""

    hidden_size: int = limited(1280, 1, 65_536)
    """Width of the transformer."""
    layers: int = limited(48, 1, 1000)
    """Number of transformer layers."""
    heads: int = limited(16, 1, 1024)
    """Number of attention heads."""
    intermediate_size: int = limited(5120, 1, 262_144)
    """Width of the feed-forward layers."""
    conv_dim: list[int] = field(default_factory=lambda: [512] * 7, metadata=limits(1, 65_536))
    """Channels of each convolution of the feature encoder."""
    conv_kernel: list[int] = field(default_factory=lambda: [10, 3, 3, 3, 3, 2, 2], metadata=limits(1, 4096))
    """Kernel size of each, in samples of its input."""
    conv_stride: list[int] = field(default_factory=lambda: [5, 2, 2, 2, 2, 2, 2], metadata=limits(1, 4096))
    """Stride of each; their product is the frame stride, 320 samples in all of khasr's models."""
    pos_conv_kernel: int = limited(128, 1, 4096)
    """Kernel size of the positional convolution, in frames."""
    pos_conv_groups: int = limited(16, 1, 65_536)
    """Groups of the positional convolution."""


@dataclass
class ModelConfig:
    """An encoder with a CTC head, its masks and its dropouts."""

    name: str = "xlsr_1b"
    """Name of the choice, for tables."""
    checkpoint: str | None = "facebook/wav2vec2-xls-r-1b"
    """Initial weights: a Hugging Face id or folder, or the folder of a khasr run."""
    language: str | None = None
    """Language of the adapters to load from an MMS checkpoint, as MMS names it: khm."""
    init: Literal["pretrained", "random"] = "pretrained"
    """Weights from the checkpoint, or random weights of the same shape."""
    head: Literal["auto", "keep", "new"] = "auto"
    """The CTC head. keep: that of the checkpoint, with its vocabulary. new: a head for the vocabulary of the training
    part. auto: keep if the vocabularies are equal, else new."""
    head_start: Literal["random", "zero", "blank"] = "random"
    """A new head. random: normal weights, as in transformers; some runs fail, because a symbol takes the place of the
    blank (experiments/head_start). zero: equal probabilities. blank: random weights, and one half for the blank."""
    architecture: ArchitectureConfig = field(default_factory=ArchitectureConfig)
    mask_counting: Literal["huggingface", "paper"] = "huggingface"
    """What a mask probability means. huggingface: the share of positions masked if spans did not overlap (0.75, 0.25).
    paper: the share of positions at which a span begins (wav2vec 2.0, app. B: 0.075 over time, 0.004 over channels)."""
    mask_time_prob: float = share(0.75)
    """Share of frames masked in training, as mask_counting defines it (spans may overlap); from the event's script."""
    mask_time_length: int = limited(10, 1, 100_000)
    """Frames in a time mask."""
    mask_feature_prob: float = share(0.25)
    """Share of channels masked in training, as mask_counting defines it (spans may overlap)."""
    mask_feature_length: int = limited(64, 1, 100_000)
    """Channels in a channel mask."""
    attention_dropout: float = share(0.0)
    """Dropout of attention weights."""
    hidden_dropout: float = share(0.0)
    """Dropout of the output of each layer."""
    activation_dropout: float = share(0.1)
    """Dropout inside the feed-forward layers."""
    feat_proj_dropout: float = share(0.0)
    """Dropout after the feature projection."""
    final_dropout: float = share(0.0)
    """Dropout before the head."""
    layerdrop: float = share(0.0)
    """Probability that a layer is skipped in a training step."""
    gradient_checkpointing: Literal[True, False, "auto"] = "auto"
    """Recompute activations in the backward pass: less memory, about a third more time. auto: if keeping them would
    fill the memory, by prediction; printed at the start. The results are the same."""
    compile: Literal[True, False, "auto"] = "auto"
    """Compile the transformer layers with torch.compile: fewer, larger operations on a GPU, minutes at the start. auto:
    on GPUs, except with trainer=fsdp. Checkpoints are the same."""
    feature_cache_gib: float = limited(2.0, 0)
    """Memory, in GiB per process, for outputs of a frozen feature encoder, kept from the first epoch on (OpenSLR 42
    needs 1.3). Nothing is cached if they do not fit, or if waveforms are augmented."""


@dataclass
class FinetuneConfig:
    """Which weights are trained."""

    name: str = "feature_encoder_frozen"
    """Name of the choice, for tables."""
    freeze_feature_encoder: bool = True
    """Do not train the convolutions of the feature encoder."""
    freeze_encoder_steps: float = limited(0, 0)
    """Optimizer steps at the start, or share of the run if below 1, in which only the head is trained (XLS-R: 10,000 of
    13,000 to 26,000)."""
    drop_layers: int = limited(0, 0, 1000)
    """Number of top transformer layers removed before training (Sajjad 2020)."""
    reinit_layers: int = limited(0, 0, 1000)
    """Number of top transformer layers, after drop_layers, initialised randomly (Zhang 2021, Pasad 2021)."""


@dataclass
class LoraConfig(FinetuneConfig):
    """Low-rank adapters on frozen linear layers (Hu 2021; peft); the head is fully trained."""

    name: str = "lora"
    rank: int = limited(8, 1, 65_536)
    """Rank of an adapter."""
    alpha: float = limited(16.0, 0)
    """The output of an adapter is scaled by alpha / rank."""
    dropout: float = share(0.0)
    """Dropout of an adapter's input."""
    modules: list[str] = field(default_factory=lambda: ["q_proj", "v_proj"])
    """Names of the linear layers in each transformer layer that get an adapter."""
