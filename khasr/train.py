"""Fine-tunes a pretrained encoder with CTC, or trains a small one from random weights, and scores it.

python -m khasr.train experiment=quickstart              a small example, minutes on a laptop
python -m khasr.train data.root=km_kh_male.zip           the published recipe: XLS-R 1B on OpenSLR 42
python -m khasr.train -m model=xlsr_300m,xlsr_1b optimizer.lr=1e-5,3e-5 hydra.sweep.dir=runs/lr
python -m khasr.train resume=RUN                         resumes a run that was stopped
"""

from khasr.cli.run import run
from khasr.training.task import train

if __name__ == "__main__":
    run("train", train)
