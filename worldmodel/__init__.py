"""Differentiable-physics world models in JAX: MuJoCo's contact simulator, fitted to reality."""

__version__ = "0.1.0"
