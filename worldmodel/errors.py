"""The error of the whole package for bad input; importing it needs no JAX."""


class InputError(ValueError):
    """Bad input from outside; the message names the thing and the remedy."""
