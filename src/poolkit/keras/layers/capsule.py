"""Dynamic routing between capsules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras

from poolkit.errors import PoolError, flag, integer
from poolkit.keras.cells import dtype_of, ops, wide

if TYPE_CHECKING:
    from poolkit.keras.cells import Tensor


@keras.saving.register_keras_serializable(package="poolkit")
class CapsuleRouting(keras.layers.Layer):
    """Dynamic routing by agreement: each output capsule is a sum of votes, weighted by how well they agree with it.

    Votes ``u_hat_ji = W_ij u_i``; from logits ``b = 0``, `num_iterations` times: ``c_i = softmax_j(b_ij)``,
    ``s_j = sum_i c_ij u_hat_ji``, ``v_j = squash(s_j)``, ``b_ij += u_hat_ji . v_j``. The same as
    `poolkit.nn.CapsuleRouting`; how many capsules come in, and how long they are, the layer learns from its input.

    Source: Sabour, Frosst and Hinton, 2017 (arXiv:1710.09829), equations 1 to 3 and procedure 1.

    Args:
        out_capsules: number of output capsules.
        out_features: length of an output capsule.
        num_iterations: iterations of the routing; 1 weights all votes alike.
        detach_routing: gradients only through the last weighted sum of votes.
        **options: of every Keras layer, such as dtype.

    Shape:
        ``(batch, in_capsules, in_features)``, with a mask ``(batch, in_capsules)`` (True: a capsule that votes) or
        none, to ``(batch, out_capsules, out_features)``. Where nobody votes the output is 0.

    Raises:
        PoolError: an argument breaks a rule, or the input does not fit.

    >>> import numpy as np
    >>> from poolkit.keras import layers
    >>> tuple(layers.CapsuleRouting(10, 16)(np.zeros((2, 32, 8), "float32")).shape)
    (2, 10, 16)
    """

    def __init__(
        self,
        out_capsules: int,
        out_features: int,
        num_iterations: int = 3,
        *,
        detach_routing: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.out_capsules = integer(out_capsules, "out_capsules", 1)
        self.out_features = integer(out_features, "out_features", 1)
        self.num_iterations = integer(num_iterations, "num_iterations", 1)
        self.detach_routing = flag(detach_routing, "detach_routing")
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        """Makes the weights."""
        self.compute_output_shape(input_shape)
        capsules, features = input_shape[1:]
        self.kernel = self.add_weight(
            shape=(self.out_capsules, capsules, self.out_features, features),
            initializer=keras.initializers.RandomNormal(stddev=features**-0.5),
            name="weight",
        )

    def call(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """Routes the input capsules to the output capsules."""
        if mask is not None:
            inputs = ops.where(ops.expand_dims(ops.cast(mask, "bool"), -1), inputs, ops.zeros_like(inputs))
        votes = wide(ops.einsum("jiod,nid->njio", self.kernel, inputs))
        return ops.cast(self._route(votes), dtype_of(inputs))

    def _route(self, votes: Tensor) -> Tensor:
        """``(N, out_capsules, in_capsules, out_features)`` to output capsules."""
        seen = ops.stop_gradient(votes) if self.detach_routing else votes
        logits = ops.zeros_like(votes[..., 0])
        for _ in range(self.num_iterations - 1):
            y = _squash(_weighted(logits, seen))
            logits = logits + ops.einsum("njio,njo->nji", seen, y)
        return _squash(_weighted(logits, votes))

    def compute_mask(self, inputs: Tensor, previous_mask: Tensor | None = None) -> None:
        """None: output capsules are none of the input's."""

    def compute_output_shape(self, input_shape: Any) -> Any:
        """``(batch, out_capsules, out_features)``."""
        if len(input_shape) != 3 or None in tuple(input_shape[1:]) or 0 in tuple(input_shape[1:]):
            raise PoolError(
                f"input x of shape {tuple(input_shape)}",
                "the input is (batch, in_capsules, in_features), with numbers and lengths that are known",
                "reshape the maps to capsules first",
            )
        return input_shape[0], self.out_capsules, self.out_features

    def get_config(self) -> dict[str, Any]:
        """What `from_config` makes the same layer of."""
        names = ("out_capsules", "out_features", "num_iterations", "detach_routing")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _weighted(logits: Tensor, votes: Tensor) -> Tensor:
    """Sums of votes, each input capsule dividing itself among the output capsules."""
    return ops.einsum("nji,njio->njo", ops.softmax(logits, 1), votes)


def _squash(s: Tensor) -> Tensor:
    """Vectors on the last axis shortened to ``|s|^2 / (1 + |s|^2)``, their direction kept; 0 stays 0."""
    largest = ops.stop_gradient(ops.max(ops.abs(s), -1, keepdims=True))
    nothing = ops.equal(largest, 0)
    unit = ops.where(nothing, ops.ones_like(largest), largest)
    # In units of the largest entry the squares neither overflow nor vanish, and their sum is at least 1.
    length = unit * ops.sqrt(ops.maximum(ops.sum(ops.square(s / unit), -1, keepdims=True), 1.0))
    return ops.where(nothing, ops.zeros_like(s), s / (length + 1 / length))
