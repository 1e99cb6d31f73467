"""A computation on tensors in fixed memory, recorded while it ran once, and repeated without what led to its kernels.

One step of a small network takes microseconds of arithmetic and hundreds of Python, `vmap` and autograd, which find the
same kernels anew in every step. A `Tape` is the list of these kernels, each with the memory that it reads and writes:

    tape = Tape(compute, inputs)    # compute() ran once, and the kernels that it called were recorded
    write new values into inputs
    tape.play()                     # the same kernels, in the same order
    tape.outputs                    # what compute() would return, to the last bit

What a recording does not show is refused: random numbers, choices that depend on values, changes of the inputs.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

REFUSED = {torch.Tag.data_dependent_output, torch.Tag.nondeterministic_seeded, torch.Tag.dynamic_output_shape}
"""Kernels whose result is a choice of a computation, a draw, or as long as values say."""

FACTORIES = frozenset({"ones_like", "zeros_like", "full_like", "new_zeros", "new_ones", "new_full"})
"""Kernels that read nothing but the shape of their argument."""

EMPTY = frozenset({"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"})
"""Kernels that write nothing."""

SAME: dict[str, Callable[..., Tensor]] = {"relu": lambda value, out: torch.clamp_min(value, 0, out=out)}
"""What a kernel is made of, where its own way into given memory is a detour: `relu` computes elsewhere and copies."""

PROOFS = 8
"""A tape is compared with its computation when it has been played 1, 8, 64, ... times."""

TRIED = 3
"""A tape that took longer than its computation in so many comparisons is given up: kernels without an ``out=`` copy."""

MOST_TAPES = 32
"""So many tapes a computation has at most: a line search may ask for any set of lanes."""

MOST_BYTES = 128 * 2**20
"""The memory of all tapes of a computation; the oldest make room. Where one is larger, kernels take all the time."""


class Unrecordable(Exception):
    """A computation that a tape cannot repeat."""


class NotEquivalent(Exception):
    """A lane did not get what ordinary training gives it, or could reach what belongs to another."""


class _Call:
    """A kernel that was called, its arguments and results."""

    def __init__(self, kernel: OpOverload, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> None:
        self.kernel, self.args, self.kwargs = kernel, args, kwargs
        self.name = kernel._schema.name.partition("::")[2]
        self.results = [value for value in _flat(result) if value is not None]
        if not all(isinstance(value, Tensor) for value in self.results):
            raise Unrecordable(f"{self.name} returns what is no tensor")
        self.changes_argument = kernel._schema.is_mutable
        is_factory = self.name in FACTORIES and not self.changes_argument
        self.reads = set() if is_factory else set(map(_memory, _tensors((args, tuple(kwargs.values())))))
        self.writes = set(map(_memory, self.results))
        if self.changes_argument:
            self.reads |= self.writes

    @property
    def is_view(self) -> bool:
        """Whether the results are where an argument is, or have no values yet, so that there is nothing to repeat."""
        return not self.changes_argument and (self.writes <= self.reads or self.name in EMPTY)


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Lists the kernels that are called while it is entered."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.called: list[tuple[OpOverload, Sequence[Any], dict[str, Any], Any]] = []
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if not REFUSED.isdisjoint(func.tags):
            masks = any(isinstance(value, Tensor) and value.dtype == torch.bool for value in _flat(args[1:]))
            if func is not torch.ops.aten.index.Tensor or masks:  # without, its shape is that of its indices
                raise Unrecordable(f"{func} depends on values, or draws")
        result = func(*args, **(kwargs or {}))
        # Tensors of their own: a later `transpose_` changes the shape of what it is given, and autograd holds a graph.
        self.called.append((func, *_detached((args, kwargs or {}, result))))
        self._sizes |= {_memory(each): each.untyped_storage().nbytes() for each in _tensors([result])}
        if sum(self._sizes.values()) > MOST_BYTES:
            raise Unrecordable("it needs too much memory")
        return result


class Tape:
    """What a computation did, to be done again.

    Attributes:
        outputs: the memory of its results.
        size: bytes of all results, intermediate ones too.
    """

    def __init__(self, compute: Callable[[], Sequence[Tensor]], inputs: Sequence[Tensor]) -> None:
        """Run `compute`, which reads `inputs` and constants, and record it.

        Raises:
            Unrecordable: it cannot be repeated.
        """
        recorder = _Recorder()
        with recorder:
            outputs = compute()
        self.outputs = [output.detach() for output in outputs]
        with torch.no_grad():
            calls = _needed([_Call(*called) for called in recorder.called], outputs, inputs)
            self._kernels = [_repetition(call) for call in calls]
        self._renewed = [*_renewable(calls, self._kernels, self.outputs)]
        self._overwritten = {*range(len(outputs))} - {number for _, _, number, _ in self._renewed}
        # Views and constants live as long as a kernel reads them.
        results = {_memory(result): result.untyped_storage().nbytes() for call in calls for result in call.results}
        self.size = sum(results.values())

    def play(self) -> None:
        """Compute the outputs anew from the present values of the inputs.

        An output that one kernel writes and none reads gets new memory, so that nobody has to copy it.
        """
        with torch.no_grad():
            for writing, memory, number, view in self._renewed:
                writing.keywords["out"] = fresh = torch.empty_like(memory)
                self.outputs[number] = fresh if view is None else fresh.as_strided(*view)
            for kernel in self._kernels:
                kernel()

    def results(self) -> list[Tensor]:
        """The outputs, in memory of their own that no later play overwrites."""
        return [output.clone() if n in self._overwritten else output for n, output in enumerate(self.outputs)]


class Replayed:
    """A function of tensors that is played from a tape, one for each set of shapes, from the second call on.

    The tape is proved on the calls themselves: now and then both are computed, and must be equal to the last bit. What
    cannot be recorded, or differs at once, is computed as before; a tape that differs later is a `NotEquivalent`.
    """

    def __init__(
        self,
        function: Callable[..., list[Tensor]],
        state: Sequence[Tensor],
        remembered: Callable[[], object] | None = None,
    ) -> None:
        """Play `function`, which reads its arguments and `state`, tensors whose memory stays the same.

        `remembered` gives what else the function may read and change. If a call changes that, or the state, none is
        played.
        """
        self._function, self._state, self._remembered = function, state, remembered
        self._of_shapes: dict[object, _Played | None] = {}

    def __call__(self, *arguments: Tensor | None) -> list[Tensor]:
        """What the function returns, each tensor in memory of its own."""
        key = tuple([None if argument is None else (argument.shape, argument.dtype) for argument in arguments])
        if key not in self._of_shapes:
            return self._first_call(key, arguments)
        played = self._of_shapes[key]
        if played is not None:
            try:
                results = played(arguments)
            except Unrecordable:
                self._of_shapes[key] = None
            else:
                if played.is_new:
                    self._make_room()
                return results
        return [result.clone() for result in self._function(*arguments)]

    def prove(self) -> None:
        """Compare every tape with its computation once more, at what it was last played on; a `NotEquivalent`."""
        for played in self._of_shapes.values():
            if played is not None:
                played.prove()

    def _first_call(self, key: object, arguments: Sequence[Tensor | None]) -> list[Tensor]:
        before = self._changeable()
        results = self._function(*arguments)
        is_pure = before == self._changeable()  # if not, recording it would change that once more
        has_room = len(self._of_shapes) < MOST_TAPES
        self._of_shapes[key] = _Played(self._function, self._state) if is_pure and has_room else None
        return [result.clone() for result in results]

    def _changeable(self) -> list[object]:
        """What the function may have changed: how often the state was written, and what is remembered."""
        written: list[object] = [tensor._version for tensor in self._state]
        return written if self._remembered is None else [*written, self._remembered()]

    def _make_room(self) -> None:
        """Give up the oldest tapes, if they take too much memory: lanes end, and no program grows."""
        sizes = {key: played.size for key, played in self._of_shapes.items() if played is not None}
        excess = sum(sizes.values()) - MOST_BYTES
        for key, size in sizes.items():
            if excess > 0 and size:
                self._of_shapes[key] = None
                excess -= size


class _Played:
    """The tape of a function for arguments of one set of shapes."""

    def __init__(self, function: Callable[..., list[Tensor]], state: Sequence[Tensor]) -> None:
        self._function, self._state = function, state
        self._tape: Tape | None = None
        self._count, self._next_proof = 0, 1
        self._gained: list[float] = []
        self._memory: list[Tensor | None] = []
        self._sources: list[tuple[Tensor, int] | None] = []

    @property
    def size(self) -> int:
        """Bytes that it takes; 0 before it is recorded."""
        return 0 if self._tape is None else self._tape.size + sum(m.nbytes for m in self._memory if m is not None)

    @property
    def is_new(self) -> bool:
        """Whether it was recorded, and not played yet."""
        return self._count == 0

    def __call__(self, arguments: Sequence[Tensor | None]) -> list[Tensor]:
        if self._tape is None:
            self._memory = [None if argument is None else argument.clone() for argument in arguments]
            self._sources = [None] * len(arguments)
            inputs = [*self._state, *(memory for memory in self._memory if memory is not None)]
            try:
                self._tape = Tape(lambda: self._function(*self._memory), inputs)
            except Exception as error:  # what is wrong with the function itself, it says when it is called as before
                raise Unrecordable(str(error)) from error
            return self._tape.results()
        for number, (memory, argument) in enumerate(zip(self._memory, arguments, strict=True)):
            if memory is None or argument is None:
                continue
            source = self._sources[number]
            if source is None or source[0] is not argument or source[1] != argument._version:
                memory.copy_(argument)
                self._sources[number] = argument, argument._version
        begin = time.perf_counter()
        self._tape.play()
        self._count += 1
        if self._count == self._next_proof:
            self._prove(arguments, time.perf_counter() - begin)
        return self._tape.results()

    def prove(self) -> None:
        """Play once more, at the last arguments, and compare."""
        if self._tape is not None and self._count > 0:
            self._tape.play()
            if not all(map(same_bits, self._tape.outputs, self._function(*self._memory))):
                raise NotEquivalent("a tape differs at the end")

    def _prove(self, arguments: Sequence[Tensor | None], seconds: float) -> None:
        """Compare a play that took so many `seconds` with the computation itself."""
        assert self._tape is not None
        self._next_proof *= PROOFS
        begin = time.perf_counter()
        expected = self._function(*arguments)
        self._gained.append(time.perf_counter() - begin - seconds)
        if not all(map(same_bits, self._tape.outputs, expected)):
            raise Unrecordable("the tape differs at once") if self._count == 1 else NotEquivalent("a tape differs")
        # Both give the same numbers, so that nothing depends on which is taken.
        if len(self._gained) == TRIED and max(self._gained) < 0:
            raise Unrecordable("the tape takes longer")


def _memory(tensor: Tensor) -> int:
    """What tells whether two tensors share memory."""
    return tensor.untyped_storage()._cdata


def _flat(values: Any) -> Iterator[Any]:
    """What is in lists and tuples, as arguments and results of a kernel are."""
    if isinstance(values, list | tuple):
        for value in values:
            yield from _flat(value)
    else:
        yield values


def _tensors(values: Any) -> list[Tensor]:
    return [value for value in _flat(values) if isinstance(value, Tensor)]


def _detached(values: Any) -> Any:
    if isinstance(values, Tensor):
        return values.detach()
    if isinstance(values, dict):
        return {name: _detached(value) for name, value in values.items()}
    return type(values)(map(_detached, values)) if isinstance(values, list | tuple) else values


def _needed(calls: Sequence[_Call], outputs: Sequence[Tensor], inputs: Sequence[Tensor]) -> list[_Call]:
    """The calls that have to be repeated: neither views, nor constant, nor without influence on the outputs."""
    varying = set(map(_memory, inputs))
    changed = {memory for call in calls if call.changes_argument for memory in call.writes}
    if not varying.isdisjoint(changed):
        raise Unrecordable("it changes its inputs")
    varying |= changed
    for call in calls:
        if not call.reads.isdisjoint(varying):
            varying |= call.writes
    needed, wanted = [], set(map(_memory, outputs))
    for call in reversed(calls):
        if call.is_view or wanted.isdisjoint(call.writes) or varying.isdisjoint(call.writes):
            continue
        needed.append(call)
        wanted |= call.reads
    return needed[::-1]


def _renewable(
    calls: Sequence[_Call], kernels: Sequence[Callable[[], object]], outputs: Sequence[Tensor]
) -> Iterator[tuple[functools.partial[object], Tensor, int, tuple[Any, ...] | None]]:
    """The outputs that one kernel writes and none reads: the kernel, its memory, the output's number and its view.

    None for the view: the output is all of the memory.
    """
    held = [*map(_memory, outputs)]
    for call, kernel in zip(calls, kernels, strict=True):
        places = [number for number, memory in enumerate(held) if memory in call.writes]
        touching = [other for other in calls if not call.writes.isdisjoint(other.reads | other.writes)]
        if (
            len(places) == 1
            and touching == [call]
            and isinstance(kernel, functools.partial)
            and "out" in kernel.keywords
        ):
            memory, output = call.results[0], outputs[places[0]]
            if memory.dtype != output.dtype:  # the real view of complex numbers, which counts otherwise
                continue
            view = output.shape, output.stride(), output.storage_offset()
            is_whole = view == (memory.shape, memory.stride(), memory.storage_offset())
            yield kernel, memory, places[0], None if is_whole else view


def _repetition(call: _Call) -> Callable[[], object]:
    """A function that does once more what `call` did, into the same memory."""
    expected = call.kernel(*call.args, **call.kwargs)
    if call.changes_argument:
        return functools.partial(call.kernel, *call.args, **call.kwargs)
    for again in _candidates(call):
        try:
            again()
        except (TypeError, RuntimeError, NotImplementedError):
            continue
        if all(map(same_bits, _tensors(expected), call.results)):
            return again
    raise Unrecordable(f"{call.kernel} gives another result when it is repeated")


def _candidates(call: _Call) -> Iterator[Callable[[], object]]:
    """Ways to repeat a kernel into the memory of its results, from fast to general."""
    if call.name in SAME:
        yield functools.partial(SAME[call.name], *call.args, **call.kwargs, out=call.results[0])
    if len(call.results) == 1 and hasattr(torch, call.name):
        yield functools.partial(getattr(torch, call.name), *call.args, **call.kwargs, out=call.results[0])
    packet = call.kernel.overloadpacket
    for overload in packet.overloads():
        schema = getattr(packet, overload)._schema
        places = [argument.name for argument in schema.arguments if argument.is_out]
        if len(places) == len(call.results):
            into = dict(zip(places, call.results, strict=True))
            yield functools.partial(getattr(packet, overload), *call.args, **call.kwargs, **into)

    def copied() -> None:
        for memory, result in zip(call.results, _tensors(call.kernel(*call.args, **call.kwargs)), strict=True):
            memory.copy_(result)

    yield copied


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are equal, with NaN where the other has it."""
    return torch.equal(one, other) or torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)
