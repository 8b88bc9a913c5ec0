"""KenLM's lmplz and build_binary, and the perplexity of a model."""

import hashlib
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import kenlm
import xxhash


@dataclass(frozen=True)
class Fit:
    """How well a model fits a text.

    Attributes:
        perplexity: per known word and sentence end; unknown words are counted in oov instead.
        oov: fraction of words that the model does not have.
    """

    perplexity: float
    oov: float
    words: int


def find_kenlm_command(name: str) -> Path:
    """The path of lmplz or build_binary: beside this Python, else in PATH.

    Raises:
        FileNotFoundError: it is not installed; the message says how to build it.
    """
    beside = Path(sys.executable).parent / name
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which(name)
    if found is None:
        raise FileNotFoundError(
            f"{name} is not installed: it is neither beside {sys.executable} nor in PATH. `make lmplz` builds "
            "KenLM's lmplz and build_binary there, from the source package kenlm-ex; it requires a C++ compiler and "
            "takes two minutes."
        )
    return Path(found)


def build_ngrams(text: Path, arpa: Path, order: int, prune: Sequence[int], memory: str = "1G") -> str:
    """Writes the ARPA file of a text with one sentence per line; returns a note if lmplz used fixed discounts.

    Modified Kneser-Ney (Heafield 2013). Where counts are too few to estimate discounts from (a small text, or one of
    characters), lmplz is run again with fixed discounts of 0.5, 1 and 1.5.

    Raises:
        FileNotFoundError: no lmplz.
        ValueError: lmplz failed; the message has its output.
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
    """Runs a KenLM command with a temporary folder, since failing commands leave temporary files behind."""
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        command = [*command[:1], "-T", f"{folder}/", *command[1:]]
        return subprocess.run(command, capture_output=True, text=True, check=False)


def _last_words(stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if line.strip() and not set(line) <= set("-*=0123456789 ")]
    return " ".join(lines[-3:]) or "no message"


def build_binary(arpa: Path, binary: Path) -> None:
    """Converts an ARPA file to KenLM's binary format, a trie without quantisation: the same probabilities, mapped.

    Raises:
        FileNotFoundError: no build_binary.
        ValueError: build_binary failed.
    """
    done = _run_beside(binary, [str(find_kenlm_command("build_binary")), "trie", str(arpa), str(binary)])
    if done.returncode != 0:
        raise ValueError(f"build_binary could not read {arpa}: {_last_words(done.stderr)}")


def file_digest(path: Path) -> str:
    """The XXH3 digest of a file, of 128 bits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, xxhash.xxh3_128).hexdigest()


def measure(model_file: Path, sentences: Sequence[str]) -> Fit:
    """Perplexity and out-of-vocabulary rate of a model on sentences.

    Raises:
        ValueError: there are no words in the sentences.
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
