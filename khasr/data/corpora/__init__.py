"""Corpora: each module reads one kind into a `Corpus`."""

from khasr.config import DataConfig, FolderConfig, OpenslrKmConfig, SyntheticConfig
from khasr.data.corpora.corpus import Corpus, Fault, Utterance
from khasr.data.corpora.folder import read_folder
from khasr.data.corpora.openslr_km import read_openslr_km
from khasr.data.corpora.synthetic import read_synthetic

__all__ = ["Corpus", "Fault", "Utterance", "read_corpus"]


def read_corpus(options: DataConfig) -> Corpus:
    """The corpus that `data=` names."""
    match options:
        case OpenslrKmConfig():
            return read_openslr_km(options)
        case FolderConfig():
            return read_folder(options)
        case SyntheticConfig():
            return read_synthetic(options)
    raise TypeError(f"No reader for {type(options).__name__}.")
