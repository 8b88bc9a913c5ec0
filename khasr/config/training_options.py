"""Options of training: optimizer, schedule, precision, trainer, loggers and sweeps."""

from dataclasses import dataclass, field
from typing import Literal

from khasr.config.limits import limited, limits, share


@dataclass
class OptimizerConfig:
    """How gradients change the weights."""

    name: Literal["adamw", "adam", "adamw_8bit", "adafactor"] = "adamw"
    """adamw: Adam with decoupled weight decay (Loshchilov 2019); with weight_decay=0 it is Adam, as in the card. adam:
    weight decay is added to the gradient (Kingma 2015). adamw_8bit: adamw with its two moments in 8 bits (Dettmers
    2022), a quarter of the memory. adafactor: a factored second moment and no first moment (Shazeer 2018), almost no
    memory; lr is absolute, betas[0] is not used."""
    lr: float = limited(1e-5, 0)
    """Peak learning rate."""
    head_lr: float | None = limited(None, 0)
    """Peak learning rate of the head; `lr` if unset."""
    layer_decay: float = limited(1.0, above=0, most=1)
    """Ratio of the learning rates of a transformer layer and the layer above it (Howard 2018, Clark 2020): `lr` for the
    final norm and the head, lr * layer_decay for the top layer, the least for what lies below the first layer."""
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999], metadata=limits(0, below=1))
    """Decay rates of the running averages of the gradient and of its square."""
    eps: float = limited(1e-8, above=0)
    """Added to the root of the running average of the squared gradient."""
    weight_decay: float = limited(0.0, 0)
    """Share of a weight subtracted in a step, times lr; not applied to norms and biases."""
    ema_decay: float = limited(0.0, 0, below=1)
    """Decay per step of a running average of the weights (Polyak 1992), e.g. 0.999; the average is validated and saved
    as best.ckpt. 0: no average."""
    average_checkpoints: int = limited(1, 1, 1000)
    """Number of best validated weights that are kept and averaged at the end (as in Vaswani 2017); best.ckpt is the
    average if its WER on val is lower. 1: only the best."""


_ScheduleName = Literal["linear", "tri_stage", "cosine", "warmup_hold_decay", "constant", "inverse_sqrt"]


@dataclass
class ScheduleConfig:
    """The learning rate over the run."""

    name: _ScheduleName = "linear"
    """After a linear warm-up: linear: linear to 0. constant. inverse_sqrt: times the square root of warm-up over step
    (Vaswani 2017). cosine: half a cosine. warmup_hold_decay: constant, then linear to the end. tri_stage: constant,
    then exponential (Park 2019, as XLS-R)."""
    warmup: float = limited(2000, 0)
    """Length of the warm-up: in optimizer steps, or as a share of the run if below 1."""


@dataclass
class CosineConfig(ScheduleConfig):
    """Linear warm-up, then half a cosine (Loshchilov 2017)."""

    name: _ScheduleName = "cosine"
    final_scale: float = share(0.0)
    """Learning rate at the last step, as a share of the peak."""


@dataclass
class WarmupHoldDecayConfig(ScheduleConfig):
    """Warm-up, constant, linear decay: a run can be continued from its constant stage (Zhai 2022, Hu 2024)."""

    name: _ScheduleName = "warmup_hold_decay"
    warmup: float = limited(0.1, 0)
    decay: float = limited(0.2, 0)
    """Length of the last stage, in optimizer steps or as a share of the run if below 1."""
    final_scale: float = share(0.0)
    """Learning rate at the last step, as a share of the peak."""


@dataclass
class TriStageConfig(ScheduleConfig):
    """Warm-up, constant, exponential decay, as in XLS-R's fine-tuning: 10, 40 and 50 % of the run."""

    name: _ScheduleName = "tri_stage"
    warmup: float = limited(0.1, 0)
    hold: float = limited(0.4, 0)
    """Length of the constant stage, in optimizer steps or as a share of the run if below 1."""
    initial_scale: float = limited(0.01, 0)
    """Learning rate at step 0, as a share of the peak."""
    final_scale: float = limited(0.05, above=0, most=1)
    """Learning rate at the last step, as a share of the peak; above 0."""


@dataclass
class PrecisionConfig:
    """Number format of weights and activations; log_softmax and CTC are always float32."""

    name: Literal["fp32", "fp16", "bf16"] = "fp16"
    """fp32. fp16 and bf16: mixed (weights in float32, because bfloat16 rounds most steps of lr 1e-5 to nothing). fp16
    needs a GPU."""
    tf32: bool = False
    """With precision=fp32 on a GPU: products of 19-bit numbers (TensorFloat-32), several times faster. false: of
    float32, in convolutions as well, where torch allows TF32 by default."""


@dataclass
class TrainerConfig:
    """Length of training, devices, and intervals of validation and logging."""

    max_epochs: float = limited(75, above=0, most=1e9)
    """Passes over the training part; used if max_steps is unset."""
    max_steps: int | None = limited(None, 1, 10**12)
    """Optimizer steps; takes precedence over max_epochs."""
    accumulate_grad_batches: int = limited(4, 1, 1_000_000)
    """Batches per optimizer step, on each device."""
    gradient_clip_norm: float = limited(1.0, 0)
    """Largest norm of the gradient; larger ones are scaled down. 0: no clipping."""
    val_every_steps: float = limited(400, above=0)
    """Optimizer steps between two validations, or a share of the run if below 1; the last step is always validated."""
    save_every_minutes: float | None = limited(15, above=0, most=1e6)
    """Minutes without a checkpoint after which last.ckpt is written between two validations, on GPUs in the background;
    null: only at validations and when the run is stopped."""
    log_every_steps: int = limited(10, 1)
    """Optimizer steps between two rows of training metrics."""
    nonfinite_patience: int = limited(10, 1)
    """Consecutive batches with a non-finite loss after which the run is stopped as diverged."""
    accumulated_loss: Literal["mean", "sum"] = "mean"
    """The loss of an optimizer step over its batches. mean: as the card's Trainer. sum: as transformers 5's Trainer for
    CTC; the gradient is accumulate_grad_batches times larger when it is clipped."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """Where to train; auto: on a GPU if there is one."""
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    """On several devices. ddp: each has the model, gradients are averaged. fsdp: each has a shard of it (GPUs only)."""
    devices: int = limited(1, -1, 65_536)
    """Number of GPUs, or of processes on a CPU; -1: all GPUs. An optimizer step uses accumulate_grad_batches batches on
    each."""
    num_nodes: int = limited(1, 1, 65_536)
    """Number of machines, each with that many devices, started by torchrun or Slurm."""
    keep_last: Literal["auto", "always", "never"] = "auto"
    """Keep last.ckpt, which only resuming needs, of a completed run. auto: not in a sweep or under a wandb agent; a
    single run keeps it and can be extended."""
    deterministic: bool = False
    """Use only deterministic kernels (slower on GPUs; those on a CPU already are)."""
    plan: str | None = None
    """The name of a GPU, such as rtx_4090 or h100: print the memory and the time that the run would need on
    trainer.devices of them, and what to change if it does not fit, without training. No GPU is needed."""
    progress_bar: bool = True
    """Show a progress bar (in a terminal) or occasional lines (elsewhere)."""


@dataclass
class CsvLoggerConfig:
    """metrics.csv in the run folder: always written, whatever the other loggers."""


@dataclass
class WandbLoggerConfig:
    """Weights & Biases; the key comes from `wandb login` or WANDB_API_KEY, never from an option."""

    project: str = "khasr"
    """The wandb project."""
    entity: str | None = None
    """User or team; wandb's default if unset."""
    mode: Literal["auto", "online", "offline"] = "auto"
    """auto: online if there is a key, else offline (`wandb sync` later)."""
    tags: list[str] = field(default_factory=list)
    """Tags of the run."""
    utterances: int = limited(20, 0, 10_000)
    """Number of utterances of the part scored last that are uploaded with their audio; 0: none, for recordings that
    must not leave the machine."""
    log_checkpoint: bool = False
    """Upload best.ckpt as an artifact at the end."""


@dataclass
class TensorboardLoggerConfig:
    """TensorBoard events in RUN/tensorboard."""


@dataclass
class LoggerConfig:
    """Where metrics are logged; several at once with logger=[wandb,tensorboard]."""

    csv: CsvLoggerConfig | None = None
    wandb: WandbLoggerConfig | None = None
    tensorboard: TensorboardLoggerConfig | None = None


@dataclass
class SweepConfig:
    """A sweep (-m): many runs from one command."""

    max_hours: float | None = limited(None, above=0, most=1e6)
    """Time budget of the sweep, in hours: afterwards no run starts, and running ones stop at the next optimizer step,
    saved; the same command continues. Without -m, the budget of the single run."""
    pruner: Literal["none", "median", "asha", "hyperband"] = "none"
    """Stop bad trials of a search by Optuna early. median: a trial whose best WER on val is above the median of the
    completed trials at the same share of the run. asha: successive halving (Li 2018), without waiting for other trials.
    hyperband: the same with several first decisions, some of them later (Li 2017)."""
    grace: float | None = limited(None, 0, below=1)
    """Share of a run before which it is not pruned. Unset: 0.1, or the end of the run's own warm-up or of its frozen
    steps, whichever is latest."""
    reduction_factor: int = limited(2, 2, 1000)
    """For asha and hyperband: one trial of this many continues at each decision, and the share of the run at which the
    next decision is made is this multiple of the last; the first is at `grace`, or at 0.1."""
    keep_pruned: bool = False
    """Keep the checkpoints of pruned runs, so that they can be evaluated, or continued with resume=RUN."""
    until: float | None = limited(None, 0)
    """End of the budget, in seconds since 1970; set by the sweep for its runs."""
    trial: int | None = limited(None, 0)
    """Number of the trial in the study; set by a search with a pruner for its runs, as are the next two."""
    study: str | None = None
    """Name of the study."""
    storage: str | None = None
    """URL of the study's storage."""
