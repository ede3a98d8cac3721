"""How fast a population is evaluated: against `torch.vmap`, a plain loop, the matrix product, and the parent alone.

And how fast a generation of a search plays Procgen, children of one layer, against the parent alone at large batches.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Generator, Sequence
from random import Random
from typing import Any

import torch
from rich.table import Table
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from evoens.bench.common import machine, noisy, quickest_settings, seconds
from evoens.children import child_weights
from evoens.evaluation.evaluator import Evaluator
from evoens.evaluation.plan import DTYPES, Loop, Plan, Runner, Stack, make_runner
from evoens.machine.allocator import keep_memory
from evoens.machine.threads import side_by_side
from evoens.parent import Architecture, Parent
from evoens.problem import EnsembleObjective, Evaluation, Measure, Problem, Split, SplitName
from evoens.settings.procgen import ProcgenSettings
from evoens.tasks.procgen import ProcgenProblem

NETWORK = "evoens.tasks.networks.impala:ImpalaPolicy"
SQUARES = (512, 1024, 2048)
LONG = ("vmap", "parent", "child", "search")
LAYER = "trunk.linear"  # which the children of the search touch
LARGE = 256  # frames a pass, of the parent that the search is held against
LEVELS, STEPS = 16, 32  # that each child of the search plays
SHORT_TURNS = 4  # of all other ways in a round
PRODUCT_GFLOP = 20  # of matrix products of each size in a turn
TARGETS = {
    "speedup_vs_vmap": (8.0, "torch.vmap, float32"),
    "speedup_vs_loop": (1.0, "a module for each child, float32"),
    "fraction_of_matmul_peak": (0.75, "matrix product in the plan's precision"),
    "fraction_of_parent_inference": (0.9, "the parent alone, noise and building counted in"),
    "fraction_of_large_batches": (0.8, f"a search on games: the parent alone, {LARGE} frames a pass"),
}


class Frames(Problem):
    """Random frames in batches, nothing else: what is left is the network, the noise and the evaluator."""

    measures = (Measure("probability", "probability", "probability"),)

    def __init__(self, parent: Parent, channels: int, batch: int, count: int) -> None:
        self.parent, self.batch, self.count = parent, batch, count
        generator = torch.Generator().manual_seed(0)
        frames = torch.randint(0, 256, (count, 64, 64, channels), dtype=torch.uint8, generator=generator)
        self.frames = frames.permute(0, 3, 1, 2)  # as games deliver them

    def split(self, name: SplitName) -> Split:
        """Return all frames, whatever the name."""
        return Split(name, 0, self.count)

    def cases(self, split: Split) -> Generator[Tensor, Tensor, Evaluation]:
        """Yield the frames in batches; a case's result is its first probability."""
        results = []
        for frames in torch.split(self.frames[split.first : split.first + split.count], self.batch):
            results.append((yield frames)[:, 0].double())
        return Evaluation(torch.cat(results), split.count)

    def probe(self, n: int = 8) -> Tensor:
        """Return the first `n` frames."""
        return self.frames[:n]

    def judgement(self, evaluations: Sequence[Evaluation]) -> EnsembleObjective:
        """Judge nothing."""
        return EnsembleObjective(self.frames, lambda outputs: 0.0)


def measure(
    widths: Sequence[int] = (32, 64, 128),
    *,
    batch: int = 64,
    children: int = 8,
    frames: int = 1024,
    steps: int = STEPS,
    rounds: int = 4,
    squares: Sequence[int] = SQUARES,
) -> dict[str, Any]:
    """Time one population of IMPALA policies every way, the ways taking turns in each round.

    Args:
        widths: channels of the network's blocks; it takes 6 × 64 × 64 frames and has 15 actions.
        batch: frames a pass.
        children: how many, in the comparison with vmap and the loop.
        frames: how many a child predicts where building it is counted in.
        steps: of each game that the children of the search play.
        rounds: of all measurements; every ratio is the median of the rounds' ratios.
        squares: sides of the matrices; the quickest size counts.

    Returns:
        The ratios of `TARGETS`, and what they rest on: children × frames and GFLOP a second, plan, machine.
    """
    keep_memory()
    architecture = Architecture(NETWORK, {"widths": list(widths), "in_channels": 6})
    torch.manual_seed(0)
    parent = Parent(architecture.build(), architecture)
    problem = Frames(parent, 6, batch, frames)
    evaluator = Evaluator(parent, noisy(), problem, settings=quickest_settings())
    work = {**_work(evaluator, problem, children, squares), **_search(evaluator, problem, children, steps)}
    for name in work:
        if name not in ("parent", "child"):  # they run what the plan runs
            work[name][0]()  # the first time compiles kernels and takes memory
    measured = [_round(work, backwards=turn % 2 == 1) for turn in range(rounds)]
    settings = {"widths": list(widths), "batch": batch, "children": children, "frames": frames, "rounds": rounds}
    return _result(measured, _gflop(parent, problem.frames)) | machine(evaluator) | settings


def describe(result: dict[str, Any]) -> Table:
    """Return the result as a table for the terminal."""
    rates, flops = result["frames_per_second"], result["gflops"]
    plan = " ".join(result["plan"][key] for key in ("batching", "layout", "precision"))
    table = Table(title=f"{result['cpu']}, {result['threads']} threads, {result['device']}: {plan}")
    for heading in ("measured", "against", "target"):
        table.add_column(heading)
    for name, (target, against) in TARGETS.items():
        share = name.startswith("fraction")
        shown = f"{result[name]:.0%}" if share else f"{result[name]:.1f} ×"
        table.add_row(shown, against, f"≥ {target:.0%}" if share else f"≥ {target:g} ×")
    table.caption = (
        f"children × frames per second: plan {rates['plan']:.0f}, vmap {rates['vmap']:.0f}, loop {rates['loop']:.0f}, "
        f"search {rates['search']:.0f}; "
        f"GFLOP/s: plan {flops['plan']:.0f}, matrix product {flops['matmul']:.0f}"
    )
    return table


Work = dict[str, tuple[Callable[[], object], float]]


def _work(evaluator: Evaluator, problem: Frames, children: int, squares: Sequence[int]) -> Work:
    """Return what a round runs, by name, each with the number of frames (matrix products: of GFLOP) it gets through."""
    parent, plan, device = evaluator.parent, evaluator.plan, evaluator.device
    genomes = evaluator.strategy.ask(max(children, plan.children), Random(0))
    weights = [child_weights(parent, evaluator.strategy, genome) for genome in genomes]
    frames, whole, group = problem.probe(problem.batch), problem.split("search"), genomes[: plan.children]
    room = _loaded(make_runner(parent.module, parent.perturbed, plan, device), weights)
    stack = _loaded(Stack(parent.module, parent.perturbed, Plan("vmap", children=children), device), weights)
    loops = [_loaded(Loop(parent.module, Plan(), device), [own]) for own in weights[:children]]
    turns = itertools.cycle(loops)
    work: Work = {
        "plan": (lambda: _passes(room, frames, children), children * len(frames)),
        "loop": (lambda: _pass(next(turns), frames), len(frames)),
    }
    for side in squares:
        times = max(1, round(PRODUCT_GFLOP * 1e9 / (2 * side**3)))
        work[f"matmul {side}"] = (_product(side, times, plan, device), times * 2 * side**3 / 1e9)
    work["vmap"] = (lambda: _pass(stack, frames), children * len(frames))
    work["parent"] = (lambda: problem.evaluate(lambda x: _pass(room, x), whole), len(group) * whole.count)
    work["child"] = (lambda: evaluator.evaluate(group, whole), len(group) * whole.count)
    return work


def _search(evaluator: Evaluator, problem: Frames, children: int, steps: int) -> Work:
    """Return a generation of children of one layer on games, and the parent on as many frames as are quickest."""
    levels = {
        name: {"start": i * LEVELS, "count": LEVELS} for i, name in enumerate(("train", "search", "select", "test"))
    }
    settings = ProcgenSettings.model_validate({"game": "bigfish", "levels": levels, "max_episode_steps": steps})
    games = ProcgenProblem(settings, evaluator.parent)
    strategy = evaluator.strategy.within(scope=(LAYER,))
    searching = Evaluator(evaluator.parent, strategy, games, evaluator.plan, settings=evaluator.settings)
    genomes, split = strategy.ask(children, Random(0)), games.split("search")
    played = [outcome.evaluation for outcome in searching.evaluate(genomes, split)]
    room = make_runner(evaluator.parent.module, evaluator.parent.perturbed, evaluator.plan, evaluator.device)
    frames, places = problem.probe(LARGE), evaluator.plan.children
    return {
        "search": (lambda: searching.evaluate(genomes, split), sum(one.samples for one in played if one)),
        "large": (lambda: _passes(room, frames, places), places * len(frames)),
    }


def _round(work: Work, *, backwards: bool) -> dict[str, float]:
    """Return each way's rate: short ones take many turns and give their median, long ones are run once.

    Rounds go to and fro, so that no way is always measured after the same other.
    """
    names = sorted(work, reverse=backwards)
    long = [name for name in names if name in LONG]
    turns = [name for name in names if name not in LONG] * SHORT_TURNS
    rates: dict[str, list[float]] = {name: [] for name in names}
    for name in long + turns if backwards else turns + long:
        run, amount = work[name]
        rates[name].append(amount / seconds(run))
    return {name: statistics.median(found) for name, found in rates.items()}


def _loaded(room: Runner, weights: Sequence[dict[str, Tensor]]) -> Runner:
    for place, own in enumerate(weights[: room.plan.children]):
        room.load(place, own)
    return room


def _pass(room: Runner, frames: Tensor) -> Tensor:
    return room.predict(dict.fromkeys(range(room.plan.children), frames))[0]


def _passes(room: Runner, frames: Tensor, children: int) -> None:
    """Send `children` children through `frames`, a core each: here is no game to be played meanwhile."""
    places = room.plan.children
    if isinstance(room, Loop) and places > 1:
        with side_by_side(min(places, torch.get_num_threads())) as pool:
            list(pool.map(lambda child: room.answer(child % places, frames), range(children)))
    else:
        for start in range(0, children, places):
            room.predict(dict.fromkeys(range(min(places, children - start)), frames))


def _product(side: int, times: int, plan: Plan, device: torch.device) -> Callable[[], float]:
    a, b = (torch.rand(side, side, device=device).to(DTYPES[plan.precision]) for _ in range(2))
    out = torch.empty_like(a)

    def run() -> float:
        for _ in range(times):
            torch.mm(a, b, out=out)
        return float(out[0, 0])  # waits for the device

    return run


def _gflop(parent: Parent, frames: Tensor) -> float:
    """Return the multiplications and additions of one frame's pass, in 10⁹."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        parent.module(frames[:1])
    return float(counter.get_total_flops()) / 1e9


def _result(rounds: Sequence[dict[str, float]], gflop: float) -> dict[str, Any]:
    """Return medians over the rounds of each rate and of each ratio."""
    best = max((name for name in rounds[0] if name.startswith("matmul")), key=lambda name: _median(rounds, name))
    rates = {name: _median(rounds, name) for name in ("plan", "vmap", "loop", "parent", "child", "search", "large")}
    return {
        "speedup_vs_vmap": statistics.median(r["plan"] / r["vmap"] for r in rounds),
        "speedup_vs_loop": statistics.median(r["plan"] / r["loop"] for r in rounds),
        "fraction_of_matmul_peak": statistics.median(r["plan"] * gflop / r[best] for r in rounds),
        "fraction_of_parent_inference": statistics.median(r["child"] / r["parent"] for r in rounds),
        "fraction_of_large_batches": statistics.median(r["search"] / r["large"] for r in rounds),
        "frames_per_second": rates,
        "gflops": {**{name: rate * gflop for name, rate in rates.items()}, "matmul": _median(rounds, best)},
        "gflop_per_frame": gflop,
        "matmul_side": int(best.split()[1]),
    }


def _median(rounds: Sequence[dict[str, float]], name: str) -> float:
    return statistics.median(row[name] for row in rounds)
