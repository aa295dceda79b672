"""Names of a package that are imported when they are first asked for (PEP 562).

So that ``import longctx_edu`` loads neither torch nor transformers.
"""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module


def lazily(package: str, home: Mapping[str, str]) -> tuple[Callable, Callable]:
    """Return the ``__getattr__`` and ``__dir__`` of a package whose names live in its modules.

    Args:
        package: the package's ``__name__``.
        home: for each name the module or package inside ``package`` that has it.
    """

    def __getattr__(name: str):
        if name in home:
            return getattr(import_module(f"{package}.{home[name]}"), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def __dir__():
        return sorted({*vars(sys.modules[package]), *home})

    return __getattr__, __dir__
