"""A run as a Hugging Face folder that transformers loads, with a model card."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError
from torch import nn
from transformers import (
    PreTrainedModel,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertProcessor,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Processor,
    Wav2Vec2ProcessorWithLM,
)
from transformers.utils import logging as transformers_logging

from khasr.config import Config, DecoderConfig
from khasr.decoding.beam import BeamSearch, describe_lm, lm_file, read_unigrams, spelling_file
from khasr.decoding.confidence_file import copy_confidences
from khasr.lm.build import BINARY, DESCRIPTION, UNIGRAMS
from khasr.lm.spelling import SPELLING
from khasr.model.ctc import CtcModel
from khasr.model.encoders import KINDS
from khasr.model.weights import build_model, load_start
from khasr.publish.card import Card, card_of_run, describe_interruption, read_evaluation, write_card
from khasr.publish.corpus import Stated
from khasr.run.folder import RunFolder
from khasr.text.counting import counted
from khasr.text.vocabulary import Vocabulary

_BLANK, _UNKNOWN, _SPACE = "<pad>", "[UNK]", "|"
_NEVER = -1e4  # a logit that no other is below
_LM = "lm"  # the folder of the language model, in the exported folder


def export(
    run: RunFolder,
    out: Path,
    name: str,
    lm: Path | None = None,
    evaluation: Path | None = None,
    stated: Stated | None = None,
) -> str:
    """Writes the folder, completely or not at all; returns a description of its contents.

    Args:
        lm: a KenLM n-gram, or a folder of build_lm; by default the n-gram of the run's tuning or of its decoder.
        evaluation: the evaluation.json with the error rates with the n-gram, for the card.
        stated: language, licence and dataset for the card, in place of those that are known of the corpus.

    Raises:
        FileNotFoundError: the run, its best checkpoint or the n-gram does not exist.
        ValueError: `out` exists, the run has no validation yet, or a file of the run or the n-gram is damaged.
    """
    for path in (run.config, run.results, run.best):
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} does not exist; expected the folder of a finished run (python -m khasr.train)."
            )
    if out.exists():
        raise ValueError(f"--out {out} exists already; choose a new folder.")
    stated = stated or Stated()
    stated.check()
    config = run.read_config()
    card = card_of_run(run, name, read_evaluation(evaluation, run.path) if evaluation else None, stated)
    model, vocabulary, _ = build_model(
        load_start(config.model, run.best), Vocabulary.of_texts([]), config.model, "keep"
    )
    decoder = _decoder_options(config, run, lm)
    theirs = None if decoder is None else decoder_of_words(decoder)
    if theirs is not None and " " not in vocabulary.symbols:
        vocabulary = _add_space(model, vocabulary)
    transformers_logging.disable_progress_bar()  # of a single file
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        as_transformers(model, vocabulary).save_pretrained(partial)
        save_processor(model, vocabulary, partial, theirs)
        if decoder is not None:
            _save_decoder(decoder, vocabulary, partial)
        copied = "" if decoder is None else f"{_LM}/{lm_file(str(decoder.lm)).name}"
        copy_confidences(run, decoder, RunFolder(partial), copied)
        (partial / "README.md").write_text(write_card(card), encoding="utf-8")
        _apply_umask(partial)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    what = "without a language model" if decoder is None else _describe_decoder(decoder)
    unfinished = describe_interruption(run)
    warning = "" if unfinished is None else f". The run was interrupted: {unfinished} steps were taken"
    contents = f"{type(model.encoder).__name__}, {counted(len(vocabulary), 'symbol')}, {what}"
    return f"{out}: {contents}; README.md is its model card{warning}{_describe_gaps(card)}"


def _describe_gaps(card: Card) -> str:
    """What the card does not state because it is not known, and the options that state it."""
    gaps = {
        "language (--language fr)": card.languages is None,
        "licence (--license cc-by-4.0)": card.license is None,
        "dataset (--dataset USER/NAME), without which the card has no model-index": card.dataset is None,
    }
    lacking = [what for what, is_unknown in gaps.items() if is_unknown]
    return f"\nNot in the card, because unknown: {'; '.join(lacking)}." if lacking else ""


def _apply_umask(folder: Path) -> None:
    """Gives the files the usual permissions: safetensors writes its file readable by its owner only."""
    umask = os.umask(0)
    os.umask(umask)
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(0o666 & ~umask)


def _add_space(model: CtcModel, vocabulary: Vocabulary) -> Vocabulary:
    """Adds a space that is never predicted, for a corpus of single words: transformers' n-gram decoder requires one."""
    head = nn.Linear(model.head.in_features, len(vocabulary) + 1)
    with torch.no_grad():
        head.weight.zero_()[:-1] = model.head.weight
        head.bias.fill_(_NEVER)[:-1] = model.head.bias
    model.head = head
    return Vocabulary([*vocabulary.symbols, " "])


def push(folder: Path, repository: str) -> str:
    """Uploads an exported folder to the Hugging Face hub; returns a message with its address.

    Raises:
        ValueError: an invalid name, no token or no network; the folder is unchanged.
    """
    api = HfApi()
    try:
        api.create_repo(repository, exist_ok=True)
        commit = api.upload_folder(repo_id=repository, folder_path=folder, commit_message="A model trained by khasr")
    except (HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, OSError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(
            f"--push {repository}: the upload failed ({type(error).__name__}: {reason}). {folder} is complete. With "
            f"network and a token (hf auth login), upload it with: hf upload {repository} {folder}"
        ) from error
    return f"uploaded: {commit.repo_url if hasattr(commit, 'repo_url') else repository}"


def as_transformers(model: CtcModel, vocabulary: Vocabulary) -> PreTrainedModel:
    """The model as transformers' CTC model, which shares its weights."""
    kind = KINDS[model.encoder.config.model_type]
    config = kind.config(**json.loads(model.encoder.config.to_json_string(use_diff=False)))
    # For further training with transformers, which draws the masks itself; the encoder's configuration has none.
    options = model.options
    masks = ("mask_time_prob", "mask_time_length", "mask_feature_prob", "mask_feature_length", "final_dropout")
    config.update({name: getattr(options, name) for name in masks})
    config.update({"vocab_size": len(vocabulary), "pad_token_id": 0, "architectures": [kind.ctc.__name__]})
    config.update({"ctc_loss_reduction": "mean", "ctc_zero_infinity": True})
    with torch.device("meta"):
        theirs: PreTrainedModel = kind.ctc(config)
    names = {f"{kind.prefix}.{key}": value for key, value in model.encoder.state_dict().items()}
    names |= {f"lm_head.{key}": value for key, value in model.head.state_dict().items()}
    wanted = theirs.state_dict()
    missing = [key for key in wanted if key not in names]
    if missing:
        raise ValueError(f"transformers' {kind.ctc.__name__} has weights that the run does not have: {missing[:5]}.")
    theirs.load_state_dict({key: names[key] for key in wanted}, assign=True)
    return theirs.eval()


def save_processor(model: CtcModel, vocabulary: Vocabulary, folder: Path, decoder: DecoderConfig | None) -> None:
    """Writes transformers' processor: feature extractor, tokenizer, and the n-gram's decoder if there is one."""
    processor = _build_processor(model, vocabulary, folder, decoder)
    processor.save_pretrained(folder)
    _name_processor(folder, type(processor).__name__)


def _build_processor(model: CtcModel, vocabulary: Vocabulary, folder: Path, decoder: DecoderConfig | None) -> Any:
    # The space is |, as in wav2vec 2.0's tokenizer, unless transcripts contain a |.
    space = _SPACE if _SPACE not in vocabulary.symbols else "<space>"
    names = [_BLANK, _UNKNOWN, *(space if symbol == " " else symbol for symbol in vocabulary.symbols[2:])]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(
        json.dumps({n: i for i, n in enumerate(names)}, ensure_ascii=False), encoding="utf-8"
    )
    tokenizer = Wav2Vec2CTCTokenizer(
        str(folder / "vocab.json"), pad_token=_BLANK, unk_token=_UNKNOWN, word_delimiter_token=space, bos_token=None,
        eos_token=None, clean_up_tokenization_spaces=False,
    )  # fmt: skip
    mel = model.encoder.config.model_type == "wav2vec2-bert"
    extractor: Any = SeamlessM4TFeatureExtractor()
    if not mel:
        extractor = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)
    if decoder is not None:
        return Wav2Vec2ProcessorWithLM(extractor, tokenizer, _search(decoder, vocabulary))
    return (Wav2Vec2BertProcessor if mel else Wav2Vec2Processor)(extractor, tokenizer)


def _name_processor(folder: Path, name: str) -> None:
    """Writes the feature extractor's settings to a separate file with the processor's name, as transformers 4 does.

    The combined file of transformers 5 does not have the name, and its pipeline then ignores the n-gram.
    """
    nested = folder / "processor_config.json"
    settings = json.loads(nested.read_text(encoding="utf-8"))["feature_extractor"] | {"processor_class": name}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    nested.unlink()


def _search(options: DecoderConfig, vocabulary: Vocabulary) -> Any:
    """pyctcdecode's decoder, which transformers' pipeline requires, whatever decoder.backend is."""
    from pyctcdecode import build_ctcdecoder

    lm = lm_file(str(options.lm))
    words = read_unigrams(lm)
    try:
        return build_ctcdecoder(
            # Its labels of the blank and of the unknown symbol.
            ["", "⁇", *vocabulary.symbols[2:]],
            str(lm),
            None if words is None else sorted(words),
            alpha=options.alpha,
            beta=options.beta,
            unk_score_offset=options.unk_score_offset,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(f"--lm {lm} is not a complete KenLM model ({' '.join(str(error).split())}).") from error


def _save_decoder(options: DecoderConfig, vocabulary: Vocabulary, folder: Path) -> None:
    """Writes decoder.yaml, from which khasr decodes as the run does, and the files of the language model.

    Raises:
        ValueError: a file of the language model is damaged.
    """
    BeamSearch(options, vocabulary)
    lm, copy = lm_file(str(options.lm)), folder / _LM
    copy.mkdir()
    for name in (lm.name, UNIGRAMS, SPELLING):
        if (lm.parent / name).is_file():
            shutil.copyfile(lm.parent / name, copy / name)
    if described := describe_lm(lm):
        for source in described.get("sources", []):
            source["path"] = Path(source["path"]).name  # the folders of this machine are not published
        if (described.get("transcripts") or {}).get("run"):
            described["transcripts"]["run"] = Path(described["transcripts"]["run"]).name
        (copy / DESCRIPTION).write_text(json.dumps(described, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    RunFolder(folder).write_decoder(replace(options, lm=_LM if lm.name == BINARY else f"{_LM}/{lm.name}"))


def decoder_of_words(options: DecoderConfig) -> DecoderConfig | None:
    """The decoder that transformers' pipeline can have: that of the n-gram of words; None if there is none.

    Weights that were tuned together with a spelling model do not suit the n-gram alone, so they are pyctcdecode's then.
    """
    lm = lm_file(str(options.lm))
    if describe_lm(lm).get("unit", "word") != "word":
        return None
    spells = spelling_file(lm) is not None and options.spelling
    return DecoderConfig(name="beam_lm", lm=options.lm) if spells else options


def _describe_decoder(options: DecoderConfig) -> str:
    lm = lm_file(str(options.lm))
    if (unit := describe_lm(lm).get("unit", "word")) != "word":
        return f"with its n-gram of {unit}s (for khasr.load; transformers decodes without it)"
    if spelling_file(lm) is not None:
        return "with its n-gram and spelling model (for khasr.load; transformers uses the n-gram of words)"
    return "with its n-gram"


def _decoder_options(config: Config, run: RunFolder, lm: Path | None) -> DecoderConfig | None:
    """The decoder with `lm`, or else as tuned, or else of the run; None if it has no language model.

    Raises:
        FileNotFoundError: the n-gram does not exist.
    """
    options = run.read_decoder() or config.decoder
    if lm is not None:
        options.name, options.lm = "beam_lm", str(lm)
    if options.name != "beam_lm":
        return None
    try:
        lm_file(str(options.lm))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error} --lm LM selects a different n-gram.") from error
    return options
