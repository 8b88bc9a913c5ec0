"""khasr: fine-tuning XLS-R with CTC on a few hours of Khmer speech, and comparing the runs.

from khasr import load
model = load("RUN")
print(model.transcribe("talk.wav").text)
"""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from khasr.inference.transcriber import Transcriber

__all__ = ["__version__", "load"]

__version__ = "0.1.0"


# GNU OpenMP's threads spin while they wait for each other. With other processes on the same cores, this makes
# training several times slower; with a short spin the speed on an idle machine is the same (experiments/speed, "Beside
# other processes"). libgomp reads the variable when it is loaded: commands import khasr before torch.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")


def load(
    model: str | os.PathLike[str], *, decoder: str | None = None, lm: str | os.PathLike[str] | None = None
) -> "Transcriber":
    """A trained model, ready to transcribe audio.

    Args:
        model: the folder of a run, an exported folder, or a CTC model on the Hugging Face hub.
        decoder: greedy, beam or beam_lm; the run's tuned decoder if None, else greedy.
        lm: language model of beam_lm: a folder written by khasr.build_lm, or a KenLM file.

    Raises:
        FileNotFoundError, ValueError: a model, decoder or language model that cannot be used.
    """
    from khasr.inference.transcriber import load_transcriber  # imports torch, which takes seconds

    return load_transcriber(model, decoder, lm)
