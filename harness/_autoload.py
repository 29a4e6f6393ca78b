"""What makes the stock `lm_eval` command find our models and tasks: a hook on two of lm-eval's own
imports.

`anyorder_lm_eval.pth` (from Python 3.15 on `anyorder_lm_eval.start`) calls `start()` in every
interpreter of the environment, so this file imports nothing but `os` and `sys` and must cost well under
a millisecond. The hook waits: when lm-eval imports `lm_eval.models` it adds our model names, when it
imports `lm_eval.tasks.manager` it adds our task folder (registration.py does both).
ANYORDER_NO_AUTOLOAD=1 turns it off; `python -m harness` does not need it. lm-eval 0.4.13 has no
plug-ins; from the release that has, the models also come by entry point.
"""

from __future__ import annotations

import os
import sys


def _on_models(module) -> None:
    from harness import registration

    registration.register_models()


def _on_manager(module) -> None:
    from harness import registration

    registration.extend_task_manager(module.TaskManager)


ACTIONS = {"lm_eval.models": _on_models, "lm_eval.tasks.manager": _on_manager}


class Hook:
    """A meta-path finder: it lets the others find the module and adds what is done after its import."""

    anyorder = True  # how a second `install` sees that the first was there

    def find_spec(self, name, path=None, target=None):
        if name not in ACTIONS:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None and spec.loader is not None:
                _call_after(spec.loader, ACTIONS[name])
                return spec
        return None


def _call_after(loader, action) -> None:
    run = loader.exec_module

    def exec_module(module) -> None:
        run(module)
        _report(action, module)

    loader.exec_module = exec_module


def _report(action, module) -> None:
    """Ours must never take lm-eval down: a failure is said on stderr, the built-in models and tasks stay."""
    try:
        action(module)
    except Exception as error:
        what = f"anyorder is not registered with lm-eval ({type(error).__name__}: {error})"
        print(f"{what}; its own models and tasks are not affected.", file=sys.stderr)


def install() -> None:
    """Put the hook in place, once; modules that are already imported are extended at once."""
    if os.environ.get("ANYORDER_NO_AUTOLOAD", "0") not in ("", "0"):
        return
    if any(getattr(finder, "anyorder", False) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, Hook())
    for name, action in ACTIONS.items():
        if name in sys.modules:
            _report(action, sys.modules[name])


def start() -> None:
    """`install` at interpreter start, then forget this package.

    The program may have another package called `harness` (or a checkout of ours) earlier on its path, which
    must win as it would without the hook.
    """
    install()
    for name in ("harness._autoload", "harness"):
        sys.modules.pop(name, None)
