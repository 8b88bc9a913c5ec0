"""Every option of khasr: its name, its type, its default and what it means.

A default lives here and nowhere else; the YAML under `conf/` says only what a named choice changes. The string under a
field is its documentation: `python -m khasr.train --help` prints it. The defaults are the run that khasr exists to
explain, XLS-R 1B fine-tuned on OpenSLR 42 as its model card tells (the card's peak lr, warm-up, batch, epochs, seed).

Values are str, number, bool, list or dict, since they go into checkpoints, which load weights-only.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from omegaconf import MISSING

# ---------------------------------------------------------------------------------------------------------------- data


@dataclass
class TextConfig:
    """How a transcript becomes the text that is learned and scored."""

    unicode_form: Literal["NFC", "NFKC", "none"] = "NFC"
    """Unicode normalisation form; NFC leaves OpenSLR 42 as it is."""
    lowercase: bool = False
    """Lower-case the text (Khmer has no case)."""
    segment: bool = False
    """Cut unsegmented Khmer into words before all else (khmercut; where the text has zero-width spaces, at them)."""
    zero_width: Literal["keep", "space", "delete"] = "keep"
    """Zero-width characters: `delete` them, or delete all but U+200B, which becomes a `space` between words."""
    syllable_order: bool = False
    """Store the signs of each Khmer syllable in SIL's order; look-alikes typed in another order become the same."""
    join_vowels: bool = False
    """Write a vowel that was typed as two look-alike parts (U+17C1 and U+17B8, or U+17B6) as the one it is."""
    coeng_da: Literal["keep", "ta"] = "keep"
    """Coeng-DA, drawn as coeng-TA is: `keep` both spellings, or write `ta` for both (31 words of OpenSLR 42)."""
    numbers: Literal["keep", "words"] = "keep"
    """Figures, dates, times, per cent and money in `words`, as they are read."""
    repetition: Literal["keep", "repeat"] = "keep"
    """The repetition sign U+17D7: `repeat` the word before it, as it is read."""
    punctuation: Literal["keep", "space"] = "keep"
    """Punctuation and symbols (Unicode P and S) become a `space`."""
    latin: Literal["keep", "drop"] = "keep"
    """Latin letters: `drop` takes them out, although they may be heard."""
    spaces: Literal["words", "delete"] = "words"
    """Spaces stand between `words`, or are `delete`d: then WER counts whole utterances, and CER is what tells."""
    units: Literal["code_points", "clusters"] = "code_points"
    """What a symbol is: a code point, or a Khmer character cluster (a base letter with all that hangs on it)."""
    unknown_symbols: Literal["map", "raise"] = "map"
    """A symbol of val or test that no training utterance has: `map` it to <unk>, counted and printed, or `raise`."""


@dataclass
class AugmentConfig:
    """What is changed at random in a training waveform, drawn anew each epoch from (seed, epoch, utterance)."""

    speed: list[float] = field(default_factory=list)
    """Speed factors to draw from, e.g. [0.9,1.0,1.1]; empty leaves the speed alone."""
    noise_snr_db: list[float] = field(default_factory=list)
    """[lowest, highest] signal-to-noise ratio in dB of added white noise; empty adds none."""
    gain_db: list[float] = field(default_factory=list)
    """[lowest, highest] gain in dB of the standardised waveform; empty leaves its variance at 1. Of utterances that are
    joined each has its own, and the whole is standardised after."""
    pause_seconds: list[float] = field(default_factory=list)
    """[shortest, longest] pause, of faint noise, put at one in two of the utterances' ends; empty puts none."""
    join: list[int] = field(default_factory=list)
    """How many utterances of a batch to join to one, a number of these drawn for each batch, e.g. [1,2,4]; empty joins
    none. A batch then has fewer and longer rows, with the same audio: for a model that is to hear long recordings."""


@dataclass
class DataConfig:
    """What every corpus has; the corpora below add where they are read from."""

    name: str = MISSING
    """The corpus: openslr_km, folder, synthetic, hub or mix."""
    text: TextConfig = field(default_factory=TextConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    batch_size: int = 8
    """Utterances in a training batch, on each device."""
    batch_seconds: float | None = None
    """In place of batch_size: seconds of audio in a training batch at most, its padding counted, before any change of
    speed, pause or joining (joined rows may pad more); utterances of like length go together, many short ones or few
    long ones. Each batch weighs alike."""
    eval_batch_size: int = 8
    """Utterances in a batch of val or test."""
    order: Literal["by_length", "random"] = "by_length"
    """Order of training batches: utterances of like length together (little padding), or wholly at random."""
    order_seed: int | None = None
    """Seed of the order of training batches; `seed` where unset."""
    split: str = "random"
    """How train, val and test are parted: `random` (the card's), `hf_seed42` (the published w2v-BERT 2.0's), `speaker`,
    `text` or `speaker_text` (nothing of that kind shared), `'speaker_fold=K/N'` (each speaker tested once over N runs;
    quoted), `own` (the corpus's), or the path of a manifest."""
    split_seed: int = 42
    """Seed of the split, apart from `seed` so that runs share a test part."""
    test_share: float = 0.1
    """Share of all utterances in test."""
    val_share: float = 0.1
    """Share of what test leaves in val: 81/9/10 % in all, as the card's."""
    min_seconds: float = 0.1
    """Shortest utterance; shorter ones are a fault (on_error)."""
    max_seconds: float = 30.0
    """Longest utterance; longer ones are a fault (on_error)."""
    on_error: Literal["raise", "skip"] = "raise"
    """A faulty utterance stops the run, or is left out, counted by reason and printed."""
    cache_dir: str | None = None
    """Where 16 kHz audio is kept between runs; $KHASR_CACHE or ~/.cache/khasr where unset."""
    num_workers: int = 0
    """Processes that load training batches beside the trainer."""


@dataclass
class OpenslrKmConfig(DataConfig):
    """OpenSLR 42: 2,906 Khmer utterances, 16 speakers, 4 hours, CC BY-SA 4.0."""

    name: str = "openslr_km"
    root: str | None = None
    """km_kh_male.zip, or the folder that holds line_index.tsv and wavs/ (or km_kh_male/ with both); where unset, the
    archive that khasr.prepare downloads to the cache."""
    url: str = "https://www.openslr.org/resources/42/km_kh_male.zip"
    """Where khasr.prepare downloads the archive from."""
    archive_bytes: int | None = 866_086_951
    """Its size; null for an archive of another size."""
    archive_sha256: str | None = None
    """Its SHA-256 (upstream publishes none); null leaves that to the checksums inside the archive."""


@dataclass
class FolderConfig(DataConfig):
    """Any folder with a table of audio, text and speaker."""

    name: str = "folder"
    root: str | None = None
    """The folder; audio paths in the table are relative to it."""
    table: str = "utterances.tsv"
    """Tab-separated table with a header line."""
    audio_column: str = "audio"
    """Column with the audio file's path."""
    text_column: str = "text"
    """Column with the transcript."""
    speaker_column: str | None = "speaker"
    """Column with the speaker; null where there is none."""


@dataclass
class HubConfig(DataConfig):
    """A Hugging Face audio dataset in Parquet, or a local copy of one."""

    name: str = "hub"
    dataset: str | None = None
    """Its id on the Hugging Face hub, e.g. google/fleurs."""
    revision: str | None = None
    """Branch, tag or commit; refs/convert/parquet holds the Parquet of datasets that were scripts."""
    files: str = "**/*.parquet"
    """Which of its files to read, as a pattern, e.g. km_kh/*/*.parquet."""
    root: str | None = None
    """In place of `dataset`: a folder written by save_to_disk, a Parquet file, or a folder of Parquet files."""
    audio_column: str = "audio"
    """Column with the audio."""
    text_column: str = "text"
    """Column with the transcript."""
    speaker_column: str | None = None
    """Column with the speaker; null where there is none."""
    id_column: str | None = None
    """Column with an id; null numbers the rows."""


@dataclass
class MixConfig(DataConfig):
    """Several corpora at once."""

    name: str = "mix"
    corpora: list[dict[str, Any]] = field(default_factory=list)
    """The corpora, each a choice of the group `data` with what it changes of it, and its weight: how often, on average,
    an epoch has each of its training utterances. [{data:openslr_km,root:A},{data:fleurs_km,weight:0.5}]"""


@dataclass
class SyntheticConfig(DataConfig):
    """Khmer phrases composed by a grammar and spoken by espeak-ng."""

    name: str = "synthetic"
    utterances: int | None = None
    """How many utterances to make: 600 phrases where unset, or all of `sentences`."""
    voices: int = 6
    """How many speakers (1 to 12)."""
    corpus_seed: int = 0
    """Seed of phrases, voices and noise, apart from `seed` so that runs share a corpus."""
    sentences: str | None = None
    """A file of sentences to speak, one a line (of a table, the last tab-separated column); needs `lexicon`."""
    lexicon: str | None = None
    """A pronunciation lexicon: word, tab, phones separated by spaces (Google's Khmer lexicon's phones)."""


# --------------------------------------------------------------------------------------------------------------- model


@dataclass
class ArchitectureConfig:
    """The shape of a wav2vec 2.0 encoder; read where model.init=random, else the checkpoint tells."""

    hidden_size: int = 1280
    """Width of the transformer."""
    layers: int = 48
    """Transformer layers."""
    heads: int = 16
    """Attention heads."""
    intermediate_size: int = 5120
    """Width of the feed-forward layers."""
    conv_dim: list[int] = field(default_factory=lambda: [512] * 7)
    """Channels of each convolution of the feature encoder."""
    conv_kernel: list[int] = field(default_factory=lambda: [10, 3, 3, 3, 3, 2, 2])
    """Kernel of each, in samples of its input."""
    conv_stride: list[int] = field(default_factory=lambda: [5, 2, 2, 2, 2, 2, 2])
    """Stride of each; their product is a frame's stride, 320 samples in all of khasr's models."""
    pos_conv_kernel: int = 128
    """Kernel of the convolution that carries position, in frames."""
    pos_conv_groups: int = 16
    """Its groups."""


@dataclass
class ModelConfig:
    """An encoder with a CTC head; its masks and dropouts."""

    name: str = "xlsr_1b"
    """The choice's name, for tables."""
    checkpoint: str | None = "facebook/wav2vec2-xls-r-1b"
    """Start from: a Hugging Face id or folder, or the folder of another khasr run."""
    language: str | None = None
    """The language whose adapters an MMS checkpoint is loaded with, as it names them: khm."""
    init: Literal["pretrained", "random"] = "pretrained"
    """Weights from the checkpoint, or random ones of the same shape."""
    head: Literal["auto", "keep", "new"] = "auto"
    """The CTC head of another run: `keep` it with its vocabulary, make a `new` one, or `auto`: keep it where the
    vocabularies are the same."""
    architecture: ArchitectureConfig = field(default_factory=ArchitectureConfig)
    mask_counting: Literal["huggingface", "paper"] = "huggingface"
    """What a mask's probability is of. huggingface: the share of places masked, were there no overlaps (0.75, 0.25).
    paper: the share of places at which a span begins (wav2vec 2.0, app. B: 0.075 over time, 0.004 over channels)."""
    mask_time_prob: float = 0.75
    """Share of frames masked in training, as mask_counting has it (spans may overlap); the card's event script."""
    mask_time_length: int = 10
    """Frames in a time mask."""
    mask_feature_prob: float = 0.25
    """Share of channels masked in training, as mask_counting has it (spans may overlap)."""
    mask_feature_length: int = 64
    """Channels in a channel mask."""
    attention_dropout: float = 0.0
    """Dropout of attention weights."""
    hidden_dropout: float = 0.0
    """Dropout of each layer's output."""
    activation_dropout: float = 0.1
    """Dropout inside the feed-forward layers."""
    feat_proj_dropout: float = 0.0
    """Dropout after the feature projection."""
    final_dropout: float = 0.0
    """Dropout before the head."""
    layerdrop: float = 0.0
    """Probability that a layer is left out of a training step."""
    gradient_checkpointing: bool = True
    """Recompute activations in the backward pass: less memory, about a third more time."""
    feature_cache_gib: float = 2.0
    """GiB of memory, in each process, in which the outputs of a frozen feature encoder may be kept from the first epoch
    on (OpenSLR 42: 1.3); where they do not fit, or waveforms are augmented, they are computed anew each time."""


@dataclass
class FinetuneConfig:
    """What of the model is trained."""

    name: str = "feature_encoder_frozen"
    """The choice's name, for tables."""
    freeze_feature_encoder: bool = True
    """Leave the strided convolutions as they were pretrained."""
    freeze_encoder_steps: float = 0
    """The first optimizer steps, or share of the run where below 1, in which only the head is trained (XLS-R: 10,000
    of 13,000 to 26,000)."""
    drop_layers: int = 0
    """Transformer layers taken off the top before training (Sajjad 2020)."""
    reinit_layers: int = 0
    """Transformer layers at the top of what is left that start from random weights (Zhang 2021, Pasad 2021)."""


@dataclass
class LoraConfig(FinetuneConfig):
    """Low-rank adapters beside frozen linear layers (Hu 2021; peft); the head is trained whole."""

    name: str = "lora"
    rank: int = 8
    """Rank of an adapter."""
    alpha: float = 16.0
    """What an adapter adds is scaled by alpha / rank."""
    dropout: float = 0.0
    """Dropout of an adapter's input."""
    modules: list[str] = field(default_factory=lambda: ["q_proj", "v_proj"])
    """Names of the linear layers, in each transformer layer, that get an adapter."""


# ------------------------------------------------------------------------------------------------------------ training


@dataclass
class OptimizerConfig:
    """How gradients change weights."""

    name: Literal["adamw", "adam", "adamw_8bit", "adafactor"] = "adamw"
    """adamw: Adam with decoupled weight decay (Loshchilov 2019); without decay it is Adam, as the card has it. adam:
    decay is added to the gradient, as in Kingma 2015. adamw_8bit: adamw's two running means in 8 bits (Dettmers 2022),
    a quarter of the memory. adafactor: one running square in rows and columns (Shazeer 2018) and no running mean, next
    to no memory; lr is absolute, betas[0] is not used."""
    lr: float = 1e-5
    """Peak learning rate."""
    head_lr: float | None = None
    """Peak learning rate of the head; `lr` where unset."""
    layer_decay: float = 1.0
    """lr of a transformer layer as a share of that of the layer above it (Howard 2018, Clark 2020): the final norm and
    the head have `lr`, the top layer lr * layer_decay, what lies below the first layer least. 1: the same lr."""
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    """Decay of the running mean and of the running square of the gradient."""
    eps: float = 1e-8
    """Added to the root of the running square."""
    weight_decay: float = 0.0
    """Share of a weight taken off in a step, times lr; norms and biases are spared."""
    ema_decay: float = 0.0
    """What a step leaves of a running average of the weights (Polyak 1992), e.g. 0.999; the average is what is
    validated and kept as best.ckpt. 0: no average."""
    average_checkpoints: int = 1
    """So many of the best validated weights are kept, and averaged at the end (as in Vaswani 2017); best.ckpt is the
    average where that has the lower WER on val. 1: the best alone."""


_ScheduleName = Literal["linear", "tri_stage", "cosine", "warmup_hold_decay", "constant", "inverse_sqrt"]


@dataclass
class ScheduleConfig:
    """How the learning rate moves over the run."""

    name: _ScheduleName = "linear"
    """linear: up over the warm-up, then down to 0. constant: up, then level. inverse_sqrt: up, then down as the root of
    warm-up over step (Vaswani 2017). cosine: up, then down as half a cosine. warmup_hold_decay: up, level, straight
    down at the end. tri_stage: up, level, down exponentially (Park 2019, as XLS-R)."""
    warmup: float = 2000
    """Length of the warm-up: in optimizer steps, or as a share of the run where below 1."""


@dataclass
class CosineConfig(ScheduleConfig):
    """Up, then down as half a cosine (Loshchilov 2017)."""

    name: _ScheduleName = "cosine"
    final_scale: float = 0.0
    """lr at the last step, as a share of the peak."""


@dataclass
class WarmupHoldDecayConfig(ScheduleConfig):
    """Up, level, straight down: a run can be gone on with from its level stage (Zhai 2022, Hu 2024)."""

    name: _ScheduleName = "warmup_hold_decay"
    warmup: float = 0.1
    decay: float = 0.2
    """Length of the last stage, in steps or as a share of the run where below 1."""
    final_scale: float = 0.0
    """lr at the last step, as a share of the peak."""


@dataclass
class TriStageConfig(ScheduleConfig):
    """Up, level, down, as in XLS-R's own fine-tuning: 10, 40 and 50 % of the run."""

    name: _ScheduleName = "tri_stage"
    warmup: float = 0.1
    hold: float = 0.4
    """Length of the level stage, in steps or as a share of the run where below 1."""
    initial_scale: float = 0.01
    """lr at step 0, as a share of the peak."""
    final_scale: float = 0.05
    """lr at the last step, as a share of the peak; above 0."""


@dataclass
class PrecisionConfig:
    """Number format of weights and activations; log_softmax and CTC are float32 in each."""

    name: Literal["fp32", "fp16", "bf16", "bf16_true"] = "fp16"
    """fp32; fp16 and bf16 mixed (weights float32); bf16_true (weights bfloat16 too). fp16 needs a GPU."""


@dataclass
class TrainerConfig:
    """How long to train, where, and how often to look."""

    max_epochs: float = 75
    """Passes over the training part; where max_steps is unset."""
    max_steps: int | None = None
    """Optimizer steps; wins over max_epochs."""
    accumulate_grad_batches: int = 4
    """Batches whose gradients make one optimizer step."""
    gradient_clip_norm: float = 1.0
    """Largest norm of the gradient; larger ones are scaled down. 0: no clipping."""
    val_every_steps: int = 400
    """Optimizer steps between two validations; the last step is always validated."""
    log_every_steps: int = 10
    """Optimizer steps between two rows of training metrics."""
    nonfinite_patience: int = 10
    """Batches in a row with a loss that is not finite before the run is stopped as diverged."""
    accumulated_loss: Literal["mean", "sum"] = "mean"
    """The loss of an optimizer step, over its batches. mean: as the card's Trainer had it. sum: as transformers 5's
    Trainer has it for CTC; the gradient is accumulate_grad_batches times larger when it is clipped."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """Where to train; auto takes a GPU if there is one."""
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    """On several devices. ddp: each holds the model, gradients are averaged. fsdp: each holds a share of it (GPUs)."""
    devices: int = 1
    """GPUs to use, or processes on a CPU; -1: all GPUs there are. An optimizer step sees accumulate_grad_batches
    batches on each."""
    num_nodes: int = 1
    """Machines, each with that many devices, started by torchrun or Slurm."""
    deterministic: bool = False
    """Ask torch for deterministic kernels only (slower on GPUs; a CPU's are so already)."""
    progress_bar: bool = True
    """Show a progress bar (in a terminal) or a line now and then (elsewhere)."""


@dataclass
class DecoderConfig:
    """How log-probabilities become text at the end of a run; validations on the way are greedy."""

    name: Literal["greedy", "beam", "beam_lm"] = "greedy"
    """greedy: best symbol of each frame. beam: prefix beam search. beam_lm: with an n-gram (pyctcdecode's search)."""
    lm: str | None = None
    """For beam_lm: a folder that build_lm wrote, or a KenLM file (ARPA or binary); unigrams.txt beside it is read."""
    alpha: float = 0.5
    """Weight of the language model."""
    beta: float = 1.5
    """Bonus for each word (each symbol, where the model counts characters or clusters)."""
    unk_score_offset: float = -10.0
    """Added to the score of a word that the language model does not know, in natural logarithms."""
    unigrams: bool = True
    """Hold the beginnings of words against the language model's words; without, each is as unknown as any other."""
    beam_width: int = 100
    """Hypotheses kept at each frame."""
    token_min_logp: float = -5.0
    """Symbols below this log-probability in a frame are not tried, save the best."""
    beam_prune_logp: float = -10.0
    """Hypotheses this far below the frame's best, or further, are dropped."""
    backend: Literal["compiled", "pyctcdecode"] = "compiled"
    """Who searches: khasr, compiled and on all cores, or pyctcdecode, whose search it repeats."""


@dataclass
class EvaluateConfig:
    """What is scored, and on what."""

    run: str = MISSING
    """A khasr run's folder, or the folder of a Hugging Face model with a CTC head."""
    against: str | None = None
    """Another of either kind, on the same utterances: the difference is tested."""
    data: DataConfig = MISSING
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    part: Literal["val", "test", "train", "all"] = "val"
    """The part of the corpus; `test` for the number that is reported, `all` for a corpus that is all test."""
    n_best: int | None = None
    """Keep that many hypotheses of each utterance, with word times and confidences, in n_best.jsonl."""
    chunk_seconds: float = 30.0
    """Longer audio is heard in chunks of this length, as the event's eval.py does."""
    stride_seconds: float = 5.0
    """Of a chunk's audio, heard at each end for context alone."""
    join_seconds: float | None = None
    """Join utterances to recordings of this length first: how well is long audio heard?"""
    resamples: int = 10000
    """Of each bootstrap."""


@dataclass
class TuneConfig:
    """Which decoder is tuned, and how long."""

    run: str = MISSING
    """A khasr run's folder; the result goes to its decoder.yaml."""
    lm: str = MISSING
    """A folder that build_lm wrote, or a KenLM file."""
    data: DataConfig = MISSING
    beam_width: int = 100
    """Hypotheses kept at each frame."""
    trials: int = 100
    """Settings tried, each by decoding val with it; a bad one is cut short."""
    seed: int = 0
    """Seed of the search."""


@dataclass
class CsvLoggerConfig:
    """metrics.csv in the run folder: always written, whatever else is."""


@dataclass
class WandbLoggerConfig:
    """Weights & Biases; the key comes from `wandb login` or WANDB_API_KEY, never from here."""

    project: str = "khasr"
    """The wandb project."""
    entity: str | None = None
    """User or team; wandb's default where unset."""
    mode: Literal["auto", "online", "offline"] = "auto"
    """auto: online where there is a key, else offline (`wandb sync` later)."""
    tags: list[str] = field(default_factory=list)
    """Tags of the run."""
    utterances: int = 20
    """How many utterances of the part that is scored last are sent with their audio; 0: none, where recordings must
    not leave the machine."""
    log_checkpoint: bool = False
    """Send best.ckpt too, as an artifact, when the run is done."""


@dataclass
class TensorboardLoggerConfig:
    """TensorBoard events in RUN/tensorboard."""


@dataclass
class LoggerConfig:
    """Who is told the metrics; several at once by logger=[wandb,tensorboard]."""

    csv: CsvLoggerConfig | None = None
    wandb: WandbLoggerConfig | None = None
    tensorboard: TensorboardLoggerConfig | None = None


@dataclass
class SweepConfig:
    """A sweep (-m): many runs from one command."""

    max_hours: float | None = None
    """Hours from the sweep's start after which no further run begins, and those that run stop at the end of a step,
    saved; the same command again goes on. Without -m, those of the one run."""
    until: float | None = None
    """When that is, in seconds since 1970: the sweep itself tells its runs."""


@dataclass
class Config:
    """A run, whole."""

    data: DataConfig = MISSING
    model: ModelConfig = field(default_factory=ModelConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    precision: PrecisionConfig = field(default_factory=PrecisionConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    sweep: SweepConfig = field(default_factory=SweepConfig)
    seed: int = 42
    """Seed of new weights, dropout, masks and augmentation."""
    score_test: bool = False
    """Read the test part and score it, once, with the best checkpoint."""
    resume: str | None = None
    """The folder of a run to go on with; its own configuration is taken, trainer.* and logger.* may be changed."""
