"""Resize, Upsample, GridSample, RoiAlign: every way of reading coordinates."""

from typing import Any

import numpy as np
import onnx

from tests.cases.parts import case, const, conv_relu, model, node, value


def _resize(
    scales: Any = None, sizes: Any = None, shape: Any = (1, 1, 3, 3), opset: int = 13, conv: bool = False, **attrs: Any
) -> onnx.ModelProto:
    n, i = conv_relu(cin=shape[1], cout=8) if conv else ([], [])
    src = "c" if conv else "x"
    if scales is not None:
        i = [*i, const("scales", scales, np.float32)]
        ins = [src, "", "scales"]
    else:
        i = [*i, const("sizes", sizes, np.int64)]
        ins = [src, "", "", "sizes"]
    n = [*n, node("Resize", ins, ["y"], name="rs", **attrs)]
    return model(n, [value("x", list(shape))], [value("y", None)], i, opset)


@case
def resize_nearest_hp25() -> onnx.ModelProto:
    return _resize([1, 1, 2.5, 2.5], mode="nearest", coordinate_transformation_mode="half_pixel")


@case
def resize_nearest_hp25_conv() -> onnx.ModelProto:
    return _resize(
        [1, 1, 2.5, 2.5],
        None,
        shape=(1, 3, 9, 9),
        conv=True,
        mode="nearest",
        coordinate_transformation_mode="half_pixel",
    )


@case
def resize_nearest_default_down() -> onnx.ModelProto:
    return _resize([1, 1, 0.6, 0.6], shape=(1, 1, 5, 5), mode="nearest")


@case
def resize_nearest_floor_asym() -> onnx.ModelProto:
    return _resize([1, 1, 2, 2], mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")


@case
def resize_nearest_ceil() -> onnx.ModelProto:
    return _resize([1, 1, 1.7, 1.7], mode="nearest", coordinate_transformation_mode="half_pixel", nearest_mode="ceil")


@case
def resize_linear_ac() -> onnx.ModelProto:
    return _resize(sizes=[1, 1, 7, 7], mode="linear", coordinate_transformation_mode="align_corners")


@case
def resize_linear_pthp_to1() -> onnx.ModelProto:
    return _resize(sizes=[1, 1, 1, 1], mode="linear", coordinate_transformation_mode="pytorch_half_pixel")


@case
def resize_cubic() -> onnx.ModelProto:
    return _resize([1, 1, 2.5, 2.5], shape=(1, 1, 4, 4), mode="cubic", coordinate_transformation_mode="half_pixel")


@case
def resize_cubic_a05_conv() -> onnx.ModelProto:
    return _resize(
        sizes=[1, 8, 24, 24],
        shape=(1, 3, 12, 12),
        conv=True,
        mode="cubic",
        coordinate_transformation_mode="align_corners",
        cubic_coeff_a=-0.5,
    )


@case
def resize_axes18() -> onnx.ModelProto:
    return model(
        [node("Resize", ["x", "", "scales"], ["y"], axes=[2, 3], mode="linear")],
        [value("x", [1, 2, 4, 4])],
        [value("y", None)],
        [const("scales", [2, 2], np.float32)],
        18,
    )


@case
def resize_keepaspect18() -> onnx.ModelProto:
    return model(
        [
            node(
                "Resize",
                ["x", "", "", "sizes"],
                ["y"],
                axes=[2, 3],
                mode="linear",
                keep_aspect_ratio_policy="not_larger",
            )
        ],
        [value("x", [1, 2, 4, 8])],
        [value("y", None)],
        [const("sizes", [8, 8], np.int64)],
        18,
    )


@case
def resize_roi_tfcrop() -> onnx.ModelProto:
    return model(
        [
            node(
                "Resize",
                ["x", "roi", "", "sizes"],
                ["y"],
                mode="linear",
                coordinate_transformation_mode="tf_crop_and_resize",
                extrapolation_value=9.0,
            )
        ],
        [value("x", [1, 1, 6, 6])],
        [value("y", None)],
        [const("roi", [0, 0, 0.2, 0.2, 1, 1, 0.8, 1.2], np.float32), const("sizes", [1, 1, 4, 4], np.int64)],
        13,
    )


@case
def upsample9_nearest() -> onnx.ModelProto:
    return model(
        [node("Upsample", ["x", "scales"], ["y"], mode="nearest")],
        [value("x", [1, 1, 3, 3])],
        [value("y", None)],
        [const("scales", [1, 1, 2, 2], np.float32)],
        9,
    )


@case
def gridsample_bil() -> onnx.ModelProto:
    return model(
        [node("GridSample", ["x", "g"], ["y"], mode="bilinear", padding_mode="zeros", align_corners=0)],
        [value("x", [1, 3, 8, 8]), value("g", [1, 5, 6, 2])],
        [value("y", None)],
        [],
        16,
    )


@case
def gridsample_reflect_bicubic() -> onnx.ModelProto:
    return model(
        [node("GridSample", ["x", "g"], ["y"], mode="bicubic", padding_mode="reflection", align_corners=0)],
        [value("x", [1, 3, 8, 8]), value("g", [1, 5, 6, 2])],
        [value("y", None)],
        [],
        16,
    )


@case
def gridsample20_cubic() -> onnx.ModelProto:
    return model(
        [node("GridSample", ["x", "g"], ["y"], mode="cubic", padding_mode="border", align_corners=1)],
        [value("x", [1, 3, 8, 8]), value("g", [1, 5, 6, 2])],
        [value("y", None)],
        [],
        20,
    )


@case
def roialign_hp() -> onnx.ModelProto:
    return model(
        [
            node(
                "RoiAlign",
                ["x", "r", "bi"],
                ["y"],
                output_height=4,
                output_width=4,
                sampling_ratio=2,
                spatial_scale=1.0,
            )
        ],
        [value("x", [1, 2, 10, 10])],
        [value("y", None)],
        [const("r", [[1, 1, 6, 7.5], [0.3, 2, 9, 9.5]], np.float32), const("bi", [0, 0], np.int64)],
        16,
    )


@case
def roialign_hp_scaled() -> onnx.ModelProto:
    return model(
        [
            node(
                "RoiAlign",
                ["x", "r", "bi"],
                ["y"],
                output_height=4,
                output_width=4,
                sampling_ratio=2,
                spatial_scale=0.25,
            )
        ],
        [value("x", [1, 2, 10, 10])],
        [value("y", None)],
        [const("r", [[4, 4, 24, 30], [1.2, 8, 36, 38]], np.float32), const("bi", [0, 0], np.int64)],
        16,
    )
