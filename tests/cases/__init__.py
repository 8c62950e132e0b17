"""Small models that are easily got wrong, after faults that users of TVM reported, and what real exporters write.

For every valid one the right answer is that it tunes and its outputs equal ONNX Runtime's, or that `plan` refuses it
with a sentence that says what and where.
"""
