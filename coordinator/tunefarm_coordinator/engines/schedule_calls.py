"""Calls of TVM's `Schedule` at the price of what they do."""

from tvm.s_tir import Schedule


def without_type_checks() -> None:
    """In this process, the methods of `Schedule` no longer compare each argument with its annotation first, which
    took a third of the time of a schedule that is written in Python. What TVM calls still refuses a wrong argument."""
    for name, method in list(vars(Schedule).items()):
        plain = getattr(method, "__wrapped__", None)
        if plain is not None:
            setattr(Schedule, name, plain)
