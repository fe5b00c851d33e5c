# MuJoCo's own stubs do not cover what is used here: declared untyped, once.
from typing import Any

def __getattr__(name: str) -> Any: ...
