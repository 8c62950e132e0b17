"""ONNX Runtime's own operators on floats (domain com.microsoft), as its graph optimiser and exporters write them."""

import math
from typing import Any

import numpy as np
from tvm import relax

from tunefarm_coordinator.models.constants import constant
from tunefarm_coordinator.models.operators.arguments import dtype_of, shape_of
from tunefarm_coordinator.models.operators.family import Conversion, Key, Operator, Unsupported
from tunefarm_coordinator.models.operators.normalisation import by_root_mean_square

DOMAIN = "com.microsoft"


def _product(operator: Operator) -> Any:
    """FusedMatMul: factors of which each may be transposed, and a number."""
    if operator.attributes.get("transBatchA") or operator.attributes.get("transBatchB"):
        raise Unsupported("batches that are transposed")
    left, right = (_turned(operator, index, name) for index, name in enumerate(("transA", "transB")))
    product = operator.emit(relax.op.matmul(left, right))
    alpha = float(operator.attributes.get("alpha", 1.0))
    return product if alpha == 1 else relax.op.multiply(product, relax.const(alpha, dtype_of(operator)))


def _turned(operator: Operator, index: int, name: str) -> Any:
    value, rank = operator.inputs[index], len(shape_of(operator, index))
    if not operator.attributes.get(name, 0) or rank < 2:
        return value
    return operator.emit(relax.op.permute_dims(value, [*range(rank - 2), rank - 1, rank - 2]))


def _biased(operator: Operator) -> Any:
    bias = operator.input(1)
    return operator.inputs[0] if bias is None else operator.emit(relax.op.add(operator.inputs[0], bias))


def _gelu(operator: Operator) -> Any:
    return relax.op.nn.gelu(_biased(operator))


def _fast_gelu(operator: Operator) -> Any:
    return relax.op.nn.gelu_tanh(_biased(operator))


def _quick_gelu(operator: Operator) -> Any:
    value = operator.inputs[0]
    alpha = relax.const(float(operator.attributes.get("alpha", 1.702)), dtype_of(operator))
    gate = operator.emit(relax.op.sigmoid(operator.emit(relax.op.multiply(value, alpha))))
    return relax.op.multiply(value, gate)


def _skip_layer(operator: Operator) -> Any:
    total = _skipped(operator, 4)
    scale, shift = operator.inputs[2], operator.input(3)
    if shift is None:
        shift = constant(np.zeros(shape_of(operator, 2), dtype_of(operator, 2)))
    epsilon = float(operator.attributes.get("epsilon", 1e-12))
    return _with_sum(operator, relax.op.nn.layer_norm(total, scale, shift, [-1], epsilon), total)


def _skip_simplified(operator: Operator) -> Any:
    total = _skipped(operator, 3)
    return _with_sum(operator, by_root_mean_square(operator, total, operator.inputs[2], -1), total)


def _simplified(operator: Operator) -> Any:
    if len(operator.node.output) > 1 and operator.node.output[1]:
        raise Unsupported("its second output")
    if int(operator.attributes.get("axis", -1)) not in (-1, len(shape_of(operator)) - 1):
        raise Unsupported("an axis that is not the last")
    return by_root_mean_square(operator, operator.inputs[0], operator.inputs[1], -1)


def _skipped(operator: Operator, bias_at: int) -> Any:
    total = operator.emit(relax.op.add(operator.inputs[0], operator.inputs[1]))
    bias = operator.input(bias_at)
    return total if bias is None else operator.emit(relax.op.add(total, bias))


def _with_sum(operator: Operator, normal: Any, total: Any) -> list[Any]:
    """Outputs: the result, two that only training reads, the sum."""
    if any(operator.node.output[1:3]):
        raise Unsupported("mean and deviation as outputs")
    return [normal, total, total, total][: len(operator.node.output)]


# Attention


def _attention(operator: Operator) -> Any:
    """Query, key and value from one input by one product (contrib operator Attention, version 1)."""
    if operator.input(4) is not None or operator.attributes.get("do_rotary"):
        raise Unsupported("earlier keys and values, or rotation")
    heads = int(operator.attributes["num_heads"])
    whole = shape_of(operator, 1)[1]
    sizes = [int(it) for it in operator.attributes.get("qkv_hidden_sizes") or [whole // 3] * 3]
    product = operator.emit(relax.op.matmul(operator.inputs[0], operator.inputs[1]))
    if operator.input(2) is not None:
        product = operator.emit(relax.op.add(product, operator.inputs[2]))
    ends = np.cumsum(sizes).tolist()
    starts = [0, *ends[:-1]]
    parts = [
        operator.emit(relax.op.strided_slice(product, [2], [start], [end]))
        for start, end in zip(starts, ends, strict=True)
    ]
    query, key, value = (_by_head(operator, part, heads) for part in parts)
    return _attended(operator, query, key, value, operator.input(3), operator.input(5))


def _multi_head(operator: Operator) -> Any:
    """Query, key and value given apart, each (batch, length, heads x size), key and value perhaps by head."""
    if any(operator.input(index) is not None for index in (6, 7)) or any(operator.node.output[1:]):
        raise Unsupported("earlier keys and values")
    if operator.input(1) is None or operator.input(2) is None or len(shape_of(operator)) != 3:
        raise Unsupported("query, key and value packed into one")
    heads = int(operator.attributes["num_heads"])
    given = [operator.inputs[0], operator.inputs[1], operator.inputs[2]]
    bias = operator.input(3)
    if bias is not None:
        ends = np.cumsum([shape_of(operator, index)[-1] for index in range(3)]).tolist()
        for index, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
            part = operator.emit(relax.op.strided_slice(bias, [0], [start], [end]))
            given[index] = operator.emit(relax.op.add(given[index], part))
    query, key, value = (it if it.ty.ndim == 4 else _by_head(operator, it, heads) for it in given)
    return _attended(operator, query, key, value, operator.input(4), operator.input(5))


def _by_head(operator: Operator, value: Any, heads: int) -> Any:
    batch, length, width = (int(size) for size in value.ty.shape.values)
    apart = operator.emit(relax.op.reshape(value, [batch, length, heads, width // heads]))
    return operator.emit(relax.op.permute_dims(apart, [0, 2, 1, 3]))


def _attended(operator: Operator, query: Any, key: Any, value: Any, mask: Any, bias: Any) -> Any:
    """(batch, length, heads x size) of values, weighted by how the queries match the keys."""
    batch, heads, length, size = (int(it) for it in query.ty.shape.values)
    reach, dtype = int(key.ty.shape.values[2]), str(query.ty.dtype)
    scale = float(operator.attributes.get("scale") or 1 / math.sqrt(size))
    turned = operator.emit(relax.op.permute_dims(key, [0, 1, 3, 2]))
    scores = operator.emit(relax.op.matmul(query, turned))
    scores = operator.emit(relax.op.multiply(scores, relax.const(scale, dtype)))
    for added in (_mask_bias(operator, mask, batch, length, reach, dtype), bias):
        if added is not None:
            scores = operator.emit(relax.op.add(scores, added))
    if operator.attributes.get("unidirectional", 0):
        seen = np.tril(np.ones((length, reach), np.bool_), reach - length)
        lowest = relax.const(np.finfo(dtype).min, dtype)
        scores = operator.emit(relax.op.where(constant(seen), scores, lowest))
    weights = operator.emit(relax.op.nn.softmax(scores, axis=-1))
    mixed = operator.emit(relax.op.matmul(weights, value))
    together = operator.emit(relax.op.permute_dims(mixed, [0, 2, 1, 3]))
    return relax.op.reshape(together, [batch, length, heads * int(value.ty.shape.values[3])])


def _mask_bias(operator: Operator, mask: Any, batch: int, length: int, reach: int, dtype: str) -> Any:
    """What is added to the scores: nothing where the mask is 1. A vector says how many keys each row has."""
    if mask is None:
        return None
    sizes = [int(it) for it in mask.ty.shape.values]
    if sizes == [batch] and (batch, length) != tuple(sizes):
        places = constant(np.arange(reach, dtype=str(mask.ty.dtype))[None, :])
        ends = operator.emit(relax.op.reshape(mask, [batch, 1]))
        mask = operator.emit(relax.op.astype(operator.emit(relax.op.less(places, ends)), "int32"))
        sizes = [batch, reach]
    if sizes == [batch, reach]:
        mask = operator.emit(relax.op.reshape(mask, [batch, 1, 1, reach]))
    elif sizes == [batch, length, reach]:
        mask = operator.emit(relax.op.reshape(mask, [batch, 1, length, reach]))
    else:
        raise Unsupported(f"a mask of {'x'.join(map(str, sizes))}")
    hidden = operator.emit(relax.op.equal(mask, relax.const(0, str(mask.ty.dtype))))
    filled = relax.const(float(operator.attributes.get("mask_filter_value", -10000.0)), dtype)
    return operator.emit(relax.op.where(hidden, filled, relax.const(0, dtype)))


def _rotary(operator: Operator) -> Any:
    """Each pair of numbers turned by an angle that its position gives (Su et al., RoFormer, 2021)."""
    value, shape = operator.inputs[0], shape_of(operator)
    half = shape_of(operator, 2)[1]
    if operator.attributes.get("rotary_embedding_dim") or operator.attributes.get("is_packed_batching"):
        raise Unsupported("rotation of a part, or packed batches")
    by_head = len(shape) == 4
    batch, length = (shape[0], shape[2]) if by_head else shape[:2]
    apart = value if by_head else operator.emit(relax.op.reshape(value, [batch, length, -1, 2 * half]))
    places = operator.inputs[1]
    if len(shape_of(operator, 1)) == 1:
        steps = constant(np.arange(length, dtype=dtype_of(operator, 1))[None, :])
        places = operator.emit(relax.op.add(operator.emit(relax.op.reshape(places, [1, 1])), steps))
    tables = [operator.emit(relax.op.take(operator.inputs[index], places, axis=0)) for index in (2, 3)]
    cosine, sine = (operator.emit(relax.op.expand_dims(it, 1 if by_head else 2)) for it in tables)
    turned = _turned_pairs(operator, apart, cosine, sine, half)
    return turned if by_head else relax.op.reshape(turned, list(shape))


def _turned_pairs(operator: Operator, value: Any, cosine: Any, sine: Any, half: int) -> Any:
    step = 2 if operator.attributes.get("interleaved", 0) else 1
    bounds = ([0], [2 * half]), ([1], [2 * half])
    if step == 1:
        bounds = ([0], [half]), ([half], [2 * half])
    first, second = (operator.emit(relax.op.strided_slice(value, [3], start, end, [step])) for start, end in bounds)

    def mixed(one: Any, other: Any, combine: Any) -> Any:
        left = operator.emit(relax.op.multiply(first, one))
        return operator.emit(combine(left, operator.emit(relax.op.multiply(second, other))))

    real, imaginary = mixed(cosine, sine, relax.op.subtract), mixed(sine, cosine, relax.op.add)
    if step == 1:
        return operator.emit(relax.op.concat([real, imaginary], 3))
    stacked = [operator.emit(relax.op.expand_dims(it, 4)) for it in (real, imaginary)]
    shape = [int(size) for size in value.ty.shape.values]
    return operator.emit(relax.op.reshape(operator.emit(relax.op.concat(stacked, 4)), shape))


CONVERSIONS: dict[Key, Conversion] = {
    ("", "SimplifiedLayerNormalization"): _simplified,
    (DOMAIN, "Attention"): _attention,
    (DOMAIN, "BiasGelu"): _gelu,
    (DOMAIN, "FastGelu"): _fast_gelu,
    (DOMAIN, "FusedMatMul"): _product,
    (DOMAIN, "Gelu"): _gelu,
    (DOMAIN, "MultiHeadAttention"): _multi_head,
    (DOMAIN, "QuickGelu"): _quick_gelu,
    (DOMAIN, "RotaryEmbedding"): _rotary,
    (DOMAIN, "SimplifiedLayerNormalization"): _simplified,
    (DOMAIN, "SkipLayerNormalization"): _skip_layer,
    (DOMAIN, "SkipSimplifiedLayerNormalization"): _skip_simplified,
}
