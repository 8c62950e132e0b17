"""The kernels of `make bench-kernels`, out of real models. Committed, so that a figure is always of the same list."""

from kernel_models import (
    Row,
    attention,
    batched,
    concatenation,
    convolution,
    dense,
    global_pool,
    layer_norm,
    lookup,
    mean,
    resize,
    single,
    transposed,
)

_POOL = {"kernel_shape": [2, 2], "strides": [2, 2]}
_WIDE_POOL = {"kernel_shape": [5, 5], "strides": [1, 1], "pads": [2] * 4}
_STEM_POOL = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4}
_AVERAGE = {"kernel_shape": [3, 3], "strides": [1, 1], "pads": [1] * 4}

ROWS: tuple[Row, ...] = (
    # 1x1
    convolution("yolo", (32, 80, 80), 32, 1, act="silu"),
    convolution("yolo", (128, 40, 40), 64, 1, act="silu"),
    convolution("yolo", (384, 20, 20), 128, 1, act="silu"),
    convolution("yolo", (256, 10, 10), 256, 1, act="silu"),
    convolution("squeezenet", (64, 55, 55), 16, 1, act="relu"),
    convolution("squeezenet", (16, 55, 55), 64, 1, act="relu"),
    convolution("squeezenet", (512, 13, 13), 1000, 1, act="relu"),
    convolution("resnet50", (64, 56, 56), 256, 1, act="relu", residual=True),
    convolution("resnet50", (1024, 14, 14), 256, 1, act="relu"),
    convolution("ppocr", (96, 24, 160), 24, 1),
    convolution("ppocr", (200, 6, 160), 200, 1, act="hardswish"),
    convolution("direction", (16, 3, 96), 88, 1, act="hardswish"),
    # 3x3 and wider
    convolution("yolo", (3, 320, 320), 16, 3, 2, act="silu"),
    convolution("yolo", (16, 160, 160), 32, 3, 2, act="silu"),
    convolution("yolo", (64, 40, 40), 64, 3, act="silu"),
    convolution("yolo", (128, 20, 20), 128, 3, 2, act="silu"),
    convolution("yolo", (64, 20, 20), 64, 3, act="silu", residual=True),
    convolution("squeezenet", (16, 55, 55), 64, 3, act="relu"),
    convolution("squeezenet", (48, 13, 13), 192, 3, act="relu"),
    convolution("resnet50", (64, 56, 56), 64, 3, act="relu"),
    convolution("resnet50", (512, 7, 7), 512, 3, act="relu"),
    convolution("dnsmos", (32, 225, 40), 32, 3, act="relu"),
    convolution("deeplab", (64, 33, 33), 64, 3, act="relu", dilation=6),
    convolution("ppocr6", (64, 20, 20), 64, 5, act="relu"),
    convolution("resnet50", (3, 224, 224), 64, 7, 2, act="relu"),
    convolution("wake word", (24, 38, 16), 24, (3, 1), act="relu"),
    # depthwise and grouped
    convolution("mobilenet", (64, 56, 56), 64, 3, act="relu", groups=64),
    convolution("mobilenet", (144, 56, 56), 144, 3, 2, act="relu", groups=144),
    convolution("direction", (200, 2, 96), 200, 5, act="hardswish", groups=200),
    convolution("ppocr6", (96, 80, 80), 96, 7, groups=96),
    convolution("shufflenet", (272, 14, 14), 272, 1, act="relu", groups=4),
    convolution("resnext", (128, 28, 28), 128, 3, act="relu", groups=32),
    # transposed
    transposed("ppocr", (24, 80, 80), 24, 2, 2),
    transposed("unet", (64, 16, 16), 32, 4, 2, 1),
    # one dimension
    convolution("spindles", (32, 7500), 32, 7, act="relu"),
    convolution("kws", (64, 500), 64, 3, 2, act="relu"),
    convolution("melspectrogram", (1, 16000), 257, 512, 160, pad=False),
    # dense and batched
    dense("resnet50", 1, 2048, 1000),
    dense("shufflenet", 1, 544, 1000),
    dense("minilm", 64, 384, 384),
    dense("minilm", 64, 384, 1536, act="gelu"),
    dense("bert", 128, 768, 768),
    dense("dnsmos", 901, 161, 64, act="relu"),
    dense("ppocr6", 40, 120, 6625),
    batched("minilm", 12, 64, 32, 64),
    batched("bert", 12, 128, 64, 128),
    attention("minilm", 12, 64, 32),
    attention("vit", 8, 197, 64),
    # one pass over memory
    single("bert softmax 12x128x128", "Softmax", (1, 12, 128, 128), {"axis": -1}),
    single("ppocr softmax 40x6625", "Softmax", (1, 40, 6625), {"axis": -1}),
    single("yolo softmax 4x16x2100 axis 2", "Softmax", (1, 4, 16, 2100), {"axis": 2}),
    layer_norm("minilm", 64, 384),
    layer_norm("vit", 197, 768),
    single("yolo max pool 5x5/1 128x10x10", "MaxPool", (1, 128, 10, 10), _WIDE_POOL, image=True),
    single("resnet50 max pool 3x3/2 64x112x112", "MaxPool", (1, 64, 112, 112), _STEM_POOL, image=True),
    single("squeezenet max pool 2x2/2 128x54x54", "MaxPool", (1, 128, 54, 54), _POOL, image=True),
    single("ppocr average pool 3x3/1 96x24x80", "AveragePool", (1, 96, 24, 80), _AVERAGE, image=True),
    global_pool("resnet50", (2048, 7, 7)),
    resize("yolo", (128, 20, 20), 2, "nearest"),
    resize("deeplab", (64, 33, 33), 4, "linear"),
    concatenation("yolo", (40, 40), (128, 64)),
    concatenation("ppocr", (80, 80), (24, 24, 24, 24)),
    single("bert transpose 128x12x64 heads", "Transpose", (1, 128, 12, 64), {"perm": [0, 2, 1, 3]}),
    single("yolo transpose 84x2100", "Transpose", (1, 84, 2100), {"perm": [0, 2, 1]}),
    single("shufflenet shuffle 4x68x28x28", "Transpose", (1, 4, 68, 28, 28), {"perm": [0, 2, 1, 3, 4]}),
    lookup("minilm", 30522, 384, 64),
    mean("nmp", 172, 264),
)
