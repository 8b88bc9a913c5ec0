"""Corpora: each module reads one kind into a `Corpus`."""

from dataclasses import dataclass

from khasr.config import (
    DataConfig,
    FolderConfig,
    HubConfig,
    MixConfig,
    OpenslrKmConfig,
    SyntheticConfig,
    corpus_options,
)
from khasr.data.corpora.corpus import Corpus, Fault, Utterance
from khasr.data.corpora.folder import read_folder
from khasr.data.corpora.hub import read_hub
from khasr.data.corpora.openslr_km import fetch_openslr_km, read_openslr_km
from khasr.data.corpora.synthetic import read_synthetic

__all__ = ["Corpus", "Fault", "Member", "Utterance", "corpora_of", "fetch_corpus", "read_corpus"]


@dataclass
class Member:
    """A corpus of a run: its options, its weight in training, and what its ids and speakers begin with in a mix."""

    options: DataConfig
    weight: float = 1.0
    prefix: str = ""


def corpora_of(options: DataConfig) -> list[Member]:
    """The corpora that `data=` names: one, or those of a mix.

    Raises:
        ValueError: a mix of nothing, or of what is no corpus.
    """
    if not isinstance(options, MixConfig):
        return [Member(options)]
    if not options.corpora:
        raise ValueError(
            "data=mix needs data.corpora, a list of corpora with what each changes: "
            '"data.corpora=[{data:openslr_km,root:A},{data:fleurs_km,weight:0.5}]".'
        )
    members: list[Member] = []
    for part in options.corpora:
        own, weight = corpus_options(part, options)
        # Numbered where a corpus comes twice, so that ids stay apart.
        before = sum(str(part["data"]) == str(other["data"]) for other in options.corpora[: len(members)])
        members.append(Member(own, weight, f"{part['data']}{before + 1 if before else ''}/"))
    return members


def fetch_corpus(options: DataConfig, progress: bool = True) -> None:
    """Downloads what can be downloaded and is not there yet."""
    for member in corpora_of(options):
        if isinstance(member.options, OpenslrKmConfig):
            fetch_openslr_km(member.options, progress)


def read_corpus(options: DataConfig) -> Corpus:
    """The corpus that `data=` names."""
    match options:
        case OpenslrKmConfig():
            return read_openslr_km(options)
        case FolderConfig():
            return read_folder(options)
        case HubConfig():
            return read_hub(options)
        case SyntheticConfig():
            return read_synthetic(options)
    raise TypeError(f"No reader for {type(options).__name__}.")
