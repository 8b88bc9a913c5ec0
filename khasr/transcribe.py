"""Transcribes audio files with a run, or a Hugging Face CTC model.

python -m khasr.transcribe RUN talk.wav                     text
python -m khasr.transcribe RUN FOLDER --format srt --out SUBTITLES
python -m khasr.transcribe RUN - --format json < talk.flac    with word times and confidences
"""

import argparse
import sys
from pathlib import Path


def main() -> None:
    """Reads the command line; exits with 1 where a file failed, with 2 on a mistake in the options."""
    arguments = _parser().parse_args()
    from khasr.inference.transcription import transcribe

    try:
        failed = transcribe(arguments)
    except (ValueError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(1 if failed else 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m khasr.transcribe", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("run", metavar="RUN", help="a run's folder, or that of a Hugging Face CTC model")
    add("files", nargs="+", metavar="FILES", help="audio that libsndfile reads, folders of it, or - for standard input")
    add("--format", choices=["text", "json", "srt"], default="text", help="what is written (default text)")
    add("--out", type=Path, metavar="DIR", help="a file for each audio there, instead of standard output")
    add("--decoder", choices=["greedy", "beam", "beam_lm"], help="default: the run's tuned one, else greedy")
    add("--lm", help="the language model of beam_lm: a folder of build_lm's, or a KenLM file")
    add("--n-best", type=int, default=1, metavar="N", help="hypotheses of each piece, in json (default 1)")
    add("--chunk-seconds", type=float, default=30.0, help="audio heard at once (default 30)")
    add("--stride-seconds", type=float, default=5.0, help="of that, context at each end (default 5)")
    return parser


if __name__ == "__main__":
    main()
