"""LSTM and GRU in layers."""

import numpy as np
import onnx

from tests.cases.parts import case, const, model, node, value, weight


def _rnn(op: str, gates: int, direction: str = "forward", layers: int = 1) -> onnx.ModelProto:
    T, width, H, seed = 16, 16, 32, 0
    D = 2 if direction == "bidirectional" else 1
    n, i, src, isz = [], [], "x", width
    for layer in range(layers):
        i += [
            weight(f"w{layer}", (D, gates * H, isz), seed, 0.2),
            weight(f"r{layer}", (D, gates * H, H), seed, 0.2),
            weight(f"b{layer}", (D, 2 * gates * H), seed, 0.1),
        ]
        n += [
            node(
                op,
                [src, f"w{layer}", f"r{layer}", f"b{layer}"],
                [f"h{layer}"],
                hidden_size=H,
                direction=direction,
                name=f"{op}_{layer}",
            ),
            node("Transpose", [f"h{layer}"], [f"t{layer}"], perm=[0, 2, 1, 3]),
            node("Reshape", [f"t{layer}", "rs"], [f"o{layer}"]),
        ]
        src, isz = f"o{layer}", D * H
    i += [const("rs", [T, 1, D * H], np.int64)]
    return model(n, [value("x", [T, 1, width])], [value(src, [T, 1, D * H])], i, 14)


@case
def lstm_bidir2() -> onnx.ModelProto:
    return _rnn("LSTM", 4, "bidirectional", 2)


@case
def gru() -> onnx.ModelProto:
    return _rnn("GRU", 3)
