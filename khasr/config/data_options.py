"""Options of the corpora: where they are read from, their text, split and batches."""

from dataclasses import dataclass, field
from typing import Any, Literal

from omegaconf import MISSING

from khasr.config.limits import limited, limits, share

LARGEST_SEED = 2**32 - 1


@dataclass
class TextConfig:
    """How a transcript becomes the text that is learned and scored."""

    unicode_form: Literal["NFC", "NFKC", "none"] = "NFC"
    """Unicode normalisation form; NFC does not change OpenSLR 42."""
    language: str | None = None
    """Language of the transcripts, as a code: fr, tr, pt-BR. Sets the words of numbers=words (unset: Khmer) and the
    lower case of I (tr, az)."""
    lowercase: bool = False
    """Convert to lower case (Khmer has no case)."""
    quotes: Literal["keep", "plain"] = "keep"
    """plain: curly and other apostrophes, quotation marks and hyphens become ', " and -."""
    remove: str = ""
    """Characters to delete, e.g. the Arabic tatweel and vowel signs, or stress marks."""
    segment: bool = False
    """Segment unsegmented Khmer into words first: at zero-width spaces where the text has them, else by khmercut."""
    zero_width: Literal["keep", "space", "delete"] = "keep"
    """Zero-width characters. delete: remove all. space: U+200B becomes a space, the others are removed."""
    syllable_order: bool = False
    """Reorder the signs of each Khmer syllable as SIL recommends, so that spellings that look alike become equal."""
    join_vowels: bool = False
    """Replace a vowel typed as two look-alike parts (U+17C1 and U+17B8, or U+17B6) by the single code point."""
    coeng_da: Literal["keep", "ta"] = "keep"
    """Coeng-DA, which is drawn like coeng-TA. keep: both spellings. ta: always coeng-TA (31 words of OpenSLR 42)."""
    numbers: Literal["keep", "words"] = "keep"
    """words: write out numbers as they are spoken: in Khmer also dates, times, percentages and amounts of money, in the
    languages of num2words (see language) whole numbers and decimals."""
    repetition: Literal["keep", "repeat"] = "keep"
    """repeat: replace the repetition sign U+17D7 by the word before it, as it is spoken."""
    punctuation: Literal["keep", "space"] = "keep"
    """space: replace punctuation and symbols (Unicode categories P and S) by a space, except for `keep`."""
    keep: str = ""
    """Punctuation that punctuation=space keeps between two letters or digits, e.g. '- for l'eau and vingt-deux."""
    latin: Literal["keep", "drop"] = "keep"
    """drop: remove Latin letters, even though they may be spoken in the audio."""
    spaces: Literal["words", "delete"] = "words"
    """words: spaces separate words. delete: remove them; WER then counts whole utterances, so read CER."""
    units: Literal["code_points", "clusters"] = "code_points"
    """CTC symbols: code points, or Khmer character clusters (a base letter with its dependent signs)."""
    unknown_symbols: Literal["map", "raise"] = "map"
    """Symbols of val or test that no training utterance has. map: to <unk>, counted and printed. raise: an error."""


@dataclass
class AugmentConfig:
    """Random changes of a training waveform, drawn anew each epoch from (seed, epoch, utterance)."""

    speed: list[float] = field(default_factory=list, metadata=limits(above=0, most=100))
    """Speed factors to draw from, e.g. [0.9,1.0,1.1]; empty: no change."""
    noise_snr_db: list[float] = field(default_factory=list, metadata=limits())
    """[lowest, highest] signal-to-noise ratio of added white noise, in dB; empty: none."""
    gain_db: list[float] = field(default_factory=list, metadata=limits())
    """[lowest, highest] gain of the standardised waveform, in dB; empty: its variance stays 1. When utterances are
    joined, each gets its own gain, and the joined waveform is standardised again."""
    pause_seconds: list[float] = field(default_factory=list, metadata=limits(0, 3600))
    """[shortest, longest] pause of faint noise, in seconds, added at half of the utterance ends; empty: none."""
    join: list[int] = field(default_factory=list, metadata=limits(1, 10_000))
    """How many utterances of a batch to join into one, drawn for each batch, e.g. [1,2,4]; empty: none. A batch then
    has fewer and longer rows with the same audio, which prepares a model for long recordings."""


@dataclass
class DataConfig:
    """Options of every corpus; each corpus below adds where it is read from."""

    name: str = MISSING
    """The corpus: openslr_km, folder, synthetic, hub or mix."""
    text: TextConfig = field(default_factory=TextConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    batch_size: int = limited(8, 1, 1_000_000)
    """Utterances in a training batch, on each device."""
    batch_seconds: float | None = limited(None, above=0)
    """Replaces batch_size: the most seconds of audio in a training batch, padding included, before changes of speed,
    pauses and joining (joined rows may be padded more). Batches hold utterances of similar length, many short or few
    long ones, and have equal weight. Needs data.order=by_length."""
    eval_batch_size: int = limited(8, 1, 1_000_000)
    """Utterances in a batch of val or test."""
    order: Literal["by_length", "random"] = "by_length"
    """Order of training batches. by_length: utterances of similar length together (little padding). random."""
    order_seed: int | None = limited(None, 0, LARGEST_SEED)
    """Seed of the order of training batches; `seed` if unset."""
    split: str = "random"
    """How train, val and test are split: `random` (the card's), `hf_seed42` (that of the published w2v-BERT 2.0),
    `speaker`, `text` or `speaker_text` (nothing of that kind shared), `'speaker_fold=K/N'` (each speaker tested once
    over N runs; quoted), `own` (the corpus's split; parts that it lacks are drawn from train), `train` (no val or test:
    for a corpus of a mix), or the path of a manifest such as a run's split.tsv."""
    split_seed: int = limited(42, 0, LARGEST_SEED)
    """Seed of the split, separate from `seed` so that runs share a test part."""
    test_share: float = share(0.1)
    """Share of all utterances in test."""
    val_share: float = share(0.1)
    """Share of the utterances outside test that go to val; 81/9/10 % in total, as the card's."""
    train_hours: float | None = limited(None, above=0)
    """Train on a part of the training utterances, of at most this many hours, spread over the speakers. With one
    subset_seed, a smaller part is within a larger one. Unset: all. For curves of WER against hours."""
    subset_seed: int | None = limited(None, 0, LARGEST_SEED)
    """Seed of the choice of train_hours; `seed` if unset."""
    min_seconds: float = limited(0.1, 0)
    """Shortest utterance, in seconds; shorter ones are faults (see on_error)."""
    max_seconds: float = limited(30.0, above=0)
    """Longest utterance, in seconds; longer ones are faults (see on_error)."""
    on_error: Literal["raise", "skip"] = "raise"
    """Faulty utterances. raise: stop the run. skip: leave them out, counted by reason and printed."""
    cache_dir: str | None = None
    """Where 16 kHz audio is cached between runs; $KHASR_CACHE or ~/.cache/khasr if unset."""
    num_workers: int | None = limited(None, 0, 1024)
    """Processes that load training batches, during the whole run; 0: the training process itself. Unset: 2 on a GPU, 0
    on a CPU, whose cores train."""


@dataclass
class OpenslrKmConfig(DataConfig):
    """OpenSLR 42: 2,906 Khmer utterances, 16 speakers, 4 hours, CC BY-SA 4.0."""

    name: str = "openslr_km"
    root: str | None = None
    """km_kh_male.zip, or the folder with line_index.tsv and wavs/ (or with km_kh_male/ that has both); if unset, the
    archive that khasr.prepare downloads to the cache."""
    url: str = "https://www.openslr.org/resources/42/km_kh_male.zip"
    """Where khasr.prepare downloads the archive from."""
    archive_bytes: int | None = limited(866_086_951, 0)
    """Expected size of the archive in bytes; null: not checked."""
    archive_sha256: str | None = None
    """Expected SHA-256 of the archive (upstream publishes none); null: only the checksums inside it are checked."""


@dataclass
class FolderConfig(DataConfig):
    """Any folder with tables of audio, text and speaker: your own, AudioFolder, Common Voice, NeMo, Lhotse."""

    name: str = "folder"
    root: str | None = None
    """The folder; audio paths in the table are relative to it."""
    split: str = "auto"
    """As for other corpora (random, speaker, text, own, ...); auto is own if the tables name parts, else random."""
    table: Any = None
    """A table with a header line, or a list of tables, [A.tsv,B.tsv]: CSV (.csv), JSON Lines (.jsonl, .json; also NeMo
    manifests and Lhotse cuts), else tab-separated. A table named after a part (train.tsv, dev.tsv, test_manifest.json)
    is that part. Unset: utterances.tsv, or the tables of AudioFolder, Common Voice or NeMo, or the only table."""
    quoting: Literal["literal", "csv"] = "literal"
    """Quotes in a tab-separated table: `literal` keeps them as text (as Common Voice writes them), `csv` as in CSV."""
    audio_column: str = "audio"
    """Column with the path of the audio file, relative to the table. Where a column of this or the other default names
    is missing, those that other tools write are read, and printed: file_name, audio_filepath, path, sentence, ..."""
    text_column: str = "text"
    """Column with the transcript."""
    speaker_column: str | None = "speaker"
    """Column with the speaker; null if there is none."""
    split_column: str | None = "split"
    """Column with the part (train, dev or validation, test) for data.split=own; null ignores it."""
    offset_column: str | None = "offset"
    """Column with the start of the utterance in its audio file, in seconds; null: files are read whole."""
    duration_column: str | None = "duration"
    """Column with the seconds of audio from the offset; read in NeMo manifests and tables with an offset."""


@dataclass
class HubConfig(DataConfig):
    """A Hugging Face audio dataset in Parquet, or a local copy of one."""

    name: str = "hub"
    dataset: str | None = None
    """Its id on the Hugging Face hub, e.g. google/fleurs."""
    revision: str | None = None
    """Branch, tag or commit; refs/convert/parquet has the Parquet files of datasets that were loading scripts."""
    files: str = "**/*.parquet"
    """Pattern of the files to read, e.g. km_kh/*/*.parquet."""
    root: str | None = None
    """Replaces `dataset`: a folder written by save_to_disk, a Parquet file, or a folder of Parquet files."""
    audio_column: str = "audio"
    """Column with the audio."""
    text_column: str = "text"
    """Column with the transcript."""
    speaker_column: str | None = None
    """Column with the speaker; null if there is none."""
    id_column: str | None = None
    """Column with an id; null numbers the rows."""


@dataclass
class MixConfig(DataConfig):
    """Several corpora at once."""

    name: str = "mix"
    corpora: list[dict[str, Any]] = field(default_factory=list)
    """The corpora: each a choice of the group `data`, the options it changes, and its weight, the average number of
    times an epoch has each of its training utterances. [{data:openslr_km,root:A},{data:fleurs_km,weight:0.5}]. Corpora
    with `split` are split by it (train: only for training), the others together by data.split."""


@dataclass
class SyntheticConfig(DataConfig):
    """Khmer phrases composed by a grammar and spoken by espeak-ng."""

    name: str = "synthetic"
    utterances: int | None = limited(None, 1, 1_000_000)
    """Number of utterances: 600 phrases if unset, or all of `sentences`."""
    voices: int = limited(6, 1)
    """Number of speakers (1 to 12)."""
    corpus_seed: int = limited(0, 0, LARGEST_SEED)
    """Seed of phrases, voices and noise, separate from `seed` so that runs share a corpus."""
    sentences: str | None = None
    """A file of sentences to speak, one per line (of a table, the last tab-separated column); needs `lexicon`."""
    lexicon: str | None = None
    """A pronunciation lexicon: word, tab, phones separated by spaces (the phones of Google's Khmer lexicon)."""
