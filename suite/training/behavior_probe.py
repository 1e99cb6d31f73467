"""Measures what an optimizer does beside following its gradients: its names and keywords are never asked.

A method is implicit where its iterates are its start plus a function of the gradients at them. Then three things hold,
whatever the method is called, and each is tried on the network, the data, the budget and the settings of a scored run:

    draw displacements c and d, a number of steps K, a step j below K     (from the run's own random stream)
    path      = K steps from the run's start, on the gradients of the run's batches
    displaced = the same gradients from start + c, with other random numbers:  is at path + c after every step
    kicked    = the same gradients, displaced by d at step j:                  is at path + d from there on
    reseeded  = the same gradients, other random numbers, a few steps:         is at path
    jittered  = the gradients times 1 + 1e-9 noise, a few steps:               is at path, nearly
    rotated   = rotated gradients from the rotated start, a few steps:         is at the rotated path (shown only)
    turned    = the same with the rows and columns of matrices rotated:        is at the turned path (shown only)
    resting   = zero gradients from start, and from start + c:                 does not move
    after K steps the path gets zero gradients: momentum may ring out, since it is a function of past gradients
    after that it gets one gradient again and again, ever smaller:             moves downhill

Closures get the gradients of a quadratic whose gradient at the weights is the path's, so that methods that look around
themselves are compared in the same way; where they look is noted. K is random with a heavy tail up to the budget: an
edit at step s is met with the probability (FEWEST / s) ** TAIL in each probe, and a submission has one for every task
and search. What no probe in the same process can see is a submission that recognizes the probe by its caller.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import msgspec
import torch
from scipy.fft import dct
from torch import Tensor, nn

from suite.behavior import Behavior, Probe
from suite.models import copy_of
from suite.seeding import torch_stream
from suite.signature import Settings
from suite.training.global_state import seed_generators
from suite.training.groups import ScheduledRates
from suite.training.run import TrainingRun
from suite.training.step_protocol import TrainingSetup, call_mode

FEWEST, TAIL = 16, 0.8
"""Steps of a path at least, and the exponent of its length's tail: P(K > s) = (FEWEST / s) ** TAIL.

Where a step takes several gradients there are fewer steps, and half of FEWEST at least.
"""

MOST_NUMBERS = 2e6
"""Steps times weights of a path at most, beyond `FEWEST` steps: a network of 118,000 weights has 16."""

RESTING, RINGING, SHORT = 4, 24, 16
"""Steps with zero gradients from the start, and after the path; steps of the reseeded and the jittered path."""

SCALES, REPEATS = (1.0, 1e-2, 1e-4, 1e-6, 1e-8), 8
"""Sizes of a gradient that is given again and again, and how often: small ones are those near a minimum.

A method may look back on the larger ones, or go back to an average now and then: the last two steps of a size count.
"""

UPHILL = 0.1
"""Cosine with the gradient from which on a step leads uphill."""

JITTER = 1e-9

LARGEST = 1e300
"""Records hold no infinite numbers."""

CURVATURE = 1.0
"""Of the quadratics that closures see."""

OF_DISTANCE, OF_ROUNDING = 1e-4, 8.0
"""Two paths differ where they are apart by more than this share of the longest step so far, and this many roundings."""

OF_AMPLIFICATION = 1e-3
"""Of the distance travelled: by more a path must not change through jitter or other random numbers."""

PARALLEL, ALONG = 0.999, 0.95
"""Cosines from which on a difference counts as parallel to the path's step, and as one along the displacement."""

Gradients = Sequence[Tensor | None]


class _Walker:
    """An optimizer on weights of its own, which is fed gradients.

    Attributes:
        start: the weights that it was given, whatever its constructor made of them.
        evaluations: calls of its closure.
        steps_beside: steps that took a gradient uphill of their start, at a point that they did not go to.
    """

    def __init__(self, setup: TrainingSetup, settings: Settings, model: nn.Module, offset: Tensor | None, seed: int):
        self._setup, model = setup, copy_of(model)
        self.model = model
        self._parameters = dict(model.named_parameters())
        if offset is not None:
            self.displace(offset)
        self.start = self.weights()
        seed_generators(seed)
        self._optimizer = setup.make_optimizer(self._parameters, settings, model)
        self._rng_state = torch.get_rng_state()
        call_mode(self._optimizer, "train")
        self._rates = ScheduledRates(self._optimizer)
        self.steps_beside = self.evaluations = 0

    @property
    def sizes(self) -> list[int]:
        return [parameter.numel() for parameter in self._parameters.values()]

    def weights(self) -> Tensor:
        """A copy of all weights as one vector."""
        return torch.cat([parameter.detach().reshape(-1) for parameter in self._parameters.values()])

    @torch.no_grad()
    def displace(self, offset: Tensor) -> None:
        for parameter, part in zip(self._parameters.values(), torch.split(offset, self.sizes), strict=True):
            parameter.add_(part.view_as(parameter))

    def step(self, gradients: Gradients, curvature: float, factor: float) -> Tensor:
        """One step on `gradients`, the step size times the schedule's `factor`; returns the weights after it."""
        protocol, optimizer = self._setup.protocol, self._optimizer
        self._rates.set(factor)
        start = (
            [parameter.detach().clone() for parameter in self._parameters.values()] if protocol.needs_closure else []
        )
        values: list[float] = []
        last = torch.empty(0)

        def closure() -> Tensor:
            nonlocal last
            last = self.weights()
            value = self._attach(gradients, start, curvature)
            values.append(float(value))
            return value

        if protocol.needs_graph and not protocol.needs_closure:
            self._attach(gradients, [parameter.detach().clone() for parameter in self._parameters.values()], curvature)
        elif not protocol.needs_closure or protocol.needs_grad_before_closure:
            for parameter, gradient in zip(self._parameters.values(), gradients, strict=True):
                parameter.grad = None if gradient is None else gradient.clone()
        torch.set_rng_state(self._rng_state)
        _ = optimizer.step(closure) if protocol.needs_closure else optimizer.step()
        self._rng_state = torch.get_rng_state()
        after = self.weights()
        if values:  # a line search goes where it looked last, or downhill
            missed = float((last - after).abs().max()) > 1e-3 * float(
                (last - torch.cat([*map(torch.flatten, start)])).abs().max()
            )
            self.steps_beside += missed and max(values) > 0
            self.evaluations += len(values)
        return after

    def _attach(self, gradients: Gradients, start: Sequence[Tensor], curvature: float) -> Tensor:
        return attach_gradients(
            list(self._parameters.values()), gradients, start, curvature, self._setup.protocol.needs_graph
        )


def attach_gradients(
    parameters: Sequence[nn.Parameter],
    gradients: Gradients,
    start: Sequence[Tensor],
    curvature: float,
    needs_graph: bool = False,
) -> Tensor:
    """Set the gradients of ``gradients . (w - start) + curvature / 2 |w - start|²`` at the weights w; its value."""
    with torch.enable_grad():
        value = torch.zeros((), dtype=start[0].dtype, device=start[0].device)
        used = []
        for parameter, gradient, origin in zip(parameters, gradients, start, strict=True):
            parameter.grad = None
            if gradient is not None:
                moved = parameter - origin
                value = value + (gradient * moved).sum() + curvature / 2 * moved.square().sum()
                used.append(parameter)
        found = torch.autograd.grad(value, used, create_graph=needs_graph)
        for parameter, gradient in zip(used, found, strict=True):
            parameter.grad = gradient
    return value.detach()


def probe_behavior(setup: TrainingSetup, run: TrainingRun) -> Probe | None:
    """What the optimizer of `setup` does beside following its gradients, on the task and with the settings of `run`.

    None where it cannot be told: the optimizer does not bear gradients that are not those of its own network, or its
    first steps are not finite.
    """
    with torch.random.fork_rng(devices=[]):
        try:
            return _Probing(setup, run).result()
        except Exception:  # whatever the submission raised: its training has shown whether it works
            return None


Turn = Callable[[Tensor], Tensor]
"""An orthogonal map of the entries of one tensor, as a vector."""


def rotations(parameters: Sequence[Tensor], seed: int) -> dict[str, list[Turn]]:
    """The rotations `rotated` and, where there are matrices, `turned` (see `suite.behavior.Probe`): a map per tensor.

    A rotation is random signs, a cosine transform and random signs: it mixes all coordinates in n log n operations.
    """
    stream = torch_stream("rotation probe", seed)

    def mixing(count: int) -> Turn:
        before, after = (torch.randint(0, 2, (count,), generator=stream).numpy() * 2 - 1 for _ in range(2))

        def mix(rows: Tensor) -> Tensor:
            """Of the last axis."""
            mixed = dct(rows.double().cpu().numpy() * before, norm="ortho", axis=-1) * after
            return torch.from_numpy(mixed).to(device=rows.device, dtype=rows.dtype)

        return mix

    def sides(shape: torch.Size) -> Turn:
        columns, rows = mixing(math.prod(shape[1:])), mixing(shape[0])
        return lambda part: rows(columns(part.view(shape[0], -1)).T).T.reshape(-1)

    found = {"rotated": [mixing(parameter.numel()) for parameter in parameters]}
    if any(parameter.dim() > 1 and min(parameter.shape) > 1 for parameter in parameters):
        found["turned"] = [sides(p.shape) if p.dim() > 1 else (lambda part: part) for p in parameters]
    return found


class _Probing:
    """The paths of one probe."""

    def __init__(self, setup: TrainingSetup, run: TrainingRun) -> None:
        self._setup, self._run, task = setup, run, setup.task
        self._seeds = run.stream_seeds(task.name)
        self._stream = torch_stream("behavior probe", self._seeds["optimizer"])
        self._model = run.model(task, setup.device)
        self._path = self._walker(None)
        self._sizes = self._path.sizes
        self._start = self._path.start
        self._eps = torch.finfo(self._start.dtype).eps
        self._rest: Gradients = [torch.zeros_like(parameter) for parameter in self._path.model.parameters()]
        uniform = 1 - float(torch.rand((), generator=self._stream))  # in (0, 1]
        most = max(FEWEST, min(task.target.budget, int(MOST_NUMBERS / len(self._start))))
        self.steps = min(most, int(FEWEST * uniform ** (-1 / TAIL)))
        self._kicked_at = 0.25 + 0.5 * float(torch.rand((), generator=self._stream))  # of the path
        self._offset, self._second_offset = self._displacement(self._start), self._displacement(self._start)
        self._longest = 0.0  # step of the path
        self._seen: set[Behavior] = set()

    def _walker(self, offset: Tensor | None, other_numbers: int = 0) -> _Walker:
        seed = (self._seeds["optimizer"] + other_numbers) % 2**63
        return _Walker(self._setup, self._run.settings, self._model, offset, seed)

    def _normal(self, like: Tensor) -> Tensor:
        drawn = torch.randn(like.shape, generator=self._stream, dtype=torch.float64)
        return drawn.to(device=like.device, dtype=like.dtype)

    def _displacement(self, start: Tensor) -> Tensor:
        """Turns every tensor of `start` round, in another length, and adds noise: no norm and no direction is kept."""
        share = 1.5 + 0.5 * float(torch.rand((), generator=self._stream))
        size = float(start.square().mean().sqrt()) or 1.0
        parts = []
        for part in torch.split(start, self._sizes):
            own = float(part.square().mean().sqrt()) or size
            parts.append(0.5 * own * self._normal(part) - share * part)
        return torch.cat(parts)

    @property
    def _kick(self) -> int:
        """The step before which the kicked path is displaced."""
        return max(2, int(self._kicked_at * self.steps))

    def _factor(self, step: int) -> float:
        """The schedule's factor of the step of this number."""
        return self._setup.schedule(min(1.0, step / self._setup.task.target.budget))

    def result(self) -> Probe | None:
        displaced, kicked = self._walker(self._offset, other_numbers=1), self._walker(None)
        reseeded, jittered = self._walker(None, other_numbers=1), self._walker(None)
        turns = rotations([*self._path.model.parameters()], self._seeds["optimizer"])
        turning = {name: self._walker(self._turned(self._start, turn) - self._start) for name, turn in turns.items()}
        moved: dict[str, float] = {}
        of_displaced = _Differences(self._sizes, self._eps, self._start, displaced.start)
        of_kicked = _Differences(self._sizes, self._eps, self._start, self._start)
        before, jitter, redrawn, first = self._start, 0.0, 0.0, self._rest
        for step, gradients in enumerate(self._gradients(), start=1):
            factor = self._factor(step - 1)
            after = self._path.step(gradients, CURVATURE, factor)
            if not bool(torch.isfinite(after).all()):
                return None
            first = gradients if step == 1 else first
            if step == 1 and self._path.evaluations > 2:
                self.steps = max(FEWEST // 2, 2 * self.steps // self._path.evaluations)
            if step == self._kick:
                kicked.displace(self._second_offset)
                of_kicked = _Differences(self._sizes, self._eps, before, kicked.weights())
            self._longest = max(self._longest, float((after - before).abs().max()))
            of_displaced.add(step, after, displaced.step(gradients, CURVATURE, factor), self._longest)
            of_kicked.add(step, after, kicked.step(gradients, CURVATURE, factor), self._longest)
            if step <= SHORT:
                noisy = [None if g is None else g * (1 + JITTER * self._normal(g)) for g in gradients]
                jitter = self._relative(jittered.step(noisy, CURVATURE, factor) - after, after)
                redrawn = self._relative(reseeded.step(gradients, CURVATURE, factor) - after, after)
                for name, turn in turns.items():
                    there = turning[name].step(_turned(gradients, turn), CURVATURE, factor)
                    missed = self._relative(self._turned(after, turn) - there, after)
                    moved[name] = missed if bool(torch.isfinite(there).all()) else math.inf
            before = after
        if redrawn > OF_AMPLIFICATION:
            self._seen.add(Behavior.NOISE)
        if jitter > OF_AMPLIFICATION and not self._single_precision:
            self._seen.add(Behavior.AMPLIFIES)
        resting = self._resting()
        ringing, returns = self._ringing(before)
        self._judge(of_displaced.events, of_kicked.events, returns)
        # What decays goes back towards zero, which may be uphill, once a gradient that held it against this is smaller.
        if Behavior.DECAYS not in self._seen and self._ascends(first):
            self._seen.add(Behavior.ASCENDS)
        if 2 * self._path.steps_beside > self.steps:
            self._seen.add(Behavior.BESIDE_PATH)
        if self._setup.loss is not self._setup.task.loss:
            self._seen.add(Behavior.OWN_LOSS)
        numbers = (resting, of_displaced.relative, of_kicked.relative, redrawn, jitter, ringing)
        if redrawn > OF_AMPLIFICATION or jitter > OF_AMPLIFICATION:
            moved = {}  # other random numbers or other roundings would move it too
        rotated, turned = (_rounded(moved[name]) if name in moved else None for name in ("rotated", "turned"))
        found = Probe(tuple(sorted(self._seen)), self.steps, *map(_rounded, numbers))
        return msgspec.structs.replace(found, rotated=rotated, turned=turned)

    @property
    def _single_precision(self) -> bool:
        """There the jitter is lost in rounding, which some steps amplify by themselves."""
        return self._eps > 1e-9

    def _gradients(self) -> Iterator[Gradients]:
        """The gradients of the run's batches at the path's weights, step by step."""
        task, device = self._setup.task, self._setup.device
        source = self._setup.source
        batches = source.batches(task, self._run, device)
        single = source.single(task, self._setup.loss, self._run, self._path.model, device)
        if self._setup.replays and not self._setup.requires_single:
            single.replay()
        step = 0
        while step < self.steps:
            batches.advance(0, step)
            single.evaluate(*batches.batch([0]))
            leaves = self._path.model.parameters()
            yield [None if leaf.grad is None else leaf.grad.detach().clone() for leaf in leaves]
            step += 1

    def _turned(self, weights: Tensor, turns: Sequence[Turn]) -> Tensor:
        """All weights in the coordinates that `turns` lead to."""
        return torch.cat([turn(part) for turn, part in zip(turns, torch.split(weights, self._sizes), strict=True)])

    def _relative(self, difference: Tensor, at: Tensor) -> float:
        """The length of `difference` beyond rounding, relative to the path's from its start to `at`."""
        error = max(0.0, float(difference.abs().max()) - self._rounding(at))
        return error / (float((at - self._start).abs().max()) or float(at.abs().max()) or 1.0)

    def _rounding(self, *weights: Tensor) -> float:
        return OF_ROUNDING * self._eps * max(float(w.abs().max()) for w in weights)

    def _resting(self) -> float:
        """Zero gradients from the start and from the displaced start; the largest step."""
        largest = 0.0
        for offset in (None, self._offset):
            walker = self._walker(offset)
            places = [walker.start]
            for step in range(RESTING):
                places.append(walker.step(self._rest, 0.0, self._factor(step)))
            moves = [after - before for before, after in itertools.pairwise(places)]
            if not all(bool(torch.isfinite(move).all()) for move in moves):
                continue  # 0 / 0: says nothing
            lengths = [float(move.abs().max()) for move in moves]
            moved = [length > self._rounding(places[0]) for length in lengths]
            largest = max(largest, *lengths)
            if not any(moved):
                continue
            total = places[-1] - places[0]
            if not any(moved[1:]):
                self._seen.add(Behavior.EDITS_START)
            elif _cosine(total, places[0] * (total != 0)) < -0.5:
                self._seen.add(Behavior.DECAYS)
            elif Behavior.NOISE not in self._seen:
                self._seen.add(Behavior.UNPROMPTED)
        return largest / (self._longest or float(self._start.abs().max()) or 1.0)

    def _ascends(self, first: Gradients) -> bool:
        """Whether steps on ever smaller multiples of one gradient lead uphill; after the path and the zero gradients.

        The gradient is as long as the first of the path, and against what the path still moves: so past gradients lead
        downhill too. Closures tell a loss of 0 at the weights, below any level at which a loss might be held.
        """
        factor = self._factor(self.steps)
        before = self._path.weights()
        after = self._path.step(self._rest, 0.0, factor)
        pairs = zip(first, self._path.model.parameters(), strict=True)
        direction = torch.cat([(torch.zeros_like(p) if g is None else g).detach().reshape(-1) for g, p in pairs])
        move = after - before
        if float(move.abs().max()) > self._rounding(before):
            direction = -move * (float(direction.norm()) / float(move.norm()))
        parts = zip(first, torch.split(direction, self._sizes), strict=True)
        gradients = [None if gradient is None else part.view_as(gradient) for gradient, part in parts]
        for scale in SCALES:
            smaller, uphill = [None if gradient is None else scale * gradient for gradient in gradients], []
            for _ in range(REPEATS):
                before, after = after, self._path.step(smaller, 0.0, factor)
                moves = float((after - before).abs().max()) > self._rounding(before)
                uphill.append(moves and _cosine(after - before, direction) > UPHILL)
            if all(uphill[-2:]):
                return True
        return False

    def _ringing(self, end: Tensor) -> tuple[float, bool]:
        """Zero gradients after the path: how far they lead, and whether they lead back towards its start."""
        places = [end]
        for step in range(RINGING):
            places.append(self._path.step(self._rest, 0.0, self._factor(self.steps + step)))
        last = places[-1]
        if not bool(torch.isfinite(last).all()):
            return 0.0, False
        late = last - places[-RINGING // 4 - 1]
        away = places[-RINGING // 4 - 1] - self._start
        moves = float(late.abs().max()) > self._rounding(last)
        length = float((end - self._start).norm())
        back = (moves and _cosine(late, away) < -0.3) or float((last - self._start).norm()) < 0.5 * length
        return self._relative(last - end, end), back

    def _judge(self, displaced: list[_Event], kicked: list[_Event], returns: bool) -> None:
        """Put the differences of the displaced and of the kicked path into words."""
        if Behavior.NOISE in self._seen:
            return  # those paths may have met other random numbers
        if not displaced:
            if kicked:
                self._seen.add(Behavior.RETURNS if returns else Behavior.REMEMBERS)
        elif all(event.parallel for event in displaced):
            self._seen.add(Behavior.SCALES)
        elif [event.step for event in displaced] == [1]:
            self._seen.add(Behavior.EDITS_START)
        elif all(event.along for event in displaced):
            self._seen.add(Behavior.DECAYS)
        elif Behavior.DECAYS not in self._seen:
            self._seen.add(Behavior.DEPENDS)


def _turned(gradients: Gradients, turns: Sequence[Turn]) -> Gradients:
    """The gradients in the coordinates that `turns` lead to; what has none has none there."""
    pairs = zip(gradients, turns, strict=True)
    return [None if part is None else turn(part.reshape(-1)).view_as(part) for part, turn in pairs]


def _rounded(number: float) -> float:
    """To three digits, as records hold it; infinities become the largest number there, and so does NaN."""
    return float(f"{number:.3g}") if number <= LARGEST else LARGEST


def _cosine(one: Tensor, other: Tensor) -> float:
    """The cosine of two vectors; 0 where one of them is zero."""
    size = float(one.norm()) * float(other.norm())
    return float(one @ other) / size if size > 0 else 0.0


@dataclass(frozen=True)
class _Event:
    """The displaced path left its place in this step: `parallel` to the path's own step, `along` the displacement."""

    step: int
    parallel: bool
    along: bool


class _Differences:
    """How a displaced path differs from the path, step by step."""

    def __init__(self, sizes: list[int], eps: float, path: Tensor, other: Tensor) -> None:
        self._sizes, self._eps = sizes, eps
        self._path, self._other = path, other  # at the last event; the displaced path's place is relative to these
        self._size = float((other - path).abs().max()) or 1.0
        self.events: list[_Event] = []
        self.relative = 0.0

    def add(self, step: int, path: Tensor, other: Tensor, longest: float) -> None:
        """Compare after a step; `longest` is the path's longest step so far."""
        offset = self._other - self._path
        error = other - path - offset
        apart = float(error.abs().max())
        size = max(float(path.abs().max()), float(other.abs().max()))
        if apart <= OF_DISTANCE * longest + OF_ROUNDING * self._eps * size * math.sqrt(step):
            return
        self.relative = max(self.relative, apart / self._size)
        own, theirs = path - self._path, other - self._other
        parts = zip(*(torch.split(tensor, self._sizes) for tensor in (own, theirs, error, offset)), strict=True)
        differing = [part for part in parts if float(part[2].abs().max()) > 1e-3 * apart]
        parallel = all(_cosine(one, two) > 0 and abs(_cosine(one, part)) > PARALLEL for one, two, part, _ in differing)
        along = all(_cosine(difference, displacement) < -ALONG for _, _, difference, displacement in differing)
        self.events.append(_Event(step, parallel, along))
        self._path, self._other = path, other
