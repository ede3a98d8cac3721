"""The settings of where children are measured: in the run's own process, or by workers of Ray."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from evoens.settings.base import Conflict, Section

Address = Annotated[
    str,
    Field(pattern=r"^([\w.-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}$", json_schema_extra={"expected": "host:port"}),
]


class BackendSettings(Section):
    """Where children are measured: `local`, in the run's own process, or `ray`, by worker processes of Ray.

    Both give the same bits: a worker has the run's plan and as many threads as the run, and on a cluster it must have
    the same versions and kind of processor. It opens the data itself, by the paths of the YAML. Where a
    worker dies its children are measured again, each alone, and one in which two workers died alone has failed. Only
    children are measured elsewhere: parents and children are trained, and ensembles compared, in the run's own process.
    """

    type: Literal["local", "ray"] = "local"
    """`local` is the run's own process; `ray` has worker processes, here or on a cluster."""
    workers: Annotated[int, Field(ge=1, le=10_000)] | Literal["auto"] = "auto"
    """How many worker processes of Ray there are; `auto` is one for each core that Ray has."""
    address: Address | None = None
    """A Ray cluster that is joined, as `host:port`; null starts one on this machine, which ends with the run."""
    timeout: Annotated[float, Field(gt=0)] | None = None
    """The seconds after which the worker of a child is killed, and the child has failed; null is never.

    Unlike `evaluation.timeout` it ends a pass that never returns; work that children share counts to the first.
    """

    def conflicts(self) -> Iterator[Conflict]:
        """Only Ray has workers."""
        for name, default in (("workers", "auto"), ("address", None), ("timeout", None)):
            if self.type == "local" and (found := getattr(self, name)) != default:
                yield Conflict(name, "type", f"expected the type ray, which alone knows it, found local and {found}")
