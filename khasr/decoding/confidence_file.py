"""confidence.json of a run's folder: the confidences that were fitted for its decoders."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from khasr.config import DecoderConfig
from khasr.decoding.confidence import FEATURES, Confidence, decoder_key
from khasr.run.folder import RunFolder, write_whole


def read_confidence(folder: RunFolder, options: DecoderConfig) -> Confidence | None:
    """The confidence that was fitted for a decoder; None if there is none.

    Raises:
        ValueError: the file is damaged.
    """
    key = decoder_key(options)
    return next((fitted for fitted in _read(folder) if fitted.decoder == key), None)


def write_confidence(folder: RunFolder, confidence: Confidence) -> None:
    """Writes a confidence to the run's folder, beside those of other decoders."""
    _write(folder, [*_others(folder, confidence.decoder), confidence])


def remove_confidence(folder: RunFolder, options: DecoderConfig) -> None:
    """Removes the confidence that was fitted for a decoder, if there is one."""
    others = _others(folder, decoder_key(options))
    if len(others) < len(_read(folder)):
        _write(folder, others)


def _others(folder: RunFolder, decoder: dict[str, Any]) -> list[Confidence]:
    """Those of other decoders; a language model that was built again in the same place counts as the same."""
    return [fitted for fitted in _read(folder) if _place(fitted.decoder) != _place(decoder)]


def _place(decoder: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in decoder.items() if name != "xxh3"}


def copy_confidences(source: RunFolder, options: DecoderConfig | None, target: RunFolder, lm: str) -> None:
    """Copies the confidences of greedy decoding and, where given, of a decoder whose language model is copied too.

    Args:
        lm: the file of the copied language model, relative to `target`.
    """
    greedy = read_confidence(source, DecoderConfig(name="greedy"))
    own = None if options is None or options.name == "greedy" else read_confidence(source, options)
    copied = [] if greedy is None else [greedy]
    if own is not None:
        copied.append(replace(own, decoder=own.decoder | {"lm": lm}))
    if copied:
        _write(target, copied)


def _write(folder: RunFolder, confidences: Sequence[Confidence]) -> None:
    rows = [asdict(fitted) for fitted in confidences]
    write_whole(folder.confidence, json.dumps({"fitted": rows}, ensure_ascii=False, indent=1) + "\n")


def _read(folder: RunFolder) -> list[Confidence]:
    """All confidences of a folder; a language model inside it, as in one of khasr.export, may be relative to it."""
    if not folder.confidence.is_file():
        return []
    try:
        found = [Confidence(**row) for row in json.loads(folder.confidence.read_text(encoding="utf-8"))["fitted"]]
        for fitted in found:
            numbers = fitted.probabilities(np.zeros((1, len(FEATURES))))
            if not np.isfinite(numbers).all() or not isinstance(fitted.decoder, dict):
                raise ValueError("a number is not finite, or the decoder is not an object")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{folder.confidence} does not hold fitted confidences ({type(error).__name__}: {error}). Delete the file, "
            f"and fit them again with python -m khasr.evaluate run={folder.path} part=val."
        ) from error
    for fitted in found:
        if fitted.decoder.get("lm") is not None:
            fitted.decoder["lm"] = str((folder.path / str(fitted.decoder["lm"])).resolve())
    return found
