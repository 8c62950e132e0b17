"""Which intrinsics a process registers, and when. Each case needs a process of its own."""

import subprocess
import sys

import pytest

_START = """
import sys, tvm
from tvm import te
from tvm.target import Target
from tunefarm_coordinator.engines import intrinsics
from tunefarm_coordinator.engines.space import DesignSpace
import random

def matmul(dtype, accumulator):
    a, b = (te.placeholder((64, 64), dtype, name) for name in "ab")
    k = te.reduce_axis((0, 64), "k")
    value = lambda i, j: te.sum(a[i, k].astype(accumulator) * b[k, j].astype(accumulator), k)
    function = te.create_prim_func([a, b, te.compute((64, 64), value, "c")])
    return tvm.IRModule({"main": function.with_attr("global_symbol", "main")})

def loaded():
    prefix = "tvm.s_tir.tensor_intrin."
    return sorted(name[len(prefix):] for name in sys.modules if name.startswith(prefix))

x86 = Target({"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "cascadelake", "num-cores": 2})
arm = Target({"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": "cortex-a76",
              "mattr": ["+neon", "+dotprod"], "num-cores": 4})
"""


def _run(code: str) -> None:
    subprocess.run([sys.executable, "-c", _START + code], check=True, timeout=120)


@pytest.mark.parametrize("target", ["x86", "arm"])
def test_float_kernels_need_none(target: str) -> None:
    _run(f"""
draft = DesignSpace(matmul("float32", "float32"), {target}, random.Random(0)).sample()
assert draft is not None and loaded() == [], loaded()
""")


def test_int8_on_x86_loads_none_of_tvms_which_llvm_refuses() -> None:
    _run("""
space = DesignSpace(matmul("int8", "int32"), x86, random.Random(0))
assert loaded() == [], loaded()
assert space.sample() is not None
""")


def test_int8_on_arm_loads_the_arm_family_alone() -> None:
    _run("""
space = DesignSpace(matmul("int8", "int32"), arm, random.Random(0))
assert set(loaded()) == {"arm_cpu", "dot_product_common"}, loaded()
assert space.sample() is not None
""")


def test_a_package_imported_before_is_left_alone() -> None:
    _run("""
import types
package = sys.modules["tvm.s_tir.tensor_intrin"] = types.ModuleType("tvm.s_tir.tensor_intrin")
intrinsics.enter_lazy_package()
assert sys.modules["tvm.s_tir.tensor_intrin"] is package
""")
