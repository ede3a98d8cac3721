"""Networks with several members inside are trained by the mean of their losses, and counted as what they compute."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from heads import Heads
from method_setting import setting

from evoens.network.wrapper import Wrapper
from evoens.tasks.sgd import seeded

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_step_is_that_of_a_plain_loop(tmp_path: Path) -> None:
    own = setting(tmp_path, 1, train={"batch": 120, "optimiser": "sgd", "learning_rate": 0.1, "momentum": 0.0})
    trained = own.train(lambda _: None, wrapper=Wrapper("heads:Heads", {"members": 3}))
    begun = own.trainer
    with seeded("wrapper:0"):
        module = Heads(begun.untrained().trainable(), 3)
    ((x, y),) = begun.examples().batches(120, 0, 0)
    losses = [F.cross_entropy(logits, y) for logits in module(x)]
    torch.stack(losses).mean().backward()  # type: ignore[no-untyped-call]
    for name, value in module.named_parameters():
        assert value.grad is not None
        torch.testing.assert_close(trained.weights[name], value.detach() - 0.1 * value.grad, rtol=1e-4, atol=1e-6)
    assert trained.curve[0]["loss"] == pytest.approx(float(torch.stack(losses).mean().detach()), rel=1e-5)
    assert trained.spent.flops == 3 * 120 * 2 * (64 * 16 + 160 + 300)


def test_its_draws_are_the_same_after_a_stop(tmp_path: Path) -> None:
    wrapper = Wrapper("heads:Heads", {"members": 2})
    whole = setting(tmp_path / "whole", 2).train(lambda _: None, wrapper=wrapper)
    steps = 0

    def stop(_: object) -> None:
        nonlocal steps
        steps += 1
        if steps == 11:
            raise KeyboardInterrupt

    broken = setting(tmp_path / "broken", 2)
    with pytest.raises(KeyboardInterrupt):
        broken.train(stop, wrapper=wrapper)
    again = broken.train(lambda _: None, wrapper=wrapper)
    assert all(torch.equal(value, again.weights[name]) for name, value in whole.weights.items())


def test_all_members_answer(tmp_path: Path) -> None:
    own, wrapper = setting(tmp_path, 1), Wrapper("heads:Heads", {"members": 3})
    trained = own.train(lambda _: None, wrapper=wrapper)
    networks = own.networks([trained.weights], wrapper)
    outputs = networks.outputs(own.problem.probe(6))
    assert outputs.shape == (3, 6, 10) and networks.stored_weights() <= 64 * 16 + 16 + 170 + 3 * 110
    torch.testing.assert_close(networks.predict(own.problem.probe(6)), outputs.mean(0))


def test_what_is_not_to_decay_does_not(tmp_path: Path) -> None:
    settings = {"optimiser": "sgd", "learning_rate": 1e-6, "momentum": 0.0, "weight_decay": 1e5, "batch": 120}
    own = setting(tmp_path, 1, train=settings)
    with seeded("wrapper:0"):
        module = Heads(own.trainer.untrained().trainable(), 2)
    trained = own.train(lambda _: None, wrapper=Wrapper("heads:Heads", {"members": 2}))
    for name, value in module.named_parameters():
        kept = 1.0 if name == "heads.0.bias" else 0.9
        torch.testing.assert_close(trained.weights[name], kept * value.detach(), rtol=1e-3, atol=1e-5)
