"""Which weights a schedule may have in a layout of its own."""

from typing import Any

import tvm
import tvm_ffi

_LAYOUT_FREE = "layout_free_buffers"


def read_at_one_place(mod: Any) -> Any:
    """The module whose kernels leave as they lie the weights that they read at several places.

    TVM's rewriting takes the layout from one of the places and moves the others along with it: RoiAlign, which reads
    the five numbers of a region one by one, then read others.
    """
    changed = mod.clone()
    for gvar, kernel in mod.functions.items():
        free = () if not isinstance(kernel, tvm.tirx.PrimFunc) else kernel.attrs.get(_LAYOUT_FREE) or ()
        kept = [int(index) for index in free if _places(kernel, kernel.params[int(index)]) <= 1]
        if len(kept) < len(free):
            changed[gvar] = kernel.with_attr(_LAYOUT_FREE, kept) if kept else kernel.without_attr(_LAYOUT_FREE)
    return changed


def _places(kernel: Any, parameter: Any) -> int:
    found: list[Any] = []

    def look(load: Any) -> None:
        if parameter.same_as(load.source):
            place = tuple(load.indices)
            if not any(tvm_ffi.structural_equal(place, other) for other in found):
                found.append(place)

    tvm_ffi.structural_walk(kernel.body, (tvm.ir.TensorLoad, look))
    return len(found)
