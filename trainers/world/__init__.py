"""The mini world: a seeded, procedural, multilingual instruction corpus (en es de fr sw zh), wording our own.

Needs no model and no network; `build` writes what `python -m trainers world --out DIR` promises.
"""

from trainers.world.build import add_arguments, build, main

__all__ = ["add_arguments", "build", "main"]
