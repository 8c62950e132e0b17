"""CUDA kernels compiled on a host without a GPU."""
