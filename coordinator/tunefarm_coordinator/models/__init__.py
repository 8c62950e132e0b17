"""ONNX in, tuning tasks out, package out."""
