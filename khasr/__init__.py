"""khasr: fine-tuning XLS-R with CTC on a few hours of Khmer speech, and comparing the runs."""

import os

__version__ = "0.1.0"


# GNU OpenMP's threads spin while they wait for each other. With other processes on the same cores, this makes
# training several times slower; with a short spin the speed on an idle machine is the same (experiments/speed, "Beside
# other processes"). libgomp reads the variable when it is loaded: commands import khasr before torch.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
