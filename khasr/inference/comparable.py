"""What an evaluation's numbers can be compared with: training utterances, text forms and symbols of the runs."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from khasr.config import DataConfig, EvaluateConfig, TextConfig, to_plain
from khasr.data.parts import Part
from khasr.data.splits import read_manifest
from khasr.run.folder import RunFolder
from khasr.scoring.hypotheses import Hypothesis
from khasr.text.normalise import transcript
from khasr.text.vocabulary import Vocabulary, describe_symbol


def describe_overlap(config: EvaluateConfig, ids: Sequence[str]) -> list[str]:
    """Sentences on the utterances of the part that the runs were trained on.

    Raises:
        ValueError: val or test, and the second run was trained on some of its utterances.
    """
    notes = []
    runs = [("run", config.run)] + ([("against", config.against)] if config.against else [])
    for option, run in runs:
        trained = _training_ids(run)
        if trained is None:
            notes.append(
                f"{option}={run} has no split.tsv: whether it was trained on utterances of this part is unknown."
            )
            continue
        mix = config.data.name == "mix"
        count = sum(id_ in trained or (mix and id_.split("/", 1)[-1] in trained) for id_ in ids)
        if not count or (config.part == "train" and count == len(ids)):
            continue
        overlap = f"{count:,} of the {len(ids):,} utterances of part={config.part} are in the training part of {run}"
        if option == "against" and config.part in ("val", "test") and _same_corpus(run, config.data):
            raise ValueError(
                f"against={run} cannot be compared on this part: {overlap}. Expected utterances that neither run was "
                f"trained on: train both runs with one split (data.split={RunFolder.at(config.run).split}), or pass "
                "data.split=FILE, a table of id and part, that names other utterances."
            )
        notes.append(f"{overlap}: its error rate on them is no estimate for new utterances.")
    return notes


def _training_ids(run: str) -> set[str] | None:
    """Ids of a run's training part; of a mix, also without the prefix of their corpus. None if unknown."""
    folder = RunFolder.at(run)
    if not folder.split.is_file():
        return None
    ids = {id_ for id_, part in read_manifest(folder.split).items() if part == "train"}
    if folder.is_run and folder.read_config().data.name == "mix":
        ids |= {id_.split("/", 1)[-1] for id_ in ids}
    return ids


def _same_corpus(run: str, data: DataConfig) -> bool:
    """Whether a run was trained on this corpus, as far as the options show; a mix may contain it."""
    folder = RunFolder.at(run)
    if not folder.is_run:
        return False
    own = folder.read_config().data
    if "mix" in (own.name, data.name):
        return True
    return own.name == data.name and _source(own) == _source(data)


def is_own_val(config: EvaluateConfig, ids: Iterable[str]) -> bool:
    """Whether utterances are in the val part that the run selected its checkpoint on, as its split.tsv has them."""
    folder = RunFolder.at(config.run)
    if config.part != "val" or not folder.split.is_file() or not _same_corpus(config.run, config.data):
        return False
    parts = read_manifest(folder.split)
    return all(parts.get(id_) == "val" for id_ in ids)


def _source(data: DataConfig) -> list[Any]:
    root = getattr(data, "root", None)
    place = Path(root).expanduser().resolve() if root is not None else None
    return [place, *(getattr(data, name, None) for name in ("table", "dataset", "revision", "files"))]


def training_words(config: EvaluateConfig, whole: Part) -> Counter[str] | None:
    """Counts of the words that the run was trained on; None if its training part is not of this corpus."""
    trained = _training_ids(config.run)
    if trained is None or config.data.name == "mix" or not _same_corpus(config.run, config.data):
        return None
    rows = zip(whole.audio["id"], whole.texts, strict=True)
    return Counter(word for id_, text in rows if str(id_) in trained for word in text.split())


def normalised(hypotheses: Sequence[Hypothesis], forms: Sequence[TextConfig]) -> list[Hypothesis]:
    """The hypotheses with both texts normalised by all of the text options; unchanged if there is only one."""
    distinct = list({str(to_plain(form)): form for form in forms}.values())
    if len(distinct) < 2:
        return list(hypotheses)

    def common(text: str) -> str:
        for form in distinct * 2:  # twice: a step of the second may enable one of the first
            text = transcript(text, form)
        return text

    return [replace(h, reference=common(h.reference), hypothesis=common(h.hypothesis)) for h in hypotheses]


def describe_symbols(run: str, references: Sequence[str], vocabulary: Vocabulary) -> list[str]:
    """A sentence on the symbols of the references that the model cannot write, if there are any."""
    lacking = Counter(symbol for reference in references for symbol in vocabulary.unknown(reference).elements())
    if not lacking:
        return []
    total = sum(len(vocabulary.encode(reference)) for reference in references)
    shown = ", ".join(f"{describe_symbol(s)} x {n:,}" for s, n in lacking.most_common(5))
    note = (
        f"{sum(lacking.values()):,} of {total:,} symbols of the references are not in the vocabulary of {run} and "
        f"count as errors: {shown}" + (f" and {len(lacking) - 5} more." if len(lacking) > 5 else ".")
    )
    cased = {s for s in lacking if s.swapcase() != s and s.swapcase() in vocabulary.symbols}
    if cased:
        note += (
            f" {len(cased)} of these symbols are in the vocabulary in the other case: with data.text.lowercase=true, "
            "references and the hypotheses of a Hugging Face model are lower-cased."
        )
    return [note]
