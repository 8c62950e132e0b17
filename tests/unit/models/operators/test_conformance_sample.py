"""A fixed sample of `make conformance`, in this process; the whole takes ten minutes."""

import warnings
from collections.abc import Mapping

import pytest

from tests.conformance.cases import Case, cases_of
from tests.conformance.scope import frozen, outside
from tests.conformance.verdict import PASSED, judge

# Modules of ONNX's that make the cases, each with those that are run here.
SAMPLE = {
    "affinegrid": ("test_affine_grid_2d",),
    "argmax": ("test_argmax_no_keepdims_example",),
    "attention": (
        "test_attention_4d",
        "test_attention_causal_boolmask_nan_robustness",
    ),
    "averagepool": ("test_averagepool_2d_precomputed_pads",),
    "batch_normalization": ("test_batchnorm_example",),
    "bitshift": ("test_bitshift_right_uint8",),
    "cast": ("test_cast_FLOAT_to_FLOAT16",),
    "center_crop_pad": ("test_center_crop_pad_crop",),
    "clip": ("test_clip_example",),
    "col2im": ("test_col2im",),
    "concat": ("test_concat_1d_axis_0",),
    "conv": ("test_basic_conv_with_padding",),
    "convtranspose": ("test_convtranspose_output_shape",),
    "cumsum": ("test_cumsum_1d",),
    "det": ("test_det_2d",),
    "dft": ("test_dft",),
    "dropout": ("test_dropout_default_mask",),
    "einsum": ("test_einsum_transpose",),
    "eyelike": ("test_eyelike_with_dtype",),
    "gather": ("test_gather_0",),
    "gridsample": ("test_gridsample",),
    "identity": ("test_identity",),
    "isinf": ("test_isinf_negative",),
    "layernormalization": ("test_layer_normalization_2d_axis1",),
    "lpnormalization": ("test_l2normalization_axis_0",),
    "maxpool": ("test_maxpool_with_argmax_2d_precomputed_pads",),
    "maxunpool": ("test_maxunpool_export_with_output_shape",),
    "mod": ("test_mod_mixed_sign_float64",),
    "negativeloglikelihoodloss": ("test_nllloss_NC",),
    "onehot": ("test_onehot_with_axis",),
    "pad": ("test_edge_pad",),
    "pow": ("test_pow_types_int64_int64",),
    "prelu": ("test_prelu_broadcast",),
    "reduce_log_sum_exp": ("test_reduce_log_sum_exp_do_not_keepdims_example",),
    "reducemax": (
        "test_reduce_max_empty_set",
        "test_reduce_max_bool_inputs",
    ),
    "resize": (
        "test_resize_upsample_scales_nearest",
        "test_resize_downsample_scales_cubic",
    ),
    "reversesequence": ("test_reversesequence_time",),
    "rmsnormalization": ("test_rms_normalization_4d_axis0",),
    "scan": ("test_scan9_sum",),
    "scatternd": ("test_scatternd",),
    "shape": ("test_shape_example",),
    "sinh": ("test_sinh_example",),
    "slice": ("test_slice",),
    "softmax": ("test_softmax_example",),
    "spacetodepth": ("test_spacetodepth_crd_mode_example",),
    "split": ("test_split_equal_parts_1d_opset13",),
    "swiglu": ("test_swiglu",),
    "tile": ("test_tile",),
    "topk": ("test_top_k",),
    "upsample": ("test_upsample_nearest",),
    "where": ("test_where_example",),
}


@pytest.fixture(scope="module")
def cases() -> Mapping[str, Case]:
    """Making them warns of overflows that they are about."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {case.name: case for case in cases_of(list(SAMPLE))}


@pytest.mark.parametrize("name", [name for names in SAMPLE.values() for name in names])
def test_the_sample_passes(name: str, cases: Mapping[str, Case]) -> None:
    case = cases[name]
    assert outside(case) is None
    verdict = judge(frozen(case, cases.get(name.split("_expanded")[0])))
    assert verdict.outcome == PASSED, verdict.reason
