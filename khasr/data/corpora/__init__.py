"""Corpora: each module reads one kind into a `Corpus`."""

from khasr.config import DataConfig, FolderConfig, HubConfig, OpenslrKmConfig, SyntheticConfig
from khasr.data.corpora.corpus import Corpus, Fault, Utterance
from khasr.data.corpora.folder import read_folder
from khasr.data.corpora.hub import read_hub
from khasr.data.corpora.mix import Member, corpora_of
from khasr.data.corpora.openslr_km import fetch_openslr_km, read_openslr_km
from khasr.data.corpora.synthetic import read_synthetic

__all__ = ["Corpus", "Fault", "Member", "Utterance", "corpora_of", "fetch_corpus", "read_corpus"]


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
