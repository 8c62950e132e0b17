"""What TVM raises when a schedule, a trace or a module can't be used.

Errors cross its FFI as whatever built-in class the C++ side named (`InternalError` and `ScheduleError`
are `RuntimeError`s), so a caller that has to survive one names them all.
"""

TVM_ERRORS = (
    RuntimeError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    AttributeError,
    AssertionError,
)


def first_line(error: BaseException) -> str:
    """The error's class and the first line of its message that says something, at most 300 characters."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = next((line for line in lines if line and not line.startswith("Traceback")), "no message")
    return f"{type(error).__name__}: {said}"[:300]
