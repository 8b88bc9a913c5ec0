"""Transcribes audio files with a run or a Hugging Face CTC model.

python -m khasr.transcribe RUN talk.wav                     text
python -m khasr.transcribe RUN FOLDER --format srt --out SUBTITLES
python -m khasr.transcribe RUN - --format json < talk.flac    with word times and confidences
python -m khasr.transcribe RUN FOLDER --to-corpus DIR          recordings without text, to train on
"""

import argparse
import sys
from pathlib import Path

from khasr.cli.run import guarded


def main() -> int:
    """Transcribes the files; returns 1 if one of them could not be transcribed completely."""
    arguments = _parser().parse_args()
    # Imported here because torch takes seconds, and a mistyped option should be reported at once.
    from khasr.inference.transcription import transcribe

    return 1 if transcribe(arguments) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m khasr.transcribe", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("run", metavar="RUN", help="the folder of a run, or of a Hugging Face CTC model")
    add("files", nargs="+", metavar="FILES", help="audio files, folders of audio files, or - for standard input")
    add("--format", choices=["text", "json", "srt"], default="text", help="output format (default text)")
    add("--out", type=Path, metavar="DIR", help="write one file per audio file here, instead of standard output")
    add("--to-corpus", type=Path, metavar="DIR", help="write the transcripts as a corpus to train on (data=folder)")
    add("--min-confidence", type=float, default=0.8, metavar="SHARE", help="expected share of right words, from 0 to "
        "1, of the pieces that --to-corpus keeps (default 0.8)")  # fmt: skip
    add("--decoder", choices=["greedy", "beam", "beam_lm"], help="default: the run's tuned decoder, else greedy")
    add("--lm", help="language model of beam_lm: a folder written by build_lm, or a KenLM file")
    add("--n-best", type=int, default=1, metavar="N", help="hypotheses per segment, with --format json (default 1)")
    add("--chunk-seconds", type=float, default=30.0, help="length of a chunk of audio, in seconds (default 30)")
    add("--stride-seconds", type=float, default=5.0, help="seconds of context at each end of a chunk (default 5)")
    return parser


if __name__ == "__main__":
    sys.exit(guarded(main))
