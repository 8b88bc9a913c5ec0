"""Options of each command that Hydra composes: training, prepare, evaluate and tune.

A default is defined only in a dataclass field; the YAML under `conf/` sets what a named choice changes. The string
under a field is its documentation, which `--help` prints, and the field's metadata holds its range (`limits`). The
defaults are the run that khasr studies, XLS-R 1B fine-tuned on OpenSLR 42 as its model card describes (the card's peak
lr, warm-up, batch, epochs and seed).

Values are str, number, bool, list or dict, because they are saved in checkpoints, which load weights-only.
"""

from dataclasses import dataclass, field
from typing import Literal

from omegaconf import MISSING

from khasr.config.data_options import LARGEST_SEED, DataConfig
from khasr.config.limits import limited
from khasr.config.model_options import FinetuneConfig, ModelConfig
from khasr.config.training_options import (
    LoggerConfig,
    OptimizerConfig,
    PrecisionConfig,
    ScheduleConfig,
    SweepConfig,
    TrainerConfig,
)


@dataclass
class DecoderConfig:
    """How log-probabilities become text at the end of a run; validations during training are greedy."""

    name: Literal["greedy", "beam", "beam_lm"] = "greedy"
    """greedy: the best symbol of each frame. beam: prefix beam search. beam_lm: the same with an n-gram."""
    lm: str | None = None
    """For beam_lm: a folder written by build_lm, or a KenLM file (ARPA or binary) with unigrams.txt beside it."""
    alpha: float = limited(0.5, 0)
    """Weight of the language model."""
    beta: float = limited(1.5)
    """Bonus for each word (for each symbol, if the n-gram counts characters or clusters)."""
    unk_score_offset: float = limited(-10.0)
    """Added to log10 P of a word that the language model does not know: such a word costs alpha * ln(10) times this, in
    natural logarithms (pyctcdecode's definition). Not used with a spelling model."""
    spelling: float = limited(1.3, 0)
    """Weight of the spelling model, an n-gram of characters, if decoder.lm has one. 0: words only, as pyctcdecode."""
    spelling_bonus: float = limited(2.5)
    """Added to ln P of each letter by the spelling model, so that a text is not better for being shorter."""
    unigrams: bool = True
    """Penalise only partial words that begin no word of the language model; if false, all partial words. Without effect
    beside a spelling model."""
    beam_width: int = limited(100, 1, 1_000_000)
    """Hypotheses kept at each frame."""
    token_min_logp: float = limited(-5.0)
    """Symbols with a lower log-probability in a frame are not tried, except the best."""
    beam_prune_logp: float = limited(-10.0)
    """Hypotheses whose score is this far below the best of the frame, or further, are dropped."""
    backend: Literal["compiled", "pyctcdecode"] = "compiled"
    """Beam-search implementation: `compiled` (numba, multithreaded, same algorithm) or `pyctcdecode`."""


@dataclass
class PrepareConfig:
    """Options of khasr.prepare: the corpus and how it is split, or the run that checks its transcripts."""

    data: DataConfig = MISSING
    run: str | None = None
    """A trained run, or a Hugging Face CTC model with `data=`: ranks the utterances of train and val by how little
    their transcripts fit the model, to find wrong ones. Without `data=` the corpus is the run's."""
    shown: int = limited(50, 1, 10_000)
    """With `run`: utterances on the page, with their audio."""
    seed: int = limited(42, 0, LARGEST_SEED)
    """Seed of the order of batches if data.order_seed is unset."""
    progress_bar: bool = True
    """Show a progress bar (in a terminal) or occasional lines (elsewhere)."""


@dataclass
class EvaluateConfig:
    """Options of khasr.evaluate: the model, and what is scored."""

    run: str = MISSING
    """The folder of a khasr run, or of a Hugging Face model with a CTC head."""
    against: str | None = None
    """A second model of either kind: the difference on the same utterances is tested."""
    data: DataConfig = MISSING
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    part: Literal["val", "test", "train", "all"] = "val"
    """Part of the corpus: `test` for the reported number, `all` for a corpus that is only a test set."""
    n_best: int | None = limited(None, 1, 100_000)
    """Write this many hypotheses of each utterance, with word times and confidences, to n_best.jsonl."""
    chunk_seconds: float = limited(30.0, above=0)
    """Longer audio is recognised in chunks of this length, in seconds, as the event's eval.py does."""
    stride_seconds: float = limited(5.0, 0)
    """Seconds of context at each end of a chunk; their output is discarded."""
    join_seconds: float | None = limited(None, above=0)
    """Join utterances to recordings of this length, in seconds, to measure recognition of long audio."""
    resamples: int = limited(10000, 1, 100_000_000)
    """Resamples of each bootstrap."""


@dataclass
class TuneConfig:
    """Options of khasr.tune: the run, the language model and the length of the search."""

    run: str = MISSING
    """The folder of a khasr run; the result is written to its decoder.yaml."""
    out: str | None = None
    """The folder to write the result to, instead of the run's; for a run that cannot be written to."""
    lm: str = MISSING
    """A folder written by build_lm, or a KenLM file."""
    data: DataConfig = MISSING
    beam_width: int = limited(100, 1, 1_000_000)
    """Hypotheses kept at each frame."""
    trials: int = limited(100, 1, 1_000_000)
    """Settings to try, each by decoding val; unpromising ones are stopped early."""
    held_out: float = limited(0.0, 0, below=1)
    """Share of val that the settings are not chosen on; the gain is then measured on it, without optimism."""
    always: bool = False
    """Write the tuned weights even if the gain may be chance; otherwise the untuned ones are written in that case."""
    seed: int = limited(0, 0, LARGEST_SEED)
    """Seed of the search."""


@dataclass
class Config:
    """Options of khasr.train: a whole run."""

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
    seed: int = limited(42, 0, LARGEST_SEED)
    """Seed of new weights, dropout, masks and augmentation."""
    score_test: bool = False
    """Read the test part and score it, once, with the best checkpoint."""
    resume: str | None = None
    """The folder of a run to continue with its own options; only some, such as trainer.* and logger.*, may change."""
