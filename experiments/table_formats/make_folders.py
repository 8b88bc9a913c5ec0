"""Makes folders in the formats of other tools from a folder with utterances.tsv.

python experiments/table_formats/make_folders.py CORPUS OUT

Lhotse's cuts are written by Lhotse itself (`pip install lhotse`). The tables of AudioFolder, Common Voice and NeMo have
the columns of their documentation (Common Voice 17; NeMo's manifests for speech recognition). English digits become
French words, some sentences in capitals and with punctuation.
"""

import json
import sys
from pathlib import Path

import numpy as np
import soundfile

FRENCH = dict(
    zip(
        "zero one two three four five six seven eight nine".split(),
        "zéro un deux trois quatre cinq six sept huit neuf".split(),
        strict=True,
    )
)
COMMON_VOICE = (
    "client_id path sentence_id sentence sentence_domain up_votes down_votes age gender accents variant locale segment"
).split()
UTTERANCES = 300


def french(text: str, number: int) -> str:
    """The digits in French: every third sentence in capitals, some with a comma or a full stop."""
    words = " ".join(FRENCH[word] for word in text.split())
    words = words.upper() if number % 3 == 0 else words.capitalize() if number % 3 == 1 else words
    words = words.replace(" ", ", ", 1) if number % 4 == 0 else words
    return words + ("." if number % 2 else " !" if number % 5 == 0 else "")


def common_voice(rows: list[tuple[Path, str, str]], folder: Path) -> None:
    """clips/ with mp3 files, and train.tsv, dev.tsv, test.tsv and validated.tsv."""
    (folder / "clips").mkdir(parents=True)
    parts: dict[str, list[str]] = {"train": [], "dev": [], "test": [], "validated": []}
    for number, (audio, text, speaker) in enumerate(rows):
        name = f"common_voice_fr_{number:06d}.mp3"
        samples, rate = soundfile.read(audio)
        soundfile.write(folder / "clips" / name, samples, rate, format="MP3")
        sentence = french(text, number)
        values = [
            speaker,
            name,
            f"{number:064x}",
            sentence,
            "",
            "2",
            "0",
            "twenties",
            "male_masculine",
            "",
            "",
            "fr",
            "",
        ]
        parts["dev" if number % 10 == 8 else "test" if number % 10 == 9 else "train"].append("\t".join(values))
        parts["validated"].append("\t".join(values))
    for part, lines in parts.items():
        (folder / f"{part}.tsv").write_text("\n".join(["\t".join(COMMON_VOICE), *lines, ""]), encoding="utf-8")


def nemo(rows: list[tuple[Path, str, str]], folder: Path) -> None:
    """Recordings of 20 utterances each, and manifests with the offset and duration of each utterance."""
    (folder / "audio").mkdir(parents=True)
    for part, numbers in (("train", range(0, 60, 20)), ("val", range(60, 80, 20))):
        lines = []
        for first in numbers:
            pieces, at, rate = [], 0.0, 1
            for audio, text, speaker in rows[first : first + 20]:
                samples, rate = soundfile.read(audio)
                seconds = len(samples) / rate
                path = f"audio/long{first}.wav"
                about = {"audio_filepath": path, "duration": round(seconds, 4), "offset": round(at, 4), "text": text}
                lines.append(json.dumps(about | {"speaker": speaker}))
                pieces += [samples, np.zeros(rate // 5)]
                at += seconds + 0.2
            soundfile.write(folder / "audio" / f"long{first}.wav", np.concatenate(pieces), rate)
        (folder / f"{part}_manifest.json").write_text("\n".join([*lines, ""]), encoding="utf-8")


def lhotse_cuts(manifest: Path, folder: Path) -> None:
    """The utterances of a NeMo manifest as Lhotse's cuts: cuts of whole recordings, and of single utterances."""
    from lhotse import CutSet, Recording, RecordingSet, SupervisionSegment, SupervisionSet

    recordings: dict[str, Recording] = {}
    supervisions: list[SupervisionSegment] = []
    for number, line in enumerate(manifest.read_text(encoding="utf-8").splitlines()):
        row = json.loads(line)
        path = manifest.parent / row["audio_filepath"]
        recordings.setdefault(path, Recording.from_file(path))
        supervisions.append(
            SupervisionSegment(
                id=f"s{number}", recording_id=path.stem, start=row["offset"], duration=row["duration"], channel=0,
                text=row["text"], speaker=row["speaker"],
            )
        )  # fmt: skip
    cuts = CutSet.from_manifests(
        recordings=RecordingSet.from_recordings(recordings.values()),
        supervisions=SupervisionSet.from_segments(supervisions),
    )
    folder.mkdir()
    cuts.to_file(folder / "cuts.jsonl.gz")
    cuts.trim_to_supervisions(keep_overlapping=False).to_file(folder / "utterances.jsonl.gz")


def audio_folder(rows: list[tuple[Path, str, str]], folder: Path) -> None:
    """AudioFolder with metadata.csv in train/ and test/."""
    for part, some in (("train", rows[:40]), ("test", rows[40:50])):
        (folder / part).mkdir(parents=True)
        lines = ["file_name,transcription,speaker_id"]
        for audio, text, speaker in some:
            (folder / part / audio.name).write_bytes(audio.read_bytes())
            lines.append(f'{audio.name},"{text}",{speaker}')
        (folder / part / "metadata.csv").write_text("\n".join([*lines, ""]), encoding="utf-8")


def main(corpus: Path, out: Path) -> None:
    """Makes all folders below `out`."""
    lines = (corpus / "utterances.tsv").read_text(encoding="utf-8").splitlines()[1 : UTTERANCES + 1]
    rows = [(corpus / audio, text, speaker) for audio, text, speaker in (line.split("\t") for line in lines)]
    common_voice(rows, out / "common_voice" / "fr")
    nemo(rows, out / "nemo")
    audio_folder(rows, out / "audio_folder")
    lhotse_cuts(out / "nemo" / "train_manifest.json", out / "lhotse")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
