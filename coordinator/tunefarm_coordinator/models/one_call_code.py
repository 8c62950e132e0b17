"""Machine code of lines (`one_call`): a function for each line, and one for each kernel that describes its tensors.

Kernels keep their calling convention, and lie in object files of their own. Memory is passed as addresses in between.
"""

from collections.abc import Sequence
from typing import Any

import tvm
from tvm import relax, tirx

from tunefarm_coordinator.models.one_call import (
    Choice,
    Copy,
    KernelCall,
    Line,
    LineCall,
    Lines,
    Memory,
    NotStraight,
    Place,
    Step,
)
from tunefarm_coordinator.models.one_call_memory import place

# The function that the virtual machine calls.
MODEL = "tunefarm_model"
_INT = tvm.ir.PrimType("int32")
_CPU = 1  # as DLPack numbers kinds of devices
_MOVE = "tirx.handle_add_byte_offset"
_DATA = 1  # as TVM numbers the fields of a tensor
_FAILED = "a kernel of this model failed"


def as_one_call(mod: Any) -> tuple[Any, dict[Any, Any]]:
    """(the module whose `main` makes one call of `MODEL`, the functions in TIR that belong to that call); the module as
    it is, and none, where `main` does what can't be called so."""
    try:
        line = Lines(mod, place).line("main")
    except NotStraight:
        return mod, {}
    if not line.steps:
        return mod, {}
    code = _Code(mod)
    code.model(line)
    called = mod.clone()
    called["main"] = _caller(mod["main"], line)
    return relax.transform.Normalize()(called), code.functions


def _caller(main: Any, line: Line) -> Any:
    """`main` as a call: outputs and a workspace are allocated, and what is a view of one of them, or given, is given
    back."""
    made = [*line.made(), Memory((line.workspace,), "uint8")]
    types = [relax.TensorType(memory.shape, memory.dtype) for memory in made]
    parameters = list(main.params)
    builder = relax.BlockBuilder()
    with builder.function("main", parameters, attrs=dict(main.attrs)):
        with builder.dataflow():
            given = [*parameters, *line.constants]
            call = builder.emit(relax.call_dps_packed(MODEL, relax.Tuple(given), types))
            memories = {memory: builder.emit(relax.TupleGetItem(call, at)) for at, memory in enumerate(made)}
            results = [_result(builder, place, given, memories) for place in line.results]
            result = builder.emit_output(relax.Tuple(results) if line.is_tuple else results[0])
        builder.emit_func_output(result)
    return builder.get()["main"]


def _result(builder: Any, place: Place, given: Sequence[Any], made: dict[Memory, Any]) -> Any:
    memory = place.memory.found()
    value = made[memory] if memory.given is None else given[memory.given]
    return value if memory.shape == place.shape else builder.emit(relax.op.reshape(value, place.shape))


class _Code:
    """`functions`: those written so far, by global variable; all but `MODEL` are for this code alone."""

    def __init__(self, mod: Any) -> None:
        self._mod = mod
        self.functions: dict[Any, Any] = {}
        self._names: dict[str, Any] = {}

    def model(self, line: Line) -> None:
        """The function `MODEL`: takes what the line is given, what it gives, and a workspace. What a user passes is
        checked like a kernel's parameter; checks of all weights would be most of the code."""
        users = len(line.given) - len(line.constants)
        buffers = [tirx.decl_buffer(it.shape, it.dtype, f"t{at}") for at, it in enumerate(line.given[:users])]
        tensors = [tirx.Var(f"t{at}", "handle") for at in range(users, len(line.given) + len(line.made()) + 1)]
        addresses = [tirx.address_of(tirx.BufferLoad(buffer, [0] * len(buffer.ty.shape))) for buffer in buffers]
        addresses += [tirx.call_intrin("handle", "tirx.tvm_struct_get", it, 0, _DATA) for it in tensors]
        function = tirx.PrimFunc([*buffers, *tensors], _checked(self._line(line), addresses))
        named = function.with_attrs({"global_symbol": MODEL, "tirx.is_scheduled": True})
        self.functions[tvm.ir.GlobalVar(MODEL)] = named

    def _line(self, line: Line) -> Any:
        name = f"line_{line.name}"
        if name not in self._names:
            self._names[name] = tvm.ir.GlobalVar(name)
            passed = [*line.given, *line.made()]
            parameters = [tirx.Var(f"a{at}", "handle") for at in range(len(passed) + 1)]
            addresses = dict(zip(passed, parameters, strict=False))
            for memory, offset in line.offsets.items():
                addresses[memory] = _moved(parameters[-1], offset)
            self._write(self._names[name], parameters, [self._step(step, addresses) for step in line.steps])
        return self._names[name]

    def _kernel(self, kernel: str) -> Any:
        name = f"call_{kernel}"
        if name not in self._names:
            self._names[name] = tvm.ir.GlobalVar(name)
            buffers = self._mod[kernel].params
            parameters = [tirx.Var(f"a{at}", "handle") for at in range(len(buffers))]
            tensors = [_tensor(address, buffer) for address, buffer in zip(parameters, buffers, strict=True)]
            # With a declaration of its own for each call, LLVM would give all but the first another name.
            call = tvm.ir.Call(
                tvm.ir.Op.get("tirx.tvm_call_cpacked"), [tvm.ir.StringImm(f"__tvm_ffi_{kernel}"), *tensors], ret_ty=_INT
            )
            self._write(self._names[name], parameters, [_on_cpu(tirx.Evaluate(call))])
        return self._names[name]

    def _write(self, name: Any, parameters: Sequence[Any], steps: Sequence[Any]) -> None:
        body = tirx.SeqStmt([*steps, _NOTHING, tirx.Return(tirx.IntImm("int32", 0))])
        self.functions[name] = tirx.PrimFunc(parameters, body, ret_type=_INT)

    def _step(self, step: Step, addresses: dict[Memory, Any]) -> Any:
        if isinstance(step, KernelCall):
            return _checked(self._kernel(step.kernel), [addresses[it.found()] for it in step.operands])
        if isinstance(step, LineCall):
            return _checked(self._line(step.line), [addresses[it.found()] for it in step.operands])
        if isinstance(step, Copy):
            source, target = step.source.found(), step.target.found()
            size = tirx.IntImm("int64", target.size)
            return tirx.Evaluate(tirx.call_extern("handle", "memcpy", addresses[target], addresses[source], size))
        return self._choice(step, addresses)

    def _choice(self, step: Choice, addresses: dict[Memory, Any]) -> Any:
        asked = tirx.decl_buffer((1,), "bool", "asked")
        truth = tvm.ir.PointerType(tvm.ir.PrimType("bool"))
        pointer = tirx.call_intrin(truth, _MOVE, addresses[step.condition.found()], tirx.IntImm("int64", 0))
        branches = [
            tirx.SeqStmt([*(self._step(it, addresses) for it in branch), _NOTHING, _NOTHING])
            for branch in step.branches
        ]
        return tirx.SeqStmt(
            [tirx.DeclBuffer(asked, data=pointer), tirx.IfThenElse(tirx.BufferLoad(asked, [0]), *branches)]
        )


# A sequence of one statement is refused.
_NOTHING = tirx.Evaluate(tirx.IntImm("int32", 0))


def _checked(function: Any, arguments: Sequence[Any]) -> Any:
    done = tirx.EQ(tvm.ir.Call(function, list(arguments), ret_ty=_INT), tirx.IntImm("int32", 0))
    return tirx.AssertStmt(done, tvm.ir.StringImm("RuntimeError"), [tvm.ir.StringImm(_FAILED)])


def _moved(address: Any, offset: int) -> Any:
    if not offset:
        return address
    return tirx.call_intrin("handle", _MOVE, address, tirx.IntImm("int64", offset))


def _tensor(address: Any, buffer: Any) -> Any:
    """What a kernel takes for its parameter `buffer`, with its elements at `address`."""
    sizes = [tirx.IntImm("int64", int(size)) for size in buffer.ty.shape]
    shape = tirx.call_intrin("handle", "tirx.tvm_stack_make_shape", *sizes)
    return tirx.tvm_stack_make_array(address, shape, 0, len(sizes), str(buffer.ty.dtype), 0)


def _on_cpu(body: Any) -> Any:
    default = tvm.ir.StringImm("default")
    typed = tirx.AttrStmt(default, "device_type", tirx.IntImm("int32", _CPU), body)
    return tirx.AttrStmt(default, "device_id", tirx.IntImm("int32", 0), typed)
