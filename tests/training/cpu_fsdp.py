"""torch's FSDP on CPU processes, which torch allows on GPUs only: its streams and events do nothing."""

import contextlib
from typing import Any

import torch
from pytorch_lightning.strategies import FSDPStrategy
from torch.distributed.fsdp import (
    _common_utils,
    _flat_param,
    _init_utils,
    _optim_utils,
    _runtime_utils,
    fully_sharded_data_parallel,
)


class _Event:
    def __init__(self, *arguments: Any, **named: Any) -> None: ...
    def record(self, *arguments: Any) -> None: ...
    def synchronize(self) -> None: ...
    def wait(self, *arguments: Any) -> None: ...
    def query(self) -> bool:
        return True


class _Stream:
    def __init__(self, *arguments: Any, **named: Any) -> None: ...
    def wait_stream(self, *arguments: Any) -> None: ...
    def wait_event(self, *arguments: Any) -> None: ...
    def synchronize(self) -> None: ...
    def record_event(self, *arguments: Any) -> _Event:
        return _Event()


class _Device:
    """The part of torch.cuda that FSDP uses."""

    Stream, Event = _Stream, _Event

    @staticmethod
    def current_stream(*arguments: Any) -> _Stream:
        return _Stream()

    @staticmethod
    def stream(stream: _Stream) -> Any:
        return contextlib.nullcontext()

    @staticmethod
    def synchronize(*arguments: Any) -> None: ...
    @staticmethod
    def set_device(*arguments: Any) -> None: ...
    @staticmethod
    def current_device() -> torch.device:
        return torch.device("cpu")

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def device_count() -> int:
        return 1


class CpuFSDPStrategy(FSDPStrategy):
    """Lightning's strategy, whose barriers name GPUs."""

    def _determine_device_ids(self) -> Any:
        return None


def allow_cpu() -> None:
    """Makes FSDP work in this process, with gloo."""

    def with_stub(state: Any, *arguments: Any) -> Any:
        state._device_handle = _common_utils._FSDPDeviceHandle(torch.device("cpu"), backend=_Device)
        return state

    unflatten = _optim_utils._unflatten_orig_param_states

    def copied(info: Any, states: dict[str, dict[str, Any]], name: str, *arguments: Any) -> None:
        # Optimizer states are gathered in one buffer. From a GPU each is copied to the CPU before the next is gathered.
        unflatten(info, states, name, *arguments)
        for state in states.values():
            if name in state:
                state[name] = state[name].clone()

    _optim_utils._unflatten_orig_param_states = copied
    _init_utils._init_device_handle = with_stub  # type: ignore[assignment]
    _init_utils._get_compute_device = lambda *arguments, **named: torch.device("cpu")  # type: ignore[assignment]
    for module in (fully_sharded_data_parallel, _common_utils, _flat_param, _runtime_utils):
        if hasattr(module, "_init_device_handle"):
            module._init_device_handle = with_stub
        if hasattr(module, "_no_dispatch_record_stream"):
            module._no_dispatch_record_stream = lambda *arguments: None
