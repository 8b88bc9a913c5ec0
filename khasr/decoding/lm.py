"""n-gram language models by KenLM's own lmplz: built, interpolated, and measured.

Probabilities are base 10 where an ARPA file holds them.
"""

import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import kenlm

UNKNOWN_WORD = "<unk>"
_BOUNDARIES = ("<s>", "</s>")
# What stands for the space between words in a model of characters or clusters, as in flashlight's and fairseq's.
SPACE = "|"
_NEVER = -99.0


@dataclass
class Ngrams:
    """A back-off model as an ARPA file holds it.

    Attributes:
        orders: for each order, n-gram to (log10 probability, log10 back-off weight).
    """

    orders: list[dict[tuple[str, ...], tuple[float, float]]] = field(default_factory=list)

    @property
    def words(self) -> list[str]:
        """The words it knows, without boundaries and the unknown word."""
        return [w for (w,) in self.orders[0] if w not in (*_BOUNDARIES, UNKNOWN_WORD)]


@dataclass(frozen=True)
class Fit:
    """How well a model fits a text.

    Attributes:
        perplexity: of each known word and sentence end; unknown words are counted in oov instead.
        oov: share of the words that the model does not know.
    """

    perplexity: float
    oov: float
    words: int


def find_kenlm_command(name: str) -> Path:
    """The path of lmplz or build_binary: beside this Python, else in PATH.

    Raises:
        FileNotFoundError: it is not installed; the message tells how to build it.
    """
    beside = Path(sys.executable).parent / name
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which(name)
    if found is None:
        raise FileNotFoundError(
            f"{name} is not installed: it was looked for beside {sys.executable} and in PATH. `make lmplz` builds "
            "KenLM's lmplz and build_binary there, from the source package kenlm-ex (a C++ compiler is all it "
            "needs, two minutes)."
        )
    return Path(found)


def build_ngrams(text: Path, arpa: Path, order: int, prune: Sequence[int], memory: str = "1G") -> str:
    """Writes the ARPA file of a text of one sentence a line; returns a note where lmplz had to fall back.

    Modified Kneser-Ney (Heafield 2013). Where counts are too few to estimate discounts from (a small text, or one of
    characters), lmplz is asked again with fixed discounts of 0.5, 1 and 1.5.

    Raises:
        FileNotFoundError: no lmplz.
        ValueError: lmplz refused the text; the message has its words.
    """
    command = [str(find_kenlm_command("lmplz")), "-o", str(order), "-S", memory, "--text", str(text)]
    command += ["--arpa", str(arpa)]
    if any(prune):
        command += ["--prune", *map(str, prune)]
    done = _run_beside(arpa, command)
    if done.returncode == 0:
        return ""
    if "discount_fallback" not in done.stderr:
        raise ValueError(f"lmplz could not build the model: {_last_words(done.stderr)}")
    done = _run_beside(arpa, [*command, "--discount_fallback", "0.5", "1", "1.5"])
    if done.returncode != 0:
        raise ValueError(f"lmplz could not build the model: {_last_words(done.stderr)}")
    return "too few counts to estimate Kneser-Ney discounts: lmplz's fixed ones were used"


def _run_beside(file: Path, command: list[str]) -> "subprocess.CompletedProcess[str]":
    """Runs a command of KenLM's with a folder for its temporary files, some of which it leaves where it fails."""
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        command = [*command[:1], "-T", f"{folder}/", *command[1:]]
        return subprocess.run(command, capture_output=True, text=True, check=False)


def _last_words(stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if line.strip() and not set(line) <= set("-*=0123456789 ")]
    return " ".join(lines[-3:]) or "it said nothing"


def build_binary(arpa: Path, binary: Path) -> None:
    """Writes the ARPA file as KenLM's binary, a trie without quantisation: the same probabilities, read at once.

    Raises:
        FileNotFoundError: no build_binary.
        ValueError: it refused the file.
    """
    kind = "probing" if len(read_counts(arpa)) == 1 else "trie"  # a trie wants an order of 2 at least
    done = _run_beside(binary, [str(find_kenlm_command("build_binary")), kind, str(arpa), str(binary)])
    if done.returncode != 0:
        raise ValueError(f"build_binary could not read {arpa}: {_last_words(done.stderr)}")


def read_counts(arpa: Path) -> list[int]:
    """The count of n-grams of each order, from the ARPA file's header."""
    counts = []
    with arpa.open(encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("\\1-grams"):
                break
            if match := re.match(r"ngram \d+=(\d+)", line):
                counts.append(int(match[1]))
    return counts


def read_arpa(path: Path) -> Ngrams:
    """The n-grams of an ARPA file."""
    ngrams = Ngrams()
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            line = line.rstrip("\n")
            if re.fullmatch(r"\\\d+-grams:", line):
                ngrams.orders.append({})
            elif ngrams.orders and "\t" in line:
                probability, words, *backoff = line.split("\t")
                ngrams.orders[-1][tuple(words.split(" "))] = (float(probability), float(backoff[0]) if backoff else 0.0)
    return ngrams


def write_arpa(ngrams: Ngrams, path: Path) -> None:
    """Writes an ARPA file."""
    top = len(ngrams.orders)
    with path.open("w", encoding="utf-8") as file:
        file.write("\\data\\\n" + "".join(f"ngram {n}={len(g)}\n" for n, g in enumerate(ngrams.orders, 1)))
        for n, grams in enumerate(ngrams.orders, 1):
            file.write(f"\n\\{n}-grams:\n")
            for words, (probability, backoff) in grams.items():
                tail = f"\t{backoff:.6f}" if n < top else ""
                file.write(f"{probability:.6f}\t{' '.join(words)}{tail}\n")
        file.write("\n\\end\\\n")


# ------------------------------------------------------------------------------------------------------- interpolation


def interpolate(one: Ngrams, other: Ngrams, weight: float) -> Ngrams:
    """The model whose probability of each n-gram of either is weight x one's + (1 - weight) x other's.

    A word that only one of them knows has probability 0 in the other. Back-off weights make each context sum to 1
    again, as SRILM's `ngram -mix-lpp` does (Stolcke 2002).
    """
    mixed = Ngrams()
    known = [{w for (w,) in model.orders[0]} for model in (one, other)]
    for order in range(max(len(one.orders), len(other.orders))):
        union = dict.fromkeys([*_order(one, order), *_order(other, order)])
        grams = {}
        for words in union:
            parts = [
                10 ** _log_probability(model, words) if words[-1] in vocabulary else 0.0
                for model, vocabulary in zip((one, other), known, strict=True)
            ]
            probability = weight * parts[0] + (1 - weight) * parts[1]
            never = words == ("<s>",) or probability <= 0
            grams[words] = (_NEVER if never else math.log10(probability), 0.0)
        mixed.orders.append(grams)
    _renormalise(mixed)
    return mixed


def _order(model: Ngrams, order: int) -> dict[tuple[str, ...], tuple[float, float]]:
    return model.orders[order] if order < len(model.orders) else {}


def _log_probability(model: Ngrams, words: tuple[str, ...]) -> float:
    """log10 P(last word | those before), backed off to what the model has."""
    backoff = 0.0
    words = words[-len(model.orders) :]
    while True:
        found = model.orders[len(words) - 1].get(words)
        if found is not None:
            return found[0] + backoff
        if len(words) == 1:
            return model.orders[0].get((UNKNOWN_WORD,), (_NEVER, 0.0))[0] + backoff
        context = model.orders[len(words) - 2].get(words[:-1])
        backoff += context[1] if context else 0.0
        words = words[1:]


def _renormalise(model: Ngrams) -> None:
    """Sets each context's back-off weight so that the probabilities after it sum to 1; shorter contexts first."""
    for order in range(1, len(model.orders)):
        taken: dict[tuple[str, ...], tuple[float, float]] = {}
        for words, (probability, _) in model.orders[order].items():
            here, below = taken.get(words[:-1], (0.0, 0.0))
            taken[words[:-1]] = (here + 10**probability, below + 10 ** _log_probability(model, words[1:]))
        for context, (here, below) in taken.items():
            left, left_below = max(1 - here, 0.0), max(1 - below, 0.0)
            weight = (
                math.log10(left / left_below)
                if left > 1e-12 and left_below > 1e-12
                else (_NEVER if left_below > 1e-12 else 0.0)
            )
            model.orders[order - 1][context] = (model.orders[order - 1][context][0], weight)


def tune_weight(one: Ngrams, other: Ngrams, sentences: Sequence[str]) -> float:
    """The weight of `one` that makes the sentences likeliest, by expectation maximisation (Jelinek and Mercer 1980).

    Words that neither model knows tell nothing and are left out.
    """
    pairs = []
    for sentence in sentences:
        pairs += list(zip(_word_probabilities(one, sentence), _word_probabilities(other, sentence), strict=True))
    pairs = [(a, b) for a, b in pairs if a > 0 or b > 0]
    weight = 0.5
    for _ in range(100):
        before = weight
        shares = [weight * a / (weight * a + (1 - weight) * b) for a, b in pairs]
        weight = sum(shares) / len(shares) if shares else 0.5
        if abs(weight - before) < 1e-5:
            break
    return weight


def _word_probabilities(model: Ngrams, sentence: str) -> Iterator[float]:
    """P of each word and of the sentence's end; 0 where the model does not know the word."""
    words = ("<s>", *sentence.split(), "</s>")
    for end in range(2, len(words) + 1):
        known = (words[end - 1],) in model.orders[0]
        yield 10 ** _log_probability(model, words[max(0, end - len(model.orders)) : end]) if known else 0.0


def measure(model_file: Path, sentences: Sequence[str]) -> Fit:
    """Perplexity and share of unknown words of a model on sentences.

    Raises:
        ValueError: no sentence has a known word.
    """
    model = kenlm.Model(str(model_file))
    log, known, unknown = 0.0, 0, 0
    for sentence in sentences:
        for probability, _, oov in model.full_scores(sentence):
            unknown += oov
            known += not oov
            log += 0.0 if oov else probability
    words = sum(len(sentence.split()) for sentence in sentences)
    if not words:
        raise ValueError("There is no word to measure the language model on.")
    return Fit(10 ** (-log / known) if known else math.inf, unknown / words, words)


# ------------------------------------------------------------------------------------------------------- units of text


def spell(text: str, symbols: Sequence[str]) -> str:
    """A text as a model of characters or clusters reads it: its symbols with spaces between, `|` for the space."""
    return " ".join(SPACE if symbol == " " else symbol for symbol in symbols)


def write_unigrams(ngrams_file: Path, path: Path) -> int:
    """Writes the words of an ARPA file, one a line, and returns their count."""
    words = list(arpa_words(ngrams_file))
    path.write_text("".join(f"{w}\n" for w in words), encoding="utf-8")
    return len(words)


def arpa_words(arpa: Path) -> Iterator[str]:
    """The words of an ARPA file, without boundaries and the unknown word."""
    with arpa.open(encoding="utf-8") as lines:
        inside = False
        for line in lines:
            if line.startswith("\\1-grams"):
                inside = True
            elif line.startswith("\\"):
                if inside:
                    return
            elif inside and "\t" in line:
                word = line.rstrip("\n").split("\t")[1]
                if word not in (*_BOUNDARIES, UNKNOWN_WORD):
                    yield word
