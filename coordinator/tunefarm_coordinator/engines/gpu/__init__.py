"""Schedules of our own for GPUs: products and convolutions as tiled products of matrices, depthwise convolutions."""
