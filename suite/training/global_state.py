"""What an optimizer can reach besides its own objects: random generators, settings of torch, variables of its modules.

A run that is trained alone finds all of it as the process had it, and the generators seeded by its own stream. What
is shared is seen here, so that runs of one program, or one after the other in a process, get the same.
"""

from __future__ import annotations

import contextlib
import functools
import pickle
import random
import sys
import types
from collections.abc import Callable, Hashable, Iterator, MutableMapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from suite.signature import MakeOptimizer
from suite.training.run import Device

GeneratorStates = tuple[Any, ...]

SMALLEST = 5e-324
"""A subnormal number, which is zero where those are flushed."""


AUTOCAST = ("cpu", "cuda")


def _flushes_subnormals() -> bool:
    return SMALLEST * 1.0 == 0.0


def _set_default_device(device: torch.device) -> None:
    torch.set_default_device(None if device.type == "cpu" else device)  # a default "cpu" slows every call of torch


def _autocast() -> list[bool]:
    return [torch.is_autocast_enabled(kind) for kind in AUTOCAST]


def _set_autocast(values: list[bool]) -> None:
    for kind, value in zip(AUTOCAST, values, strict=True):
        torch.set_autocast_enabled(kind, value)


def _backends() -> dict[tuple[Any, str], Any]:
    cudnn, cuda, mkldnn = torch.backends.cudnn, torch.backends.cuda.matmul, torch.backends.mkldnn
    places = ((cudnn, ("enabled", "deterministic", "benchmark", "allow_tf32")), (cuda, ("allow_tf32",)))
    both = (*places, (mkldnn, ("enabled",)))
    return {(place, name): getattr(place, name) for place, names in both for name in names}


def _set_backends(values: dict[tuple[Any, str], Any]) -> None:
    for (place, name), value in values.items():
        setattr(place, name, value)


SETTINGS: tuple[tuple[Callable[[], Any], Callable[[Any], Any]], ...] = (
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_default_device, _set_default_device),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.is_grad_enabled, torch._C._set_grad_enabled),
    (_autocast, _set_autocast),
    (torch.is_anomaly_enabled, torch.set_anomaly_enabled),
    # `torch.use_deterministic_algorithms` would import a compiler.
    (torch.are_deterministic_algorithms_enabled, torch._C._set_deterministic_algorithms),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (_flushes_subnormals, torch.set_flush_denormal),
    (_backends, _set_backends),
    (np.geterr, lambda errors: np.seterr(**errors)),
)
"""Settings of the process that decide numbers: how each is read and written."""

TRUSTED = ("builtins", "torch", "suite", "numpy", "abc", "typing")
"""Packages whose variables are no submission's own."""


def seed_generators(seed: int) -> None:
    """Seed the global generators of Python, numpy and torch (on all devices)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 (submissions draw from it)
    if torch.accelerator.is_available():
        torch.manual_seed(seed)
    else:  # it would note the seed, with a trace of the stack, for every kind of device that there is not
        torch.default_generator.manual_seed(seed)


def generator_states(device: Device, everything: bool = True) -> GeneratorStates:
    """The states of torch's global generator on the CPU, or of `everything`: on `device`, of Python and numpy too."""
    if not everything:
        return (torch.get_rng_state(),)
    kind = torch.device(device).type
    own = torch.get_device_module(kind).get_rng_state(device) if kind not in ("cpu", "meta") else None
    return torch.get_rng_state(), own, random.getstate(), np.random.get_state()  # noqa: NPY002


def set_generator_states(device: Device, states: GeneratorStates) -> None:
    """Put back what `generator_states` gave."""
    torch.set_rng_state(states[0])
    if len(states) == 1:
        return
    _, own, python, numpy = states
    if own is not None:
        torch.get_device_module(torch.device(device).type).set_rng_state(own, device)
    random.setstate(python)
    np.random.set_state(numpy)  # noqa: NPY002


def same_generators(one: GeneratorStates, other: GeneratorStates) -> bool:
    """Whether nothing was drawn between two `generator_states`."""
    return len(one) == len(other) and all(map(_equal, one, other))


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, tuple) and any(isinstance(value, np.ndarray) for value in one):  # of numpy; Python's are numbers
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(np.array_equal(one, other)) if isinstance(one, np.ndarray) else bool(one == other)


@contextlib.contextmanager
def generators_preserved(device: Device) -> Iterator[None]:
    """Put the global generators back at the end."""
    states = generator_states(device)
    try:
        yield
    finally:
        set_generator_states(device, states)


def _settings() -> list[Any]:
    return [read() for read, _ in SETTINGS]


def _set_settings(values: list[Any]) -> None:
    for (read, write), value in zip(SETTINGS, values, strict=True):
        if read() != value:
            write(value)


@contextlib.contextmanager
def settings_preserved() -> Iterator[None]:
    """Put the settings of torch and numpy back at the end, whatever foreign code made of them, also where it raises."""
    values = _settings()
    try:
        yield
    finally:
        _set_settings(values)


class GlobalState:
    """Settings, as they are when it is made; the variables of what makes an optimizer, as this process first saw them.

    Variables are numbers, texts, containers, tensors, generators: what pickle takes and nobody can call.
    """

    def __init__(self, make: MakeOptimizer) -> None:
        self._settings = _settings()
        self._variables = _variables(make) if isinstance(make, Hashable) else _Variables(make)

    def changed(self) -> bool:
        """Whether anything is not as it was: what one run did then reaches the others."""
        return self._settings != _settings() or self._variables.changed()

    def restore(self) -> None:
        """Put everything back as it was."""
        _set_settings(self._settings)
        self._variables.restore()


class _Variables:
    """The variables of the modules and classes that `make` leads to, as they are now."""

    def __init__(self, make: MakeOptimizer) -> None:
        self._places = _places(make)
        self._values = [pickled(place) for place in self._places]

    def changed(self) -> bool:
        return self._values != list(map(pickled, self._places))

    def restore(self) -> None:
        for number, place in enumerate(self._places):
            now, before = pickled(place), self._values[number]
            if now == before:
                continue
            for name in now.keys() - before.keys():
                del place[name]
            for name, data in before.items():
                if now.get(name) != data:
                    _put_back(place, name, pickle.loads(data))
            self._values[number] = pickled(place)


_variables = functools.cache(_Variables)


class _ClassVariables(MutableMapping[str, Any]):
    """The variables of a class, which its own `__dict__` does not let one write."""

    def __init__(self, owner: type) -> None:
        self._owner = owner

    def __getitem__(self, name: str) -> Any:
        return vars(self._owner)[name]

    def __setitem__(self, name: str, value: Any) -> None:
        setattr(self._owner, name, value)

    def __delitem__(self, name: str) -> None:
        delattr(self._owner, name)

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(vars(self._owner)))

    def __len__(self) -> int:
        return len(vars(self._owner))


def _places(make: MakeOptimizer) -> list[MutableMapping[str, Any]]:
    """Where the code behind `make` keeps variables: modules, classes, and what functions share with their makers."""
    places: list[MutableMapping[str, Any]] = []
    seen: set[int] = set()

    def visit(thing: Any) -> None:
        if id(thing) in seen:
            return
        seen.add(id(thing))
        if isinstance(thing, functools.partial):
            visit(thing.func)
            places.append(thing.keywords)
        elif isinstance(thing, types.FunctionType):
            visit_module(thing.__globals__)
            cells = dict(zip(thing.__code__.co_freevars, thing.__closure__ or (), strict=True))
            for cell in cells.values():
                with contextlib.suppress(ValueError):  # an empty cell
                    places.append(_Cell(cell))
                    if _keeps_variables(cell.cell_contents):
                        visit(cell.cell_contents)
        elif isinstance(thing, types.MethodType):
            visit(thing.__func__)
            visit(thing.__self__)
        elif isinstance(thing, type):
            for owner in thing.__mro__:
                if _is_foreign(owner.__module__):
                    places.append(_ClassVariables(owner))
                    visit_module(vars(sys.modules[owner.__module__]) if owner.__module__ in sys.modules else {})
        elif hasattr(thing, "__dict__"):
            visit(type(thing))
            places.append(vars(thing))

    def visit_module(variables: dict[str, Any]) -> None:
        if id(variables) in seen or not _is_foreign(variables.get("__name__", "builtins")):
            return
        seen.add(id(variables))
        places.append(variables)
        for value in tuple(variables.values()):
            if isinstance(value, type) and callable(getattr(value, "step", None)):
                visit(value)

    visit(make)
    return places


class _Cell(MutableMapping[str, Any]):
    """A variable that a function shares with the one in which it was defined."""

    def __init__(self, cell: types.CellType) -> None:
        self._cell = cell

    def __getitem__(self, name: str) -> Any:
        return self._cell.cell_contents

    def __setitem__(self, name: str, value: Any) -> None:
        self._cell.cell_contents = value

    def __delitem__(self, name: str) -> None:
        del self._cell.cell_contents

    def __iter__(self) -> Iterator[str]:
        return iter(("cell",))

    def __len__(self) -> int:
        return 1


def _keeps_variables(value: Any) -> bool:
    return isinstance(value, type | types.FunctionType | functools.partial)


def _is_foreign(module: str) -> bool:
    return module.partition(".")[0] not in TRUSTED


def pickled(variables: MutableMapping[str, Any]) -> dict[str, bytes]:
    """The variables that are data, by name."""
    data = {}
    for name, value in tuple(variables.items()):
        if name.startswith("__") or callable(value) or isinstance(value, types.ModuleType | property | classmethod):
            continue
        with contextlib.suppress(Exception):  # whatever cannot be pickled: locks, loggers, parts of a class
            data[name] = pickle.dumps(value)
    return data


def _put_back(place: MutableMapping[str, Any], name: str, value: Any) -> None:
    """Give a variable its former value: the same object where others may refer to it."""
    old: Any = place.get(name)
    if type(old) is not type(value):
        place[name] = value
    elif isinstance(value, list):
        old[:] = value
    elif isinstance(value, dict | set):
        old.clear()
        old.update(value)
    elif isinstance(value, torch.Generator):
        old.set_state(value.get_state())
    elif isinstance(value, random.Random):
        old.setstate(value.getstate())
    elif isinstance(value, np.random.Generator):
        old.bit_generator.state = value.bit_generator.state
    elif isinstance(value, np.random.RandomState):
        old.set_state(value.get_state())
    else:
        place[name] = value
