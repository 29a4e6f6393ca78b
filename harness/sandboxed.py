"""The interpreter's side of the sandbox: sets limits, runs one program, proves that its last line was reached.

`sandbox.py` hands this text to an interpreter without site packages (`python -c`), so it imports the standard library only.
Arguments: the program's file, the descriptor to read the word from, the one to write it to, the limits as JSON
{name of `resource`: [soft, hard]}, which cannot be raised again.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import types


def run(path: str, secret: int, proof: int, limits: dict[str, list[int]]) -> None:
    """Run the program as `__main__`; write the word that came through `secret` to `proof` when its last line has been
    reached, and only then. The word is in no file and in none of the program's names."""
    for name, (soft, hard) in limits.items():
        resource.setrlimit(getattr(resource, name), (soft, hard))
    write = os.write  # the program may put another function in its place
    word = os.read(secret, 64)
    os.close(secret)
    with open(path, "rb") as file:
        text = file.read()
    module = types.ModuleType("__main__")
    module.__file__ = path
    sys.modules["__main__"], sys.argv = module, [path]
    exec(compile(text, path, "exec", dont_inherit=True), vars(module))
    write(proof, word)


if __name__ == "__main__":
    run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4]))
