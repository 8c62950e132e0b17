"""ONNX operators that TVM's importer lacks, or has wrong: ours go before it.

One family of operators to a file, listed in `families.FAMILIES`. A family may hold three things, by (domain, operator):

    REWRITES     ONNX to ONNX, where an operator is others in disguise: a function of (node, `Graph`) that gives the
                 nodes in its place, or None to leave it. It sees static shapes and constants, and is tried again after
                 every pass, since what other rewrites leave behind may be known by then.
    CONVERSIONS  ONNX to Relax: a function of an `Operator` that gives its outputs as Relax expressions.
    EXPANDED     operators whose body in ONNX's own standard is imported instead of what TVM makes of them.

What a family can't do it refuses with `Unsupported`, whose message says why; the user then reads operator, node and
reason. An operator that nobody here names, that TVM's importer lacks and that ONNX defines by others is expanded.

To add an operator: write its function into the file of its family, enter it into that file's table, and put the cases
that it must pass into the test beside (`tests/unit/models/operators`); then `make conformance`.
"""
