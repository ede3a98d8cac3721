from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from evoens.diversity.activations import cka, hsic, innermost, recorded
from evoens.errors import ShapeError, SpecError

Floats = npt.NDArray[np.float64]


def network(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(48, 5), nn.ReLU(), nn.Linear(5, 4)
    )
    return net.eval().requires_grad_(False)


def batches(count: int = 3, n: int = 12) -> list[Tensor]:
    return list(torch.randn(count, n, 2, 6, 6, generator=torch.Generator().manual_seed(9)))


LAYERS = ["0", "1", "3", "5"]


def over(nets: Sequence[nn.Module], layers: Sequence[str], data: Sequence[Tensor]) -> Tensor:
    return cka(torch.stack([hsic(nets, layers, inputs) for inputs in data]).sum(0))


def features(net: nn.Sequential, layer: str, inputs: Tensor) -> Floats:
    return net[: int(layer) + 1](inputs.clone()).flatten(1).double().numpy()


def formula(x: Floats, y: Floats) -> float:
    """Song et al. 2012, eq. 5, as it stands there, in float64."""
    n = len(x)
    k, h, one = x @ x.T, y @ y.T, np.ones(n)
    np.fill_diagonal(k, 0)
    np.fill_diagonal(h, 0)
    middle = (one @ k @ one) * (one @ h @ one) / ((n - 1) * (n - 2))
    return float((np.trace(k @ h) + middle - 2 / (n - 2) * (one @ k @ h @ one)) / (n * (n - 3)))


def test_every_pair_of_layers_is_the_formula_s() -> None:
    nets, data = [network(0), network(1)], batches()
    found = over(nets, LAYERS, data).numpy()
    for i, first in enumerate(nets):
        for a, one in enumerate(LAYERS):
            for j, second in enumerate(nets):
                for b, other in enumerate(LAYERS):
                    pairs = [(features(first, one, x), features(second, other, x)) for x in data]
                    cross, left, right = (sum(formula(*p) for p in which) for which in _three(pairs))
                    assert found[i, a, j, b] == pytest.approx(cross / (left * right) ** 0.5, abs=1e-5)


def _three(pairs: list[tuple[Floats, Floats]]) -> list[list[tuple[Floats, Floats]]]:
    return [pairs, [(x, x) for x, _ in pairs], [(y, y) for _, y in pairs]]


def test_a_member_is_like_itself_and_members_may_change_places() -> None:
    nets = [network(0), network(1), network(2)]
    found = over(nets, LAYERS, batches())
    assert torch.allclose(found.view(12, 12).diagonal(), torch.ones(12, dtype=torch.float64))
    assert torch.allclose(found, found.permute(2, 3, 0, 1))
    order = [2, 0, 1]
    assert torch.allclose(over([nets[i] for i in order], LAYERS, batches()), found[order][:, :, order], atol=1e-6)


def test_turned_scaled_and_moved_features_are_the_same() -> None:
    plain, turned = nn.Sequential(nn.Identity()), nn.Sequential(nn.Linear(6, 6))
    q, _ = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(3)))
    turned[0].weight.data, turned[0].bias.data = 7 * q, torch.full((6,), 1000.0)
    data = [torch.randn(20, 6, generator=torch.Generator().manual_seed(4))]
    assert float(over([plain, turned], ["0"], data)[0, 0, 1, 0]) == pytest.approx(1, abs=1e-4)


def test_layers_are_the_innermost_in_the_order_of_use() -> None:
    assert innermost(network(0), batches()[0]) == ["0", "1", "2", "3", "4", "5"]


def test_what_a_layer_put_out_is_kept_from_the_next_that_works_in_place() -> None:
    net, inputs = network(0), batches()[0]
    with recorded(net, ["0"]) as seen:
        net(inputs)
        assert (seen["0"] < 0).any()
    assert not net[0]._forward_hooks


def test_a_batch_must_be_large_enough() -> None:
    with pytest.raises(ShapeError, match="at least 4 inputs, found 3"):
        hsic([network(0)], LAYERS, batches()[0][:3])


def test_a_layer_that_is_not_there() -> None:
    with pytest.raises(SpecError, match='layer "55": expected one of the network\'s, found no such; did you mean "5"'):
        hsic([network(0)], ["55"], batches()[0])


def test_a_layer_that_is_not_passed() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.Flatten(), nn.Linear(2, 2)

        def forward(self, inputs: Tensor) -> Tensor:
            found: Tensor = self.used(inputs)
            return found

    with pytest.raises(ShapeError, match='layer "idle": expected a tensor from it'):
        hsic([Idle()], ["idle"], batches()[0])
