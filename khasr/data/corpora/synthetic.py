"""Synthetic Khmer phrases: a small grammar, synthesised by espeak-ng.

The audio resembles speech but not natural Khmer: it serves tutorials and tests, not claims about Khmer. The words and
their phones are in synthetic_words.tsv.
"""

import csv
import ctypes
import itertools
import random
import threading
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from khasr.config import SyntheticConfig
from khasr.data.audio_file import Recording, record
from khasr.data.corpora.corpus import Corpus, Fault, Utterance
from khasr.data.corpora.files import digest
from khasr.data.tables import read_lines
from khasr.text.terminal import printable

# Phones of Google's Khmer lexicon -> phoneme mnemonics of espeak-ng's Vietnamese voice, whose inventory is the closest
# of all its languages (implosives, aspirated stops, long and short vowels).
MNEMONICS = dict(
    pair.split("=")
    for pair in """
    p=p t=t k=k c=c ʔ=? ph=p|h th=t|h kh=k|h ch=c|h ɓ=b ɗ=d m=m n=n ɲ=n^ ŋ=N r=r l=l s=s h=h w=w j=j f=f g=g z=z
    i=i e=e ɛ=E ə=@ ɨ=y a=a ɑ=O+ ɔ=O o=o u=u ii=i: ee=e: ɛɛ=E: əə=@: ɨɨ=y: aa=a: ɑɑ=O+: ɔɔ=O: oo=o: uu=u:
    ie=iE iə=i@ ɨə=y@ uə=u@ ɛə=E|@ ea=e|a oa=o|a ae=a|e ao=aU aə=a|@
    """.split()
)

_VOICES = [f"{kind}{i}" for i in range(1, 6) for kind in "mf"] + ["m6", "m7"]

_PHRASES = [
    "person deal thing number",
    "time person deal thing",
    "time person go place",
    "person go place",
    "person deal thing go place",
    "time person deal thing number",
    "thing number go place",
    "time thing number",
]

# To be raised with every change of the phrases or their synthesis, which invalidates cached audio.
_EDITION = 1

_OWN_UTTERANCES = 600

Lexicon = dict[str, list[str]]


def read_synthetic(options: SyntheticConfig) -> Corpus:
    """Phrases synthesised by espeak-ng; no phrase of the grammar occurs twice.

    Texts, voices, pitch and pace are the same for the same options. The samples are the same only for the same order of
    reading: espeak-ng keeps state between utterances that neither its seed nor a new start of the library resets.

    Raises:
        ModuleNotFoundError: the extra `synthetic` is not installed.
        FileNotFoundError: the file of sentences or the lexicon does not exist.
        ValueError: sentences without a lexicon or the reverse, or data.voices out of range.
    """
    if not 1 <= options.voices <= len(_VOICES):
        raise ValueError(f"data.voices={options.voices}: expected 1 to {len(_VOICES)}.")
    if (options.sentences is None) != (options.lexicon is None):
        raise ValueError(
            "data.sentences=FILE and data.lexicon=FILE require each other: the lexicon has the phones of the words."
        )
    if options.sentences is None:
        words, lexicon = grammar_words()
        texts = _phrases(words, options.utterances or _OWN_UTTERANCES, random.Random(options.corpus_seed))
        sources = ["grammar"] * len(texts)
    else:
        lexicon = _read_lexicon(Path(str(options.lexicon)))
        texts, sources = _read_sentences(Path(options.sentences), options.utterances)
    utterances, faults = [], []
    for number, (text, source) in enumerate(zip(texts, sources, strict=True)):
        id_ = f"syn_{number:05d}"
        unspoken = [w for w in text.split() if not _speakable(w, lexicon)]
        if unspoken:
            faults.append(
                Fault(
                    id_,
                    "a word without phones",
                    f"{source}: no phones for {printable(' '.join(unspoken), 80)} in {options.lexicon}",
                )
            )
        else:
            voice = random.Random(f"{options.corpus_seed} {id_}").randrange(options.voices)
            utterances.append(Utterance(id_, text, _VOICES[voice], source))
    speaker = _Synthesizer()

    def read_audio(utterance: Utterance) -> Recording:
        return record([(speaker.speak(utterance, lexicon, options.corpus_seed), speaker.rate)])

    key = digest(
        _EDITION,
        options.corpus_seed,
        speaker.version,
        utterances,
        [lexicon[w] for u in utterances for w in u.text.split()],
    )
    return Corpus("synthetic", utterances, read_audio, key, faults)


def grammar_words() -> tuple[dict[str, list[str]], Lexicon]:
    table = resources.files("khasr.data.corpora").joinpath("synthetic_words.tsv").read_text(encoding="utf-8")
    words: dict[str, list[str]] = {}
    lexicon: Lexicon = {}
    for row in csv.DictReader(table.splitlines(), delimiter="\t"):
        words.setdefault(row["slot"], []).append(row["word"])
        lexicon[row["word"]] = row["phones"].split()
    return words, lexicon


def _phrases(words: dict[str, list[str]], count: int, rng: random.Random) -> list[str]:
    phrases: dict[str, None] = {}
    for pattern in itertools.cycle(_PHRASES):
        if len(phrases) == count:
            return list(phrases)
        phrases[" ".join(rng.choice(words[slot]) for slot in pattern.split())] = None
    raise AssertionError("itertools.cycle does not end")


def _read_sentences(path: Path, count: int | None) -> tuple[list[str], list[str]]:
    if not path.is_file():
        raise FileNotFoundError(
            f"data.sentences={path} is not a file. Expected one sentence per line, words separated by spaces."
        )
    texts: list[str] = []
    sources: list[str] = []
    for number, line in enumerate(read_lines(path.read_bytes(), str(path)), 1):
        text = " ".join(line.split("\t")[-1].split())
        if text and (count is None or len(texts) < count):
            texts.append(text)
            sources.append(f"{path}:{number}")
    return texts, sources


def _read_lexicon(path: Path) -> Lexicon:
    if not path.is_file():
        raise FileNotFoundError(
            f"data.lexicon={path} is not a file. Expected lines of word, tab, phones separated by spaces."
        )
    lexicon: Lexicon = {}
    for line in read_lines(path.read_bytes(), str(path)):
        fields = line.split("\t")
        if len(fields) >= 2 and not line.startswith("#"):
            # The first pronunciation of a word is used.
            lexicon.setdefault(fields[0], fields[1].split())
    return lexicon


def _speakable(word: str, lexicon: Lexicon) -> bool:
    return word in lexicon and all(p in MNEMONICS or p in ".#" for p in lexicon[word])


def _mnemonics(words: list[str], lexicon: Lexicon) -> str:
    spoken = []
    for word in words:
        # "." separates syllables, "#" parts of a compound; "|" keeps espeak-ng from reading two phones as one.
        spoken.append("|".join(MNEMONICS[p] for p in lexicon[word] if p not in ".#"))
    return f"[[{' '.join(spoken)}]]"


class _Synthesizer:
    """espeak-ng, called through its C interface (speak_lib.h)."""

    _SYNCHRONOUS, _UTF8, _PHONEMES, _RATE, _PITCH = 2, 1, 0x100, 1, 3

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ModuleNotFoundError:
            raise ModuleNotFoundError(
                "data=synthetic needs espeak-ng, which is not installed: pip install 'khasr[synthetic]' (an extra, "
                "since its licence is GPL-3)."
            ) from None
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        self._library.espeak_Info.restype = ctypes.c_char_p
        self.rate: int = self._library.espeak_Initialize(
            self._SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), 0
        )
        if self.rate <= 0:
            raise OSError(f"espeak-ng did not start (code {self.rate}).")
        self.version: str = self._library.espeak_Info(None).decode()
        self._parts: list[NDArray[np.int16]] = []
        self._one_at_a_time = threading.Lock()  # the library has global state
        callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
        self._callback = callback(self._take)  # a reference, since the library keeps only the address
        self._library.espeak_SetSynthCallback(self._callback)

    def _take(self, samples: "ctypes._Pointer[ctypes.c_short]", count: int, _events: int) -> int:
        if count > 0:
            self._parts.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def speak(self, utterance: Utterance, lexicon: Lexicon, seed: int) -> NDArray[np.float32]:
        """The utterance in its speaker's voice, (samples,) at `rate` Hz; pitch and pace vary between utterances."""
        with self._one_at_a_time:
            return self._speak(utterance, lexicon, seed)

    def _speak(self, utterance: Utterance, lexicon: Lexicon, seed: int) -> NDArray[np.float32]:
        speaker = random.Random(f"{seed} {utterance.speaker}")
        pitch, pace = speaker.randint(25, 70), speaker.randint(130, 180)
        rng = random.Random(f"{seed} {utterance.id}")
        self._library.espeak_SetVoiceByName(f"vi+{utterance.speaker}".encode())
        self._library.espeak_SetParameter(self._RATE, pace + rng.randint(-10, 10), 0)
        self._library.espeak_SetParameter(self._PITCH, pitch + rng.randint(-5, 5), 0)
        # Breath and flutter come from a generator that the clock would seed.
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(rng.getrandbits(31)))
        text = _mnemonics(utterance.text.split(), lexicon).encode()
        self._parts.clear()
        self._library.espeak_Synth(text, len(text) + 1, 0, 1, 0, self._PHONEMES | self._UTF8, None, None)
        self._library.espeak_Synchronize()
        if not self._parts:
            raise ValueError(f"espeak-ng produced no audio for {utterance.text!r}.")
        waveform = np.concatenate(self._parts).astype(np.float32) / 32768
        # A little noise, since no real recording is silent between words.
        noise = np.random.default_rng(rng.getrandbits(63)).normal(0, 0.002, len(waveform))
        return 0.5 * waveform + noise.astype(np.float32)
