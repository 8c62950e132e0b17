"""Convolutions of 3 x 3 with fewer multiplications (Lavin and Gray, arXiv 1509.09308), as a program of its own for a
kernel that the direct sum also computes.

`minimal`: the algorithms and what they turn values into; `convolution`: which kernels they are for; `settings`: what
there is to choose, and what it is estimated to cost; `nest`: the program.
"""
