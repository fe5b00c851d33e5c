"""NumPy or JAX: a function that is written once for both asks which one its arrays are of."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def namespace(array: Any) -> Any:
    """``numpy`` for an array on the host, ``jax.numpy`` inside a compiled function."""
    return jnp if isinstance(array, jax.Array) else np
