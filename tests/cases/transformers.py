"""Attention, token tables, normalisations, the operators of ONNX Runtime."""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.cases.parts import case, const, model, node, value, weight


def transformer(dt: Any = np.float32, ids: bool = False, gelu: str = "erf", opset: int = 17) -> onnx.ModelProto:
    """One block; `ids`: with token ids and an expanded mask in front."""
    S, Hd, heads, vocab = 16, 64, 2, 32
    t = TensorProto.FLOAT16 if dt == np.float16 else TensorProto.FLOAT
    d = Hd // heads
    i = [
        weight("ln_g", (Hd,), 1, 0.1, dt),
        weight("ln_b", (Hd,), 2, 0.1, dt),
        weight("wqkv", (Hd, 3 * Hd), 3, 0.125, dt),
        weight("bqkv", (3 * Hd,), 3, 0.1, dt),
        weight("wo", (Hd, Hd), 4, 0.125, dt),
        weight("w1", (Hd, 2 * Hd), 5, 0.125, dt),
        weight("b1", (2 * Hd,), 5, 0.1, dt),
        weight("w2", (2 * Hd, Hd), 6, 0.1, dt),
        weight("wl", (Hd, vocab), 7, 0.125, dt),
        const("scale", 1 / np.sqrt(d), dt),
        const("half", 0.5, dt),
        const("one", 1, dt),
        const("isq2", 1 / np.sqrt(2), dt),
        const("sh4", [0, 0, heads, d], np.int64),
        const("sh3", [0, 0, Hd], np.int64),
    ]
    n, ins = [], []
    if ids:
        i += [weight("emb", (vocab, Hd), 8, 1.0, dt), weight("pos", (64, Hd), 9, 0.3, dt)]
        b, s = 1, S
        ins = [value("input_ids", [b, s], TensorProto.INT64), value("attention_mask", [b, s], TensorProto.INT64)]
        i += [
            const("i0", 0, np.int64),
            const("i1", 1, np.int64),
            const("ax0", [0], np.int64),
            const("ax1", [1], np.int64),
            const("ax12", [1, 2], np.int64),
            const("neg", -1e4, dt),
            const("zero", 0, dt),
            const("m1", [-1], np.int64),
        ]
        n += [
            node("Gather", ["emb", "input_ids"], ["e"]),
            node("Shape", ["input_ids"], ["ish"]),
            node("Gather", ["ish", "i1"], ["slen"]),
            node("Gather", ["ish", "i0"], ["blen"]),
            node("Range", ["i0", "slen", "i1"], ["ar"]),
            node("Unsqueeze", ["ar", "ax0"], ["ar1"]),
            node("Unsqueeze", ["blen", "ax0"], ["b1d"]),
            node("Unsqueeze", ["slen", "ax0"], ["s1d"]),
            node("Concat", ["b1d", "s1d"], ["bs"], axis=0),
            node("Expand", ["ar1", "bs"], ["pid"]),
            node("Gather", ["pos", "pid"], ["pe"]),
            node("Add", ["e", "pe"], ["x"]),
            node("Cast", ["attention_mask"], ["mb"], to=TensorProto.BOOL),
            node("Unsqueeze", ["mb", "ax12"], ["mb4"]),
            node("Concat", ["b1d", "one1", "s1d", "s1d"], ["msh"], axis=0),
            node("ConstantOfShape", ["msh"], ["negs"], value=helper.make_tensor("v", t, [1], [-10000.0])),
            node("ConstantOfShape", ["msh"], ["zeros"], value=helper.make_tensor("v", t, [1], [0.0])),
            node("Expand", ["mb4", "msh"], ["mexp"]),
            node("Where", ["mexp", "zeros", "negs"], ["mask"]),
        ]
        i += [const("one1", [1], np.int64)]
    else:
        ins = [value("x", [1, S, Hd], t)]
    if opset >= 17:
        n += [node("LayerNormalization", ["x", "ln_g1", "ln_b"], ["ln"], axis=-1, name="ln1")]
        i += [numpy_helper.from_array((1 + numpy_helper.to_array(i[0])).astype(dt), "ln_g1")]
    else:
        n += [node("Identity", ["x"], ["ln"])]
    n += [
        node("MatMul", ["ln", "wqkv"], ["qkv0"]),
        node("Add", ["qkv0", "bqkv"], ["qkv"]),
        node("Split", ["qkv"], ["q", "k", "v"], axis=2),
    ]
    for z in "qkv":
        n += [
            node("Reshape", [z, "sh4"], [z + "4"]),
            node("Transpose", [z + "4"], [z + "h"], perm=[0, 2, 1, 3] if z != "k" else [0, 2, 3, 1]),
        ]
    n += [node("MatMul", ["qh", "kh"], ["qk"]), node("Mul", ["qk", "scale"], ["qks"])]
    a = "qks"
    if ids:
        n += [node("Add", ["qks", "mask"], ["qkm"])]
        a = "qkm"
    n += [
        node("Softmax", [a], ["att"], axis=-1),
        node("MatMul", ["att", "vh"], ["ctx"]),
        node("Transpose", ["ctx"], ["ctxt"], perm=[0, 2, 1, 3]),
        node("Reshape", ["ctxt", "sh3"], ["ctx3"]),
        node("MatMul", ["ctx3", "wo"], ["ao"]),
        node("Add", ["ao", "x"], ["res"]),
        node("MatMul", ["res", "w1"], ["f0"]),
        node("Add", ["f0", "b1"], ["f1"]),
    ]
    if gelu == "erf":
        n += [
            node("Mul", ["f1", "isq2"], ["g0"]),
            node("Erf", ["g0"], ["g1"]),
            node("Add", ["g1", "one"], ["g2"]),
            node("Mul", ["f1", "g2"], ["g3"]),
            node("Mul", ["g3", "half"], ["g"]),
        ]
    else:
        n += [node("Gelu", ["f1"], ["g"], approximate=gelu)]
    n += [
        node("MatMul", ["g", "w2"], ["ff"]),
        node("Add", ["ff", "res"], ["o"]),
        node("MatMul", ["o", "wl"], ["lg"]),
        node("LogSoftmax", ["lg"], ["y"], axis=-1),
    ]
    used = {x for k in n for x in k.input}
    i = [x for x in i if x.name in used]
    if opset >= 18:
        for k in n:
            if k.op_type == "Split":
                k.attribute.append(helper.make_attribute("num_outputs", 3))
    return model(n, ins, [value("y", [1, S, vocab], t)], i, opset)


@case
def transformer_fp32() -> onnx.ModelProto:
    return transformer()


@case
def transformer_fp16() -> onnx.ModelProto:
    return transformer(np.float16)


@case
def transformer_gelu20() -> onnx.ModelProto:
    return transformer(gelu="none", opset=20)


@case
def transformer_gelu20_tanh() -> onnx.ModelProto:
    return transformer(gelu="tanh", opset=20)


@case
def transformer_static_ids() -> onnx.ModelProto:
    return transformer(ids=True)


@case
def layernorm_axis1_nobias() -> onnx.ModelProto:
    return model(
        [node("LayerNormalization", ["x", "s"], ["y"], axis=1)],
        [value("x", [2, 8, 16])],
        [value("y", None)],
        [weight("s", (8, 16), 1, 0.5)],
        17,
    )


@case
def attention23() -> onnx.ModelProto:
    return model(
        [node("Attention", ["q", "k", "v"], ["y"], q_num_heads=2, kv_num_heads=2)],
        [value("q", [1, 16, 64]), value("k", [1, 16, 64]), value("v", [1, 16, 64])],
        [value("y", None)],
        [],
        23,
        ir=11,
    )


@case
def rmsnorm23() -> onnx.ModelProto:
    return model(
        [node("RMSNormalization", ["x", "s"], ["y"], axis=-1)],
        [value("x", [1, 16, 64])],
        [value("y", None)],
        [weight("s", (64,), 1, 0.5)],
        23,
        ir=11,
    )


def _ms(op: str, ins: list[Any], inits: list[Any], oshape: list[int], **kw: Any) -> onnx.ModelProto:
    names = [it.name for it in (*ins, *inits)]
    nodes = [node(op, names, ["y"], domain="com.microsoft", name=f"ms_{op}", **kw)]
    return model(nodes, ins, [value("y", oshape)], inits, 17, extra=[("com.microsoft", 1)])


@case
def ms_fusedmatmul() -> onnx.ModelProto:
    return _ms("FusedMatMul", [value("x", [16, 64])], [weight("w", (64, 64))], alpha=0.5, transB=1, oshape=[16, 64])


@case
def ms_gelu() -> onnx.ModelProto:
    return _ms("Gelu", [value("x", [16, 64])], [], oshape=[16, 64])


@case
def ms_biasgelu() -> onnx.ModelProto:
    return _ms("BiasGelu", [value("x", [16, 64])], [weight("b", (64,), 0, 0.5)], oshape=[16, 64])


@case
def ms_fastgelu() -> onnx.ModelProto:
    return _ms("FastGelu", [value("x", [16, 64])], [weight("b", (64,), 0, 0.5)], oshape=[16, 64])


@case
def ms_skiplayernorm() -> onnx.ModelProto:
    return _ms(
        "SkipLayerNormalization",
        [value("x", [1, 16, 64]), value("s", [1, 16, 64])],
        [weight("g", (64,), 0, 0.5), weight("b", (64,), 1, 0.5), weight("bi", (64,), 2, 0.5)],
        epsilon=1e-5,
        oshape=[1, 16, 64],
    )


@case
def ms_skiplayernorm_2out() -> onnx.ModelProto:
    return model(
        [
            node(
                "SkipLayerNormalization",
                ["x", "s", "g", "b"],
                ["y", "", "", "sum"],
                domain="com.microsoft",
                epsilon=1e-5,
                name="sln",
            ),
            node("Add", ["y", "sum"], ["z"]),
        ],
        [value("x", [1, 16, 64]), value("s", [1, 16, 64])],
        [value("z", [1, 16, 64])],
        [weight("g", (64,), 0, 0.5), weight("b", (64,), 1, 0.5)],
        17,
        extra=[("com.microsoft", 1)],
    )


@case
def ms_attention() -> onnx.ModelProto:
    return _ms(
        "Attention",
        [value("x", [1, 16, 64])],
        [weight("w", (64, 192)), weight("b", (192,), 0, 0.1)],
        num_heads=2,
        oshape=[1, 16, 64],
    )


@case
def ms_attention_mask() -> onnx.ModelProto:
    return model(
        [node("Attention", ["x", "w", "b", "m"], ["y"], domain="com.microsoft", num_heads=2)],
        [value("x", [1, 16, 64]), value("m", [1, 16], TensorProto.INT32)],
        [value("y", [1, 16, 64])],
        [weight("w", (64, 192)), weight("b", (192,), 0, 0.1)],
        17,
        extra=[("com.microsoft", 1)],
    )


@case
def ms_embedlayernorm() -> onnx.ModelProto:
    i = [
        weight("we", (32, 64)),
        weight("pe", (64, 64)),
        weight("se", (2, 64)),
        weight("g", (64,), 0, 0.5),
        weight("b", (64,), 1, 0.5),
    ]
    return model(
        [
            node(
                "EmbedLayerNormalization",
                ["ids", "seg", "we", "pe", "se", "g", "b"],
                ["y", "mi"],
                domain="com.microsoft",
            )
        ],
        [value("ids", [1, 16], TensorProto.INT32), value("seg", [1, 16], TensorProto.INT32)],
        [value("y", [1, 16, 64])],
        i,
        17,
        extra=[("com.microsoft", 1)],
    )


@case
def bert_token_types() -> onnx.ModelProto:
    """input_ids, token_type_ids (2 rows), attention_mask: BERT's own interface."""
    Hd, V, S = 64, 32, 16
    i = [
        weight("we", (V, Hd), 1, 1.0),
        weight("te", (2, Hd), 2, 1.0),
        weight("w", (Hd, Hd), 3),
        weight("w2", (Hd, 2), 4),
        const("ax", [2], np.int64),
    ]
    n = [
        node("Gather", ["we", "input_ids"], ["a"]),
        node("Gather", ["te", "token_type_ids"], ["b"]),
        node("Add", ["a", "b"], ["e"]),
        node("MatMul", ["e", "w"], ["h0"]),
        node("Tanh", ["h0"], ["h"]),
        node("Cast", ["attention_mask"], ["m"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["m", "ax"], ["m3"]),
        node("Mul", ["h", "m3"], ["hm"]),
        node("MatMul", ["hm", "w2"], ["logits"]),
    ]
    return model(
        n,
        [value(k, ["batch", S], TensorProto.INT64) for k in ("input_ids", "token_type_ids", "attention_mask")],
        [value("logits", ["batch", S, 2])],
        i,
        13,
    )


@case
def gather_offset_reduce() -> onnx.ModelProto:
    """RoBERTa-like: position embedding at ids + 2, mean pooled; the table has few rows."""
    i = [weight("pe", (12, 1024), 1, 1.0), const("two", 2, np.int64), const("ax", [1], np.int64)]
    return model(
        [
            node("Add", ["ids", "two"], ["p"]),
            node("Gather", ["pe", "p"], ["e"]),
            node("ReduceSum", ["e", "ax"], ["y"], keepdims=0),
        ],
        [value("ids", [1, 64], TensorProto.INT64)],
        [value("y", [1, 1024])],
        i,
        13,
    )


@case
def gather_offset_reduce_far() -> onnx.ModelProto:
    i = [weight("pe", (4096, 1024), 1, 1.0), const("off", 4000, np.int64), const("ax", [1], np.int64)]
    return model(
        [
            node("Add", ["ids", "off"], ["p"]),
            node("Gather", ["pe", "p"], ["e"]),
            node("ReduceSum", ["e", "ax"], ["y"], keepdims=0),
        ],
        [value("ids", [1, 64], TensorProto.INT64)],
        [value("y", [1, 1024])],
        i,
        13,
    )


@case
def attention_kv_past() -> onnx.ModelProto:
    """decoder step with past key/value as inputs and outputs."""
    i = [
        weight("wq", (64, 64), 1),
        weight("wk", (64, 64), 2),
        weight("wv", (64, 64), 3),
        const("sc", 0.125, np.float32),
    ]
    n = [
        node("MatMul", ["x", "wq"], ["q"]),
        node("MatMul", ["x", "wk"], ["k"]),
        node("MatMul", ["x", "wv"], ["v"]),
        node("Concat", ["pk", "k"], ["nk"], axis=1),
        node("Concat", ["pv", "v"], ["nv"], axis=1),
        node("Transpose", ["nk"], ["kt"], perm=[0, 2, 1]),
        node("MatMul", ["q", "kt"], ["s"]),
        node("Mul", ["s", "sc"], ["ss"]),
        node("Softmax", ["ss"], ["p"], axis=-1),
        node("MatMul", ["p", "nv"], ["y"]),
    ]
    return model(
        n,
        [value("x", [1, 1, 64]), value("pk", [1, "past", 64]), value("pv", [1, "past", 64])],
        [value("y", [1, 1, 64]), value("nk", [1, "p1", 64]), value("nv", [1, "p1", 64])],
        i,
        13,
    )


@case
def bert_mask_classic() -> onnx.ModelProto:
    """The classic extended mask of BERT exports: (1 - mask[:, None, None, :]) * -10000, added to the scores."""
    i = [
        weight("we", (32, 64), 1, 1.0),
        weight("wq", (64, 64), 2),
        weight("wk", (64, 64), 3),
        weight("wv", (64, 64), 4),
        const("sh4", [0, 0, 2, 32], np.int64),
        const("sh3", [0, 0, 64], np.int64),
        const("ax", [1, 2], np.int64),
        const("one", 1, np.float32),
        const("m", -10000, np.float32),
        const("s", 32**-0.5, np.float32),
    ]
    n = [
        node("Gather", ["we", "input_ids"], ["x"]),
        node("Unsqueeze", ["attention_mask", "ax"], ["mu"]),
        node("Cast", ["mu"], ["mf"], to=TensorProto.FLOAT),
        node("Sub", ["one", "mf"], ["mi"]),
        node("Mul", ["mi", "m"], ["mask"]),
    ]
    for z in "qkv":
        n += [
            node("MatMul", ["x", f"w{z}"], [z]),
            node("Reshape", [z, "sh4"], [z + "4"]),
            node("Transpose", [z + "4"], [z + "h"], perm=[0, 2, 3, 1] if z == "k" else [0, 2, 1, 3]),
        ]
    n += [
        node("MatMul", ["qh", "kh"], ["qk"]),
        node("Mul", ["qk", "s"], ["qs"]),
        node("Add", ["qs", "mask"], ["qm"]),
        node("Softmax", ["qm"], ["p"], axis=-1),
        node("MatMul", ["p", "vh"], ["c"]),
        node("Transpose", ["c"], ["ct"], perm=[0, 2, 1, 3]),
        node("Reshape", ["ct", "sh3"], ["y"]),
    ]
    return model(
        n,
        [value("input_ids", ["b", "s"], TensorProto.INT64), value("attention_mask", ["b", "s"], TensorProto.INT64)],
        [value("y", None)],
        i,
        13,
    )


@case
def unused_token_types() -> onnx.ModelProto:
    """DistilBERT-like export that still lists token_type_ids."""
    i = [weight("we", (32, 64), 1, 1.0), weight("w", (64, 64), 3)]
    return model(
        [node("Gather", ["we", "input_ids"], ["a"]), node("MatMul", ["a", "w"], ["y"])],
        [value("input_ids", ["b", 16], TensorProto.INT64), value("token_type_ids", ["b", 16], TensorProto.INT64)],
        [value("y", None)],
        i,
        13,
    )
