"""What the whole package raises for bad input; here so that it can be raised without JAX."""


class InputError(ValueError):
    """Bad input from outside; the message names the thing and the remedy."""
