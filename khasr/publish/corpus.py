"""What a card states about the training corpus: its name, and where known its id, language and licence."""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from khasr.config import DataConfig, FolderConfig, HubConfig, MixConfig, OpenslrKmConfig, SyntheticConfig
from khasr.data.corpora import corpora_of

_UNKNOWN = "More information needed"

# Datasets of the Hugging Face hub whose licence is known here; the hub is not asked.
_LICENSES = {"google/fleurs": "cc-by-4.0"}

_FOLDERS_OF_LANGUAGES = {"speech-recognition-community-v2/dev_data"}


@dataclass(frozen=True)
class Corpus:
    """A training corpus as described in a card; what is not known is None or empty.

    Attributes:
        name: in words.
        id: on the Hugging Face hub.
        config: its configuration there.
        languages: codes, such as fr.
        license: identifier, such as cc-by-4.0.
    """

    name: str
    id: str | None = None
    config: str | None = None
    languages: list[str] = field(default_factory=list)
    license: str | None = None
    attribution: str = _UNKNOWN


@dataclass(frozen=True)
class Stated:
    """What the user states for the card; None where the corpus's own is used."""

    languages: list[str] | None = None
    license: str | None = None
    dataset: str | None = None

    def check(self) -> None:
        """Checks the form of each.

        Raises:
            ValueError: a value that the Hugging Face hub would refuse.
        """
        for language in self.languages or []:
            if not re.fullmatch(r"[a-z]{2,3}(-[A-Za-z0-9]{1,8})*", language):
                raise ValueError(
                    f"--language {language}: expected a code of two or three letters (ISO 639), such as fr, sw or khm, "
                    "with a region if needed, such as pt-BR."
                )
        if self.license is not None and not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", self.license):
            raise ValueError(
                f"--license {self.license}: expected an identifier of the Hugging Face hub in lower case, such as "
                "cc-by-sa-4.0, apache-2.0 or other."
            )
        if self.dataset is not None and not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", self.dataset):
            raise ValueError(f"--dataset {self.dataset}: expected an id of the Hugging Face hub, USER/NAME.")


def describe_corpus(options: DataConfig, stated: Stated) -> Corpus:
    """The corpus of a run, with what the user states in place of what is known."""
    known = _known(options)
    if options.text.language is not None:
        known = replace(known, languages=[options.text.language])
    same = stated.dataset is None or stated.dataset == known.id
    return Corpus(
        known.name if same else str(stated.dataset),
        known.id if same else stated.dataset,
        known.config if same else None,
        known.languages if stated.languages is None else stated.languages,
        stated.license or (known.license if same else None),
        known.attribution if same else f"The dataset {stated.dataset}.",
    )


def _known(options: DataConfig) -> Corpus:
    match options:
        case OpenslrKmConfig():
            return Corpus(
                "OpenSLR km", "openslr", "km", ["km"], "cc-by-sa-4.0",
                "OpenSLR 42 (https://openslr.org/42): Khmer speech by Google, licensed under CC BY-SA 4.0 "
                "(https://creativecommons.org/licenses/by-sa/4.0/). Copyright 2018 Google LLC.",
            )  # fmt: skip
        case SyntheticConfig():
            sentences = "Phrases composed by khasr" if options.sentences is None else "Sentences"
            attribution = f"{sentences} and spoken by espeak-ng: no person's speech."
            return Corpus("synthetic phrases", languages=["km"], attribution=attribution)
        case HubConfig():
            return _of_hub(options)
        case FolderConfig() if options.root is not None:
            return Corpus(f"the corpus {Path(options.root).expanduser().resolve().name}")
        case MixConfig():
            return _of_mix([_known(member.options) for member in corpora_of(options)])
    return Corpus(f"the corpus {options.name}")


def _of_hub(options: HubConfig) -> Corpus:
    """A dataset of the hub: its id is an option; its language is known if its files are in a folder such as fr_fr."""
    if options.dataset is None:
        return Corpus(f"the corpus {Path(options.root or options.name).expanduser().resolve().name}")
    pattern = r"([a-z]{2,3})/" if options.dataset in _FOLDERS_OF_LANGUAGES else r"([a-z]{2,3})_[a-z]{2}/"
    locale = re.match(pattern, options.files)
    return Corpus(
        options.dataset, options.dataset, locale[0].rstrip("/") if locale else None, [locale[1]] if locale else [],
        _LICENSES.get(options.dataset), f"https://huggingface.co/datasets/{options.dataset}",
    )  # fmt: skip


def _of_mix(members: list[Corpus]) -> Corpus:
    """Several corpora: ids are not combined, and a licence is known only if it is the same for all."""
    licenses = {member.license for member in members}
    return Corpus(
        " and ".join(dict.fromkeys(member.name for member in members)),
        languages=sorted({language for member in members for language in member.languages}),
        license=licenses.pop() if len(licenses) == 1 else None,
        attribution=" ".join(dict.fromkeys(m.attribution for m in members if m.attribution != _UNKNOWN)) or _UNKNOWN,
    )
