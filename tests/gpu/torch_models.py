"""The two models of the GPU check as plain PyTorch modules with seeded weights. Needs PyTorch alone.

`resnet18` is that of He et al. 2015 (table 1); `encoder` is BERT's (Devlin et al. 2018) in the size of the small
sentence encoders: 6 layers of 384 in 12 heads, 128 tokens, a vocabulary of 8,192.
"""

import itertools
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

MODELS = ("resnet18", "encoder")
DTYPES = ("float32", "float16")
TOKENS, WIDTH, HEADS, LAYERS, VOCABULARY = 128, 384, 12, 6, 8192


@dataclass(frozen=True)
class Model:
    """`module` in evaluation mode, float32, on the CPU; `inputs` by name, one seeded set."""

    module: Any
    inputs: dict[str, Any]


def seeded_model(name: str, seed: int = 0) -> Model:
    """The named model; the same (name, seed) gives the same weights and inputs. Raises KeyError for another name."""
    torch.manual_seed(seed)
    module: Any = {"resnet18": ResNet18, "encoder": Encoder}[name]()
    for each in module.modules():
        _fill(each)
    inputs = {
        "resnet18": lambda: {"image": torch.randn(1, 3, 224, 224)},
        "encoder": lambda: {"tokens": torch.randint(0, VOCABULARY, (1, TOKENS))},
    }[name]()
    return Model(module.eval(), inputs)


def _fill(module: Any) -> None:
    """He-normal convolutions, BERT's 0.02 elsewhere, and batch norm statistics such as a trained model has."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.uniform_(module.weight, 0.3, 0.9)
        nn.init.normal_(module.bias, 0.0, 0.1)
        nn.init.normal_(module.running_mean, 0.0, 0.1)
        nn.init.uniform_(module.running_var, 0.5, 1.5)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, 0.0, 1.0)
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0.0, module.in_features**-0.5)
        nn.init.normal_(module.bias, 0.0, 0.02)


class BasicBlock(nn.Module):  # type: ignore[misc]
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Any) -> Any:
        y = functional.relu(self.first_norm(self.first(x)))
        return functional.relu(self.second_norm(self.second(y)) + self.shortcut(x))


class ResNet18(nn.Module):  # type: ignore[misc]
    """Image [n, 3, 224, 224] -> logits [n, 1000]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.stem_norm = nn.BatchNorm2d(64)
        widths = [64, 64, 128, 256, 512]
        self.blocks = nn.Sequential(
            *(
                block
                for inputs, outputs in itertools.pairwise(widths)
                for block in (BasicBlock(inputs, outputs, 1 if outputs == 64 else 2), BasicBlock(outputs, outputs, 1))
            )
        )
        self.head = nn.Linear(512, 1000)

    def forward(self, image: Any) -> Any:
        x = functional.max_pool2d(functional.relu(self.stem_norm(self.stem(image))), 3, 2, 1)
        return self.head(functional.adaptive_avg_pool2d(self.blocks(x), 1).flatten(1))


class EncoderLayer(nn.Module):  # type: ignore[misc]
    """Self-attention and a feed-forward network, each with a residual and a layer norm behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.attention_norm, self.norm = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Any) -> Any:
        def heads(y: Any) -> Any:
            return y.view(1, TOKENS, HEADS, WIDTH // HEADS).transpose(1, 2)

        # With its scale given, the exporter computes none from shapes.
        mixed = functional.scaled_dot_product_attention(
            heads(self.query(x)), heads(self.key(x)), heads(self.value(x)), scale=(WIDTH // HEADS) ** -0.5
        )
        x = self.attention_norm(x + self.out(mixed.transpose(1, 2).reshape(1, TOKENS, WIDTH)))
        return self.norm(x + self.down(functional.gelu(self.up(x))))


class Encoder(nn.Module):  # type: ignore[misc]
    """Tokens [1, 128] -> an embedding of each [1, 128, 384]."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.positions = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(TOKENS, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.layers = nn.Sequential(*(EncoderLayer() for _ in range(LAYERS)))

    def forward(self, tokens: Any) -> Any:
        return self.layers(self.norm(self.words(tokens) + self.positions.weight))
