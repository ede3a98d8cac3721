"""Run a Strategy's contract over anyone's class, on a small network, and say what is broken and why."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from evoens.contract.clauses import CLAUSES, FOLLOWS, PURE
from evoens.contract.subject import BrokenError, Subject, global_seed, small_parent
from evoens.errors import Check, EvoensError, SpecError, one_line
from evoens.plugins.guest import failure, listening
from evoens.plugins.spec import STRATEGIES, load_class, locate
from evoens.strategy import Strategy

_FRESH = "import sys; from evoens.contract.check import print_bits; print_bits(sys.argv[1], sys.argv[2:])"


def check_strategy(spec: str, folders: Sequence[Path] = ()) -> list[Check]:
    """Run the contract over the class that `spec` names; a relative path is tried from each of `folders`.

    Returns:
        One check a clause, in order. After a clause that others depend on has failed, these are left out; a fresh
        process is only tried where all else holds.

    Raises:
        SpecError: there is no such file or module.
    """
    source = locate(spec, folders)
    with listening(), global_seed(0):
        try:
            subject = Subject(load_class(source, Strategy), small_parent())
        except EvoensError as error:
            return [Check("imports", False, str(error))]
        checks = [Check("imports", True, f"{subject.cls.__name__}, a Strategy"), *_clauses(subject)]
        if all(check.ok for check in checks):
            checks.append(_run("fresh process", partial(_fresh_process, subject, spec, folders)))
        return checks


def broken(cls: type[Strategy], arguments: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each clause that a Strategy of a user's own, made with `arguments`, does not keep.

    All are tried that need no other process, on the small network: a moment before a run. Those that ship keep them.

    Raises:
        SpecError: the same genome does not give the same child twice, so that no child could be kept.
    """
    if cls.__module__.startswith(f"{STRATEGIES}."):
        return []
    with global_seed(0):
        checks = _clauses(Subject(cls, small_parent(), arguments))
    said = {c.name: f"{cls.__name__} breaks a Strategy's contract, {c.name}: {c.detail}" for c in checks if not c.ok}
    if PURE in said:
        raise SpecError(said[PURE])
    return list(said.values())


def _clauses(subject: Subject) -> list[Check]:
    checks = list[Check]()
    for name, clause, gate in CLAUSES:
        if any(not check.ok and check.name in FOLLOWS.get(name, ()) for check in checks):
            continue
        checks.append(_run(name, partial(clause, subject)))
        if gate and not checks[-1].ok:
            break
    return checks


def _run(name: str, clause: Callable[[], str]) -> Check:
    try:
        return Check(name, True, clause())
    except BrokenError as broken:
        return Check(name, False, str(broken))
    except BaseException as error:  # the user's code may raise anything
        failure(error, name)  # but Ctrl-C
        return Check(name, False, f"{one_line(error)} ({_place(error)})")


def _place(error: BaseException) -> str:
    """Return the file and line that raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "place unknown"


def print_bits(spec: str, folders: Sequence[str]) -> None:
    """Print each child's key and the hash of its weights, a line each: what a fresh process is asked for."""
    cls = load_class(locate(spec, [Path(folder) for folder in folders]), Strategy)
    print("\n".join(Subject(cls, small_parent()).bits()))


def _fresh_process(subject: Subject, spec: str, folders: Sequence[Path]) -> str:
    hash_seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONHASHSEED": hash_seed}
    command = [sys.executable, "-c", _FRESH, spec, *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise BrokenError(f"it does not run in a fresh process: {done.stderr.strip().rpartition(chr(10))[2]}")
    here = subject.bits()
    there = done.stdout.splitlines()[-len(here) :]  # the user's file may print, too
    for mine, other in zip(here, there, strict=True):
        if mine != other:
            what = "ask returns other genomes" if mine.split()[0] != other.split()[0] else "perturb gives other bits"
            raise BrokenError(f"{what} in a fresh process: hash(), id(), the time or the environment must play no part")
    return "the same genomes and bits in a fresh process"
