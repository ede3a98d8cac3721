"""PPO on a policy that is there already, a child's or the parent's: its value head first, its masks held throughout."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from typing_extensions import Self

from evoens.errors import ProblemError
from evoens.settings.procgen import PPOSettings, ProcgenSettings
from evoens.tasks.critic import least_squares_values
from evoens.tasks.masking import Masking, NoMasking
from evoens.tasks.networks.impala import ACTIONS
from evoens.tasks.sb3 import Training, by_policy_names
from evoens.tasks.sgd import require_finite

with contextlib.redirect_stderr(io.StringIO()):  # the old gym, imported by this, prints a banner
    from stable_baselines3 import PPO
    from stable_baselines3.common.buffers import RolloutBuffer
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.distributions import CategoricalDistribution


class PolicyTraining(Training):
    """PPO that begins at a policy without a value head.

    For the first rollouts the policy stays as it is: the running scale of rewards, which begins at nothing, settles,
    and the value head is fitted (`evoens.tasks.critic`); a head that knows nothing would at first teach a good policy
    nonsense. A mask holds for a rollout and its update: were it drawn anew between the two, the ratio of new to old
    probabilities would measure the masks. Gradients are masked before they are clipped.

    Actions and minibatches are drawn from generators of its own, so that several can be trained in threads of one
    process, each to the bits it would reach alone.

    Args:
        settings: of PPO; `steps` is the whole budget, a multiple of a rollout's.
        problem: the game; it is learned on `problem.levels.train`.
        seed: of actions, minibatches and the order of levels.
        precision: `float32` or `bfloat16`, of the trunk.
        weights: the policy's, by the names of `ImpalaPolicy`.
        warmup: the first rollouts, in which the policy does not move.
    """

    def __init__(
        self,
        settings: PPOSettings,
        problem: ProcgenSettings,
        seed: int,
        precision: str,
        *,
        weights: Mapping[str, Tensor],
        warmup: int,
    ) -> None:
        self._shuffler, self._sampler = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
        buffer = {"rollout_buffer_class": Shuffled, "rollout_buffer_kwargs": {"generator": self._shuffler}}
        own = {"seed": None, "max_grad_norm": np.inf, **buffer}  # we seed and clip ourselves
        super().__init__(settings, problem, seed, precision, own=own)
        self.warmup, self.masking = warmup, cast(Masking, NoMasking())
        self.on_step: Callable[[], None] = lambda: None
        self.callback = _Watch(self)
        self._features: list[Tensor] = []
        model, policy = self.model, self.model.policy
        self.module: nn.Module = policy
        policy.action_dist = Sampled(self._sampler)
        with torch.no_grad():
            for name, own_weight in self.policy_weights().items():
                own_weight.copy_(weights[name])
            policy.value_net.weight.zero_()
        policy.features_extractor.register_forward_hook(self._keep_features)
        policy.optimizer.register_step_pre_hook(self._before_optimiser)
        self._evaluate, model.train = policy.evaluate_actions, self._update  # type: ignore[method-assign]
        policy.evaluate_actions = self._evaluate_masked  # type: ignore[method-assign, assignment]

    def policy_weights(self) -> dict[str, nn.Parameter]:
        """Return the policy's own weights, by the names of `ImpalaPolicy`."""
        return by_policy_names(dict(self.model.policy.named_parameters()))

    @property
    def warming(self) -> bool:
        """Whether the policy does not move yet."""
        return len(self.curve) < self.warmup

    def rollout_and_update(self) -> dict[str, Any]:
        """See `Training.rollout_and_update`.

        Raises:
            ProblemError: the training has diverged.
        """
        record = super().rollout_and_update()
        require_finite(self.module)
        self.masking.after()  # where the KL divergence has ended an update before its step
        return record

    def mask(self) -> None:
        """Mask the weights for this rollout and its update."""
        turn = len(self.curve)
        self.masking.before(turn * self.settings.frames_of_rollout / self.settings.steps, turn)

    def _update(self) -> None:
        if not self.warming:
            return PPO.train(self.model)
        buffer, begins = self.model.rollout_buffer, cast(Any, self.model._last_episode_starts)
        weight, bias = least_squares_values(
            torch.stack(self._features),
            torch.from_numpy(buffer.rewards),
            torch.from_numpy(np.concatenate([buffer.episode_starts, begins[None]])),
            self.settings.gamma,
            self.settings.gae_lambda,
        )
        head = self.model.policy.value_net
        with torch.no_grad():
            head.weight.copy_(weight[None])
            head.bias.copy_(bias[None])
        return None

    def _keep_features(self, module: nn.Module, inputs: Any, features: Tensor) -> None:
        if self.warming:
            self._features.append(features.detach())

    def _evaluate_masked(self, *arguments: Any) -> Any:
        self.on_step()
        self.mask()
        return self._evaluate(*arguments)

    def _before_optimiser(self, *_: Any) -> None:
        self.masking.after()
        nn.utils.clip_grad_norm_(self.model.policy.parameters(), self.settings.max_grad_norm)

    def _generators(self) -> dict[str, Any]:
        return {"shuffler": self._shuffler.bit_generator.state}

    def _torch_generator(self) -> Tensor:
        return self._sampler.get_state()

    def _restore_generators(self, state: Mapping[str, Any], torch_rng: Tensor) -> None:
        self._shuffler.bit_generator.state = state["shuffler"]
        self._sampler.set_state(torch_rng)

    def _tensors(self, games: Any) -> dict[str, Tensor]:
        masks = {f"masking/{name}": value for name, value in self.masking.checkpoint().items()}
        return {**super()._tensors(games), **masks}

    def restore(self, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """See `Training.restore`."""
        super().restore(state, tensors)
        masks = {name.removeprefix("masking/"): v for name, v in tensors.items() if name.startswith("masking/")}
        self.masking.restore(masks)


class Sampled(CategoricalDistribution):
    """Actions drawn from a generator of its own, as long as the policy has probabilities."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__(ACTIONS)
        self.generator = generator

    def proba_distribution(self, action_logits: Tensor) -> Self:
        """Take up a policy's logits, `(n, 15)`.

        Raises:
            ProblemError: they are not finite.
        """
        if not action_logits.isfinite().all():
            raise ProblemError("the training has diverged: the policy's logits are not finite any more")
        return super().proba_distribution(action_logits)

    def sample(self) -> Tensor:
        """Return an action for each game, `(n,)`."""
        return torch.multinomial(self.distribution.probs, 1, generator=self.generator)[:, 0]


class Shuffled(RolloutBuffer):
    """A rollout whose minibatches are drawn from a generator of its own."""

    def __init__(self, *arguments: Any, generator: np.random.Generator, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.generator = generator

    def get(self, batch_size: int | None = None) -> Any:
        """Yield all of the rollout once, in minibatches."""
        if not self.generator_ready:
            next(super().get(1))  # lays the frames out, which is all that is wanted of it
        order = self.generator.permutation(self.buffer_size * self.n_envs)
        for start in range(0, len(order), batch_size or len(order)):
            yield self._get_samples(order[start : start + (batch_size or len(order))])


class _Watch(BaseCallback):
    """Lets a training mask its weights for a rollout, and be stopped within one."""

    def __init__(self, training: PolicyTraining) -> None:
        super().__init__()
        self.own = training

    def _on_rollout_start(self) -> None:
        self.own._features.clear()
        self.own.mask()

    def _on_step(self) -> bool:
        self.own.on_step()
        return True

    def _on_rollout_end(self) -> None:
        self.own.masking.after()
