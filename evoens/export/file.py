"""A module as one file, ONNX or torch's pt2, or an ensemble's weights as safetensors; each proved before it is written.

Metadata are JSON texts by name, in the file itself: `metadata_props` of ONNX, `evoens.json` of a pt2, `__metadata__`.
"""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, ShapesCollection

from evoens.errors import EvoensError, SpecError
from evoens.network.inputs import Inputs, each, several
from evoens.plugins.guest import guest
from evoens.storage.files import write_atomic

ABOUT = "evoens.json"
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
OPSET = 18
LARGEST = 2**31 - 2**20  # bytes of the weights of a protobuf message, which has at most 2 GiB
TOLERANCE = 1e-4  # of a probability: another order of sums in float32, through a deep network
Ask = Callable[[Inputs], Tensor]


def require_packages() -> None:
    """See that what writes and runs ONNX is there.

    Raises:
        SpecError: it is not.
    """
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise SpecError(f"onnx: expected the packages {', '.join(missing)}, found none: pip install 'evoens[export]'")


def names_of(inputs: Inputs) -> list[str]:
    """Return what the inputs of a file are called."""
    return ["inputs"] if isinstance(inputs, Tensor) else [f"inputs_{place}" for place in range(len(inputs))]


def write_onnx(path: Path, module: nn.Module, inputs: Inputs, about: Mapping[str, Any], expected: Tensor) -> float:
    """Write `module` as an ONNX model of a free batch size.

    Args:
        path: of the file.
        module: in eval mode, `(n, *input)` to probabilities.
        inputs: some, two at least.
        about: metadata, JSON.
        expected: what must come out of `inputs`.

    Returns:
        The largest difference from `expected` in onnxruntime.

    Raises:
        EvoensError: the module cannot be exported, is above 2 GiB, or would give other probabilities.
    """
    size = sum(value.nbytes for value in module.state_dict().values())
    if size > LARGEST:
        found = f"found {size / 2**30:.1f} GiB of weights"
        raise EvoensError(f"{path}: expected a module below 2 GiB, as ONNX has in one file, {found}; --to pt2 takes it")
    program = exported(module, inputs)
    with _quiet(), guest("the network cannot be written as ONNX", EvoensError):
        written = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=names_of(inputs),
            output_names=["probabilities"],
            verbose=False,
        )
        assert written is not None
        for node in written.model.graph.all_nodes():
            node.metadata_props.clear()  # where in whose files each operation was written
        written.rename_axes({written.model.graph.inputs[0].shape[0]: "batch"})
        written.model.metadata_props.update(_texts(about))
        data = written.model_proto.SerializeToString()
    return _proved(path, data, _onnx(data), inputs, expected)


def write_pt2(path: Path, module: nn.Module, inputs: Inputs, about: Mapping[str, Any], expected: Tensor) -> float:
    """Write `module` as `torch.export.save` does; see `write_onnx`, to which all but the form is alike."""
    program, buffer = exported(module, inputs), io.BytesIO()
    with _quiet(), guest("the network cannot be written as pt2", EvoensError):
        torch.export.save(program, buffer, extra_files={ABOUT: json.dumps(dict(about))})
        data = buffer.getvalue()
        loaded = torch.export.load(io.BytesIO(data)).module()
    return _proved(path, data, lambda some: loaded(*several(some)), inputs, expected)


def write_safetensors(
    path: Path,
    network: nn.Module,
    shared: Mapping[str, Tensor],
    members: Sequence[Mapping[str, Tensor]],
    about: Mapping[str, Any],
    *,
    inputs: Inputs,
    expected: Tensor,
) -> float:
    """Write state dicts: `shared.<name>` is a tensor of every member, `members.<number>.<name>` of one.

    Args:
        path: of the file.
        network: as its own code builds it; what either gives together is its state dict.
        shared: the tensors in which no member differs from the parent, by name.
        members: the others, of each different member.
        about: metadata, JSON; its `order` says which of them each of the k members is.
        inputs: some that the network takes.
        expected: what the members say of them, `(k, n, c)`.

    Returns:
        The largest difference from `expected` in what `network` gives when it has loaded them.

    Raises:
        EvoensError: the network takes other tensors than these, or gives no such logits.
    """

    def ask(some: Inputs) -> Tensor:
        """Return what the members say, `(n, k, c)`, each loaded into the network as who uses the file would."""
        answers = []
        for own in members:
            network.load_state_dict({**shared, **own})
            answers.append(network.eval()(*several(some)).float().softmax(-1))
        return torch.stack([answers[place] for place in about["order"]], dim=1)

    whole = {f"shared.{name}": value for name, value in shared.items()}
    for place, own in enumerate(members):
        whole |= {f"members.{place}.{name}": value for name, value in own.items()}
    plain = {name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in whole.items()}
    return _proved(path, save(plain, _texts(about)), ask, inputs, expected.transpose(0, 1))


def exported(module: nn.Module, inputs: Inputs) -> ExportedProgram:
    """Return `module` as torch.export has it, of a free batch size, without a trace of where its code lies.

    Raises:
        EvoensError: it cannot be exported, or takes no other number of inputs.
    """
    batch, shapes = Dim("batch"), ShapesCollection()  # type: ignore[no-untyped-call]
    for part in several(inputs):
        shapes[part] = {0: batch}
    with _quiet(), torch.no_grad(), guest("the network cannot be exported by torch.export", EvoensError):
        program = torch.export.export(module, several(inputs), dynamic_shapes=shapes)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program


def _onnx(data: bytes) -> Ask:
    import onnxruntime  # noqa: PLC0415 (for those alone who use it)

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])

    def ask(inputs: Inputs) -> Tensor:
        given = zip(names_of(inputs), several(inputs), strict=True)
        (found,) = session.run(None, {name: value.numpy() for name, value in given})
        return torch.from_numpy(found)

    return ask


def _proved(path: Path, data: bytes, ask: Ask, inputs: Inputs, expected: Tensor) -> float:
    """Write `data` once it has given what is expected, of all inputs at once and of the first alone."""
    with torch.no_grad(), guest("what was exported does not run", EvoensError):
        found = [ask(inputs), ask(each(inputs, lambda part: part[:1]))]
    far = max(_apart(found[0], expected), _apart(found[1], expected[:1]))
    if not far <= TOLERANCE:
        raise EvoensError(f"{path}: expected what the ensemble predicts, found probabilities {far:.2g} from these")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, data)
    return far


def _apart(a: Tensor, b: Tensor) -> float:
    return float((a.double() - b.double()).abs().max()) if a.shape == b.shape else float("nan")


def _texts(about: Mapping[str, Any]) -> dict[str, str]:
    return {name: json.dumps(value) for name, value in about.items()}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what torch's exporters say of themselves from those who have not asked."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
