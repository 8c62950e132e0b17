"""exp, log, tanh and their like as arithmetic that vectorises, for CPUs: docs/mathematics.md has the errors."""
