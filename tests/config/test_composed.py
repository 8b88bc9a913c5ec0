"""The options that tests compose are those that Hydra composes."""

import pytest

from khasr.config import compose
from tests.composed import composed
from tests.conftest import SMALL


def test_as_hydra() -> None:
    """Values are set after all choices, later ones over earlier ones, wherever they are among the words."""
    words = [
        "optimizer.lr=1e-3",
        *SMALL,
        "schedule=tri_stage",
        "optimizer.lr=2e-3",
        "data.root='/a (b)'",
        "logger=[csv,wandb]",
    ]
    assert composed(*words) == compose(*words)
    composed(*words).data.augment.speed.append(2.0)
    assert composed(*words) == compose(*words), "each caller has a copy"


@pytest.mark.parametrize(
    "word", ["optimizer.lrr=3", "optimizer.lr=fast", "model=xlsr_3b", "+optimizer.foo=1", "seed=1,2"]
)
def test_errors_of_hydra(word: str) -> None:
    messages = []
    for function in (composed, compose):
        with pytest.raises(Exception, match=r".") as caught:
            function("experiment=quickstart", word)
        messages.append((type(caught.value), str(caught.value)))
    assert messages[0] == messages[1]
