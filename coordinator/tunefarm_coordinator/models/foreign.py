"""What libraries for ONNX graphs raise."""

# What third-party graph code raises on a graph that it was not made for. Without simplification such a
# model may still import, so this list is wide on purpose; it does not hold exits or interrupts.
FOREIGN_FAILURES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NameError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)
