"""Graphs that are odd as graphs: inputs, outputs, names, functions, invalid ones."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.cases.parts import case, const, conv_relu, model, node, value, weight

NASTY = "in put/\u00e9\u4e2d \x1b[31mRED\x1b[0m\x07"


@case
def reshape_shape_input() -> onnx.ModelProto:
    n, i = conv_relu()
    n.append(node("Reshape", ["c", "shape"], ["y"]))
    return model(n, [value("x", [1, 3, 16, 16]), value("shape", [2], TensorProto.INT64)], [value("y", [None, None])], i)


@case
def random_normal() -> onnx.ModelProto:
    return model(
        [node("RandomNormalLike", ["x"], ["r"], seed=1.0), node("Add", ["x", "r"], ["y"])],
        [value("x", [4, 64])],
        [value("y", [4, 64])],
        [],
        13,
    )


@case
def out_is_input() -> onnx.ModelProto:
    n, i = conv_relu(cin=3, cout=8)
    return model(n, [value("x", [1, 3, 16, 16])], [value("c", None), value("x", [1, 3, 16, 16])], i, 13)


@case
def out_twice() -> onnx.ModelProto:
    n, i = conv_relu(cin=3, cout=8)
    return model(
        n,
        [value("x", [1, 3, 16, 16])],
        [value("c", [1, 8, 16, 16]), value("c_pre", [1, 8, 16, 16]), value("c", [1, 8, 16, 16])],
        i,
        13,
    )


@case
def out_is_initializer() -> onnx.ModelProto:
    n, i = conv_relu(cin=3, cout=8)
    return model(n, [value("x", [1, 3, 16, 16])], [value("c", [1, 8, 16, 16]), value("c_b", [8])], i, 13)


@case
def init_as_input_ir3() -> onnx.ModelProto:
    n, i = conv_relu(cin=3, cout=8)
    return model(
        n,
        [value("x", [1, 3, 16, 16]), value("c_w", [8, 3, 3, 3]), value("c_b", [8])],
        [value("c", [1, 8, 16, 16])],
        i,
        8,
        ir=3,
    )


@case
def unused_init_empty_names() -> onnx.ModelProto:
    n, i = conv_relu(cin=3, cout=8)
    for k in n:
        k.name = ""
    return model(
        n,
        [value("x", [1, 3, 16, 16])],
        [value("c", [1, 8, 16, 16])],
        [*i, weight("unused", (1000,)), const("unused_str", 1, np.int64)],
        13,
    )


@case
def nasty_names() -> onnx.ModelProto:
    n, i = conv_relu(NASTY, "c", 3, 8)
    n[0].name = "conv \x1b[2J/\u202eevil"
    n[1].output[0] = "out \x1b]0;pwned\x07/put"
    return model(
        n,
        [value(NASTY, [1, 3, 16, 16])],
        [value("out \x1b]0;pwned\x07/put", [1, 8, 16, 16])],
        i,
        13,
        name="graph \x1b[5m",
    )


@case
def nasty_unsupported() -> onnx.ModelProto:
    return model(
        [node("Evil\x1b[31mOp", ["x\x1b[2J"], ["y"], name="n\x1b[2Jode\nsecond line", domain="bad\x1b[7mdomain")],
        [value("x\x1b[2J", [1, 3])],
        [value("y", [1, 3])],
        [],
        13,
        extra=[("bad\x1b[7mdomain", 1)],
    )


@case
def dup_node_names() -> onnx.ModelProto:
    n, i = conv_relu(cin=3, cout=8)
    n2, i2 = conv_relu("c", "d", 8, 8)
    for k in n + n2:
        k.name = "same"
    return model(n + n2, [value("x", [1, 3, 16, 16])], [value("d", [1, 8, 16, 16])], i + i2, 13)


@case
def inputs_clash_after_sanitize() -> onnx.ModelProto:
    return model(
        [node("Sub", ["a.b", "a/b"], ["s"]), node("Sub", ["s", "a b"], ["y"])],
        [value("a.b", [4, 8]), value("a/b", [4, 8]), value("a b", [4, 8])],
        [value("y", [4, 8])],
        [],
        13,
    )


@case
def zero_dim_concat() -> onnx.ModelProto:
    return model(
        [node("Concat", ["x", "e"], ["y"], axis=0)],
        [value("x", [3, 4])],
        [value("y", [3, 4])],
        [numpy_helper.from_array(np.zeros((0, 4), np.float32), "e")],
        13,
    )


@case
def huge_dims() -> onnx.ModelProto:
    return model(
        [node("Relu", ["x"], ["r"]), node("MatMul", ["r", "w"], ["y"])],
        [value("x", [2**15, 2**16])],
        [value("y", [2**15, 4])],
        [weight("w", (2**16, 4), 0, 0.01)],
        13,
    )


@case
def huge_dims_2() -> onnx.ModelProto:
    return model([node("Relu", ["x"], ["y"])], [value("x", [2**31, 2**31])], [value("y", [2**31, 2**31])], [], 13)


@case
def unused_input() -> onnx.ModelProto:
    n, i = conv_relu(cin=3, cout=8)
    return model(n, [value("x", [1, 3, 16, 16]), value("never", [4, 4])], [value("c", [1, 8, 16, 16])], i, 13)


@case
def no_inputs() -> onnx.ModelProto:
    return model(
        [node("MatMul", ["a", "b"], ["y"])],
        [],
        [value("y", [16, 16])],
        [weight("a", (16, 64)), weight("b", (64, 16))],
        13,
    )


@case
def identity_only() -> onnx.ModelProto:
    return model([node("Identity", ["x"], ["y"])], [value("x", [4, 8])], [value("y", [4, 8])], [], 13)


@case
def reshape_only() -> onnx.ModelProto:
    return model(
        [node("Reshape", ["x", "s"], ["y"])],
        [value("x", [4, 8])],
        [value("y", [2, 16])],
        [const("s", [2, 16], np.int64)],
        13,
    )


@case
def elementwise_only() -> onnx.ModelProto:
    return model(
        [node("Relu", ["x"], ["r"]), node("Sigmoid", ["r"], ["y"])], [value("x", [4, 8])], [value("y", [4, 8])], [], 13
    )


@case
def shape_only() -> onnx.ModelProto:
    return model([node("Shape", ["x"], ["y"])], [value("x", [4, 8])], [value("y", [2], TensorProto.INT64)], [], 13)


@case
def local_function() -> onnx.ModelProto:
    f = helper.make_function(
        "custom",
        "MyBlock",
        ["a", "w"],
        ["o"],
        [node("MatMul", ["a", "w"], ["m"]), node("Relu", ["m"], ["o"])],
        [helper.make_opsetid("", 17)],
    )
    return model(
        [node("MyBlock", ["x", "w"], ["y"], domain="custom", name="blk")],
        [value("x", [16, 64])],
        [value("y", [16, 64])],
        [weight("w", (64, 64))],
        17,
        extra=[("custom", 1)],
        functions=[f],
    )


@case
def sequence_ops() -> onnx.ModelProto:
    return model(
        [node("SequenceConstruct", ["x", "x"], ["s"]), node("ConcatFromSequence", ["s"], ["y"], axis=0)],
        [value("x", [4, 8])],
        [value("y", [8, 8])],
        [],
        13,
    )


@case
def seq_input() -> onnx.ModelProto:
    g = helper.make_graph(
        [node("ConcatFromSequence", ["s"], ["y"], axis=0)],
        "g",
        [helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, [4, 8])],
        [value("y", None)],
    )
    m = helper.make_model(g, opset_imports=[helper.make_opsetid("", 13)])
    m.ir_version = 8
    return m


@case
def string_input() -> onnx.ModelProto:
    return model(
        [node("Identity", ["x"], ["y"])],
        [value("x", [4], TensorProto.STRING)],
        [value("y", [4], TensorProto.STRING)],
        [],
        13,
    )


@case
def invalid_wrong_shape() -> onnx.ModelProto:
    return model(
        [node("MatMul", ["x", "w"], ["y"])], [value("x", [16, 60])], [value("y", None)], [weight("w", (64, 64))], 13
    )


@case
def invalid_undefined_input() -> onnx.ModelProto:
    return model([node("Add", ["x", "nope"], ["y"])], [value("x", [16, 60])], [value("y", None)], [], 13)


@case
def invalid_cycle() -> onnx.ModelProto:
    return model(
        [node("Add", ["x", "z"], ["y"]), node("Relu", ["y"], ["z"])], [value("x", [16, 60])], [value("z", None)], [], 13
    )


@case
def input_name_colon_equals() -> onnx.ModelProto:
    return model(
        [node("MatMul", ["serving_default:0=x", "w"], ["y"])],
        [value("serving_default:0=x", ["b", "t", 64])],
        [value("y", None)],
        [weight("w", (64, 64))],
        13,
    )


@case
def nms_topk_only_const() -> onnx.ModelProto:
    """an output that folds to a constant"""
    return model(
        [
            node("MatMul", ["x", "w"], ["y"]),
            node("Shape", ["x"], ["s"]),
            node("Cast", ["s"], ["sf"], to=TensorProto.FLOAT),
        ],
        [value("x", [16, 64])],
        [value("y", [16, 64]), value("sf", [2])],
        [weight("w", (64, 64))],
        13,
    )
