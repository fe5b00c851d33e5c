"""The host side of a program: set-up, messages, signals, provenance. Nothing runs at import."""

from worldmodel.runtime.command import command
from worldmodel.runtime.progress import compiling, log
from worldmodel.runtime.provenance import VERSIONED, processor, provenance
from worldmodel.runtime.setup import cache_directory, configure, run
from worldmodel.runtime.signals import Interrupt, Interrupted, at_once

__all__ = [
    "VERSIONED",
    "Interrupt",
    "Interrupted",
    "at_once",
    "cache_directory",
    "command",
    "compiling",
    "configure",
    "log",
    "processor",
    "provenance",
    "run",
]
