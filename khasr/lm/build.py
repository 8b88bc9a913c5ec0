"""Builds the folder of a language model from text files and the transcripts of a run."""

import dataclasses
import itertools
import json
import shutil
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from khasr.config import Config, TextConfig, to_plain
from khasr.data.tables import read_lines
from khasr.lm.arpa import interpolate, read_arpa, read_counts, tune_weight, write_arpa, write_unigrams
from khasr.lm.kenlm import build_binary, build_ngrams, file_digest, find_kenlm_command, measure
from khasr.lm.sources import Source, adapt_text_options, leave_out, normalised, read_source, spell
from khasr.lm.spelling import SPELLING, spelling_of, write_spelling
from khasr.run.folder import read_config
from khasr.text.counting import counted
from khasr.text.syllables import split_clusters

ARPA, BINARY, UNIGRAMS, DESCRIPTION = "lm.arpa", "lm.binary", "unigrams.txt", "lm.json"

# The highest order of a spelling model. Its n-grams are held in memory: above this number of characters of text, those
# of order 4 and higher that occur once are dropped.
_HIGHEST, _LARGE_TEXT = 12, 5_000_000


@dataclasses.dataclass
class Transcripts:
    """Normalised transcripts by part. Sentences of `held_out` are removed from the text of the model."""

    text: TextConfig
    train: list[str]
    held_out: dict[str, list[str]]


def build_lm(arguments: Namespace) -> dict[str, Any]:
    """Builds the model that the command line describes; returns the contents of lm.json.

    Raises:
        FileNotFoundError: lmplz, a file or the run does not exist.
        ValueError: inconsistent options, or text that cannot be used.
    """
    _check(arguments)
    transcripts = _read_transcripts(arguments)
    known = [*transcripts.train, *(s for part in transcripts.held_out.values() for s in part)]
    options = adapt_text_options(transcripts.text, known) if known else transcripts.text
    held_out = {} if arguments.keep_held_out else transcripts.held_out
    sources = [
        read_source(
            path, options, transcripts.held_out, segment=arguments.segment, keep_held_out=arguments.keep_held_out
        )
        for path in arguments.files
    ]
    train, in_train = leave_out(transcripts.train, held_out)
    if arguments.transcripts == "no":
        train = []
    _print_sources(sources, train, in_train, arguments)
    texts = ([x for s in sources for x in s.sentences], train)
    val = transcripts.held_out.get("val", [])
    with _built_whole(arguments.out) as folder:
        described = _write_folder(folder, arguments, texts, val, sources, in_train, options)
    _print_model(described, arguments.out)
    return described


@contextmanager
def _built_whole(out: Path) -> Iterator[Path]:
    """A temporary folder beside `out`, whose files are moved to `out` at the end, or deleted after an exception.

    The files of a killed build are deleted by the next one.
    """
    out = out.resolve()  # a name for "."
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        if out.exists():
            # lm.json last: without it, the folder is not a complete one of build_lm.
            (out / DESCRIPTION).unlink(missing_ok=True)
            (out / SPELLING).unlink(missing_ok=True)
            for file in sorted(partial.iterdir(), key=lambda file: file.name == DESCRIPTION):
                file.replace(out / file.name)
        else:
            partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_folder(
    folder: Path,
    arguments: Namespace,
    texts: tuple[list[str], list[str]],
    val: list[str],
    sources: Sequence[Source],
    in_train: dict[str, int],
    options: TextConfig,
) -> dict[str, Any]:
    """Writes the files of a language model; returns the contents of lm.json."""
    train = texts[1]
    spelled = [[_spelled(s, arguments.unit) for s in sentences] for sentences in (*texts, val)]
    notes, weight = _write_arpa(folder / ARPA, arguments, arguments.order, arguments.prune, spelled)
    build_binary(folder / ARPA, folder / BINARY)
    spelling = _write_spelling(folder, arguments, [*texts, val]) if arguments.spelling else None
    described = {
        "order": arguments.order,
        "unit": arguments.unit,
        "prune": arguments.prune,
        "bytes": (folder / BINARY).stat().st_size,
        "counts": read_counts(folder / ARPA),
        "words": write_unigrams(folder / ARPA, folder / UNIGRAMS),
        "xxh3": {name: file_digest(folder / name) for name in (BINARY, UNIGRAMS, *([SPELLING] if spelling else []))},
        "sources": [
            {"path": s.path, "sha256": s.sha256, "sentences": len(s.sentences), "words": s.words,
             "cut_into_words": s.segmented, "sentences_of": s.held_out}
            for s in sources
        ],
        "transcripts": {"use": arguments.transcripts if train else "no",
            "run": str(arguments.run) if arguments.run else None,
            "sentences": len(train), "sentences_of": in_train},
        "sentences_of_val_or_test": "kept" if arguments.keep_held_out else "left out",
        "weight_of_transcripts": weight,
        "spelling": spelling,
        "text": to_plain(options),
        "val": _measured(folder / BINARY, spelled[2]),
        "notes": notes,
    }  # fmt: skip
    (folder / DESCRIPTION).write_text(json.dumps(described, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    return described


def _check(arguments: Namespace) -> None:
    if not 2 <= arguments.order <= 6:
        raise ValueError(
            f"--order {arguments.order}: expected 2 to 6; KenLM does not read models of order 1, and is built for at "
            "most order 6."
        )
    for name in ("lmplz", "build_binary"):
        find_kenlm_command(name)
    if arguments.spelling and not 2 <= arguments.spelling <= _HIGHEST:
        raise ValueError(f"--spelling {arguments.spelling}: expected 2 to {_HIGHEST}, or 0 for no spelling model.")
    if arguments.unit != "word":
        arguments.spelling = 0  # every letter is scored already
    if not arguments.files and (arguments.run is None or arguments.transcripts == "no"):
        raise ValueError("No text to build from. Give text FILES, or --run RUN for its training transcripts.")
    prune = arguments.prune
    if prune[0] < 0 or (prune[0] > 0 and len(prune) > 1) or any(a > b for a, b in itertools.pairwise(prune)):
        raise ValueError(
            f"--prune {' '.join(map(str, prune))}: expected counts of 0 or more that do not decrease, the first 0. "
            "--prune 0 drops nothing."
        )
    # lmplz refuses more thresholds than orders.
    arguments.prune = prune[: arguments.order]
    if arguments.out.exists() and not arguments.out.is_dir():
        raise ValueError(f"--out {arguments.out} is a file; expected a folder, which is created.")
    if arguments.run is not None and (arguments.val or arguments.test):
        raise ValueError("--run already has val and test parts; --val and --test are for building without a run.")


def _read_transcripts(arguments: Namespace) -> Transcripts:
    if arguments.run is not None:
        return read_transcripts(read_config(arguments.run))
    text = TextConfig()
    held_out = {}
    for part in ("val", "test"):
        path = getattr(arguments, part)
        if path is not None:
            if not path.is_file():
                raise FileNotFoundError(f"--{part} {path} is not a file; expected UTF-8 text, one sentence per line.")
            held_out[part] = normalised(read_lines(path.read_bytes(), str(path)), text)
    return Transcripts(text, [], held_out)


def read_transcripts(config: Config) -> Transcripts:
    """The references of a run's corpus; those of test are used only to remove them from the text."""
    from khasr.data.datamodule import CorpusDataModule

    data = CorpusDataModule(config.data, config.seed)
    data.prepare(progress=False)
    texts = {name: part.texts for name, part in data.parts.items()}
    return Transcripts(config.data.text, texts.pop("train"), texts)


def _spelled(sentence: str, unit: str) -> str:
    match unit:
        case "character":
            return spell(sentence, list(sentence))
        case "cluster":
            return spell(sentence, split_clusters(sentence))
    return sentence


def _write_arpa(
    arpa: Path, arguments: Namespace, order: int, prune: Sequence[int], texts: Sequence[Sequence[str]]
) -> tuple[list[str], float | None]:
    """Writes the ARPA file of files and transcripts, interpolated with the weight that fits val best, or appended.

    Args:
        texts: sentences of the files, of the transcripts and of val.

    Returns:
        Notes of lmplz, and the weight of the transcripts' model if interpolated.
    """
    files, transcripts, val = texts
    if not (files and transcripts and arguments.transcripts == "interpolate"):
        note = _build([*files, *transcripts], arpa, order, prune, arguments)
        return ([note] if note else []), None
    if not val:
        raise ValueError(
            "--transcripts interpolate requires sentences of val to tune the weight; use --transcripts append."
        )
    paths = [arpa.with_name(f"{name}.arpa") for name in ("transcripts", "files")]
    notes = [
        _build(part, path, order, prune, arguments) for path, part in zip(paths, (transcripts, files), strict=True)
    ]
    parts = [read_arpa(path) for path in paths]
    weight = tune_weight(parts[0], parts[1], val)
    write_arpa(interpolate(parts[0], parts[1], weight), arpa)
    for path in paths:
        path.unlink()
    return [note for note in notes if note], weight


def _write_spelling(folder: Path, arguments: Namespace, texts: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Writes the spelling model of files and transcripts; returns its description.

    Args:
        texts: as for `_write_arpa`, not spelled.
    """
    arpa = folder / "spelling.arpa"
    prune = [0, 0, 0, 1] if sum(len(s) for part in texts[:2] for s in part) > _LARGE_TEXT else [0]
    spelled = [[_spelled(s, "character") for s in part] for part in texts]
    notes, weight = _write_arpa(arpa, arguments, arguments.spelling, prune, spelled)
    write_spelling(spelling_of(arpa), folder / SPELLING)
    counts = read_counts(arpa)
    arpa.unlink()
    return {"order": arguments.spelling, "prune": prune, "counts": counts, "weight_of_transcripts": weight,
            "notes": notes}  # fmt: skip


def _build(sentences: Sequence[str], arpa: Path, order: int, prune: Sequence[int], arguments: Namespace) -> str:
    with tempfile.NamedTemporaryFile("w", suffix=".txt", dir=arpa.parent, encoding="utf-8") as text:
        text.write("".join(f"{sentence}\n" for sentence in sentences))
        text.flush()
        return build_ngrams(Path(text.name), arpa, order, prune, arguments.memory)


def _measured(binary: Path, val: Sequence[str]) -> dict[str, float] | None:
    return dataclasses.asdict(measure(binary, val)) if val else None


def _print_sources(
    sources: Sequence[Source], train: Sequence[str], in_train: dict[str, int], arguments: Namespace
) -> None:
    for source in sources:
        cut = ", Khmer cut into words" if source.segmented else ""
        print(
            f"{source.path}: {counted(len(source.sentences), 'sentence')}, {counted(source.words, 'word')}{cut}"
            f"{_describe_held_out(source.held_out, arguments)}"
        )
    if train:
        print(
            f"training transcripts: {counted(len(train), 'sentence')}, "
            f"{counted(sum(len(s.split()) for s in train), 'word')}"
            f"{_describe_held_out(in_train, arguments)}"
        )


def _describe_held_out(held_out: dict[str, int], arguments: Namespace) -> str:
    what = "kept (--keep-held-out)" if arguments.keep_held_out else "left out"
    return "".join(f"; {counted(count, 'sentence')} of {part} {what}" for part, count in held_out.items() if count)


def _print_model(described: dict[str, Any], out: Path) -> None:
    counts = ", ".join(f"{count:,}" for count in described["counts"])
    print(f"{described['order']}-gram of {described['unit']}s: {counts} n-grams of order 1, 2, ...")
    if described["weight_of_transcripts"] is not None:
        print(f"interpolated: {described['weight_of_transcripts']:.3f} of the transcripts' model, tuned on val")
    if described["val"] is not None:
        val = described["val"]
        print(
            f"val: perplexity {val['perplexity']:.1f}, OOV {100 * val['oov']:.1f} % of "
            f"{val['words']:,} {described['unit']}s"
        )
    if (spelling := described["spelling"]) is not None:
        transcripts = spelling["weight_of_transcripts"]
        mixed = "" if transcripts is None else f", {transcripts:.3f} of the transcripts' model"
        print(f"spelling: {spelling['order']}-gram of characters, {sum(spelling['counts']):,} n-grams{mixed}")
    for note in described["notes"]:
        print(f"note: {note}")
    for name in (ARPA, BINARY, UNIGRAMS, *([SPELLING] if described["spelling"] else []), DESCRIPTION):
        print(f"  {out / name}")
