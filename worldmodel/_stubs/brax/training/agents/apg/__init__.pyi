# Brax's own types refuse calls that it documents: declared untyped, once.
from typing import Any

def __getattr__(name: str) -> Any: ...
