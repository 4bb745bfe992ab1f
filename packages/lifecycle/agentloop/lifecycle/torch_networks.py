"""The built-in networks, on a feature matrix whose columns ``Layout`` explains.

Training fits them and serving rebuilds them from their weights, so they are here, between both.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isqrt, prod, sqrt
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from agentloop.contracts.errors import TrainingError
from agentloop.lifecycle.feature_layout import Layout

Parameters = dict[str, Any]


class Embedded(nn.Module):
    """Numbers as they are, and each category block as ``width`` numbers.

    A bias-free product with a block of ones and zeros is a look-up in a table; a null or unseen
    category, whose block is all zeros, is zeros here too.
    """

    def __init__(self, layout: Layout, width: int) -> None:
        super().__init__()
        self._layout = layout
        sizes = [min(width, block) for block in layout.blocks]
        self.tables = nn.ModuleList(
            nn.Linear(block, size, bias=False)
            for block, size in zip(layout.blocks, sizes, strict=True)
        )
        self.outputs = layout.numeric + sum(sizes) + layout.text

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        numbers, blocks, text = parts_of(features, self._layout)
        looked_up = [table(block) for table, block in zip(self.tables, blocks, strict=True)]
        return torch.cat([numbers, *looked_up, text], dim=1)


def parts_of(
    features: torch.Tensor, layout: Layout
) -> tuple[torch.Tensor, list[torch.Tensor], torch.Tensor]:
    """The numbers, the category blocks and the text of (rows, width)."""
    sizes = [layout.numeric, *layout.blocks, layout.text]
    pieces = list(torch.split(features, sizes, dim=1))
    return pieces[0], pieces[1:-1], pieces[-1]


def linear(layout: Layout, outputs: int, parameters: Parameters) -> nn.Module:
    return nn.Linear(layout.width, outputs)


def mlp(layout: Layout, outputs: int, parameters: Parameters) -> nn.Module:
    layers: list[Any] = []
    width = layout.width
    if parameters["embedding"] and layout.blocks:
        embedded = Embedded(layout, parameters["embedding"])
        layers.append(embedded)
        width = embedded.outputs
    return nn.Sequential(*layers, *_hidden(width, outputs, parameters))


class FtTransformer(nn.Module):
    """FT-Transformer (Gorishniy et al. 2021, arXiv 2106.11959, sec. 3.3): a token for each column,
    pre-norm attention over them, and the answer from a token of its own."""

    def __init__(self, layout: Layout, outputs: int, parameters: Parameters) -> None:
        super().__init__()
        width: int = parameters["width"]
        if width % parameters["heads"]:
            raise TrainingError(
                f"model.parameters.width ({width}) must be a multiple of heads "
                f"({parameters['heads']})"
            )
        self._layout = layout
        self.weight = nn.Parameter(_uniform(layout.numeric, width))
        self.bias = nn.Parameter(_uniform(layout.numeric, width))
        self.tables = nn.ModuleList(nn.Linear(block, width) for block in layout.blocks)
        self.text = nn.Linear(layout.text, width) if layout.text else None
        self.answer = nn.Parameter(_uniform(1, width))
        self.blocks = nn.ModuleList(
            Block(width, parameters["heads"], parameters["dropout"], first=number == 0)
            for number in range(parameters["blocks"])
        )
        self.head = nn.Sequential(nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, outputs))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        numbers, blocks, text = parts_of(features, self._layout)
        tokens = [self.answer.expand(features.shape[0], 1, -1)]
        if self._layout.numeric:
            tokens.append(numbers.unsqueeze(2) * self.weight + self.bias)
        tokens += [table(b).unsqueeze(1) for table, b in zip(self.tables, blocks, strict=True)]
        if self.text is not None:
            tokens.append(self.text(text).unsqueeze(1))
        hidden = torch.cat(tokens, dim=1)
        for block in self.blocks:
            hidden = block(hidden)
        answer: torch.Tensor = self.head(hidden[:, 0])
        return answer


class Block(nn.Module):
    """Attention, then a gated layer (ReGLU), each on normalised tokens and added to them."""

    def __init__(self, width: int, heads: int, dropout: float, first: bool) -> None:
        super().__init__()
        self._heads = heads
        # The paper leaves out the first normalisation.
        self.before = nn.Identity() if first else nn.LayerNorm(width)
        self.queries = nn.Linear(width, 3 * width)
        self.mixed = nn.Linear(width, width)
        self.between = nn.LayerNorm(width)
        inner = int(width * 4 / 3)
        self.gated = nn.Linear(width, 2 * inner)
        self.out = nn.Linear(inner, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        tokens = tokens + self.dropout(self._attention(self.before(tokens)))
        values, gates = self.gated(self.between(tokens)).chunk(2, dim=-1)
        added: torch.Tensor = tokens + self.out(self.dropout(values * functional.relu(gates)))
        return added

    def _attention(self, tokens: torch.Tensor) -> torch.Tensor:
        rows, count, width = tokens.shape
        size = width // self._heads
        split = self.queries(tokens).reshape(rows, count, 3, self._heads, size)
        query, key, value = split.permute(2, 0, 3, 1, 4).unbind(0)
        weights = torch.softmax(query @ key.transpose(-1, -2) / sqrt(size), dim=-1)
        mixed = (self.dropout(weights) @ value).transpose(1, 2).reshape(rows, count, width)
        out: torch.Tensor = self.mixed(mixed)
        return out


class Cnn(nn.Module):
    """Convolution, pooling, normalisation and ReLU a channel width, then hidden layers. Pooling
    first leaves a quarter of the pixels to the other two.

    Columns come standardised one by one; here they are put back on one scale, so that a picture is
    a picture again.
    """

    def __init__(self, layout: Layout, outputs: int, parameters: Parameters) -> None:
        super().__init__()
        height, width, channels = image_shape(layout, parameters["image"])
        self._shape = (height, width, channels)
        self._shift: int = parameters["shift"]
        means, scales = torch.tensor(layout.means), torch.tensor(layout.scales)
        centre = means.mean()
        spread = torch.sqrt((scales**2 + (means - centre) ** 2).mean())
        self.register_buffer("gain", scales / spread)
        self.register_buffer("offset", (means - centre) / spread)
        layers: list[Any] = []
        for wide in parameters["channels"]:
            layers += [nn.Conv2d(channels, wide, 3, padding=1), nn.MaxPool2d(2, ceil_mode=True)]
            layers += [nn.BatchNorm2d(wide), nn.ReLU()]
            channels, height, width = wide, -(-height // 2), -(-width // 2)
        picture = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(parameters["dropout"]))
        # So laid out, a CPU's convolutions take two thirds of the time.
        self.picture = picture.to(memory_format=torch.channels_last)
        self.answer = nn.Sequential(*_hidden(channels * height * width, outputs, parameters))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        height, width, channels = self._shape
        pixels = features * self.gain + self.offset
        picture = pixels.reshape(-1, height, width, channels).permute(0, 3, 1, 2)
        if self.training and self._shift:
            picture = shifted(picture, self._shift)
        answer: torch.Tensor = self.answer(self.picture(picture))
        return answer


def shifted(picture: torch.Tensor, most: int) -> torch.Tensor:
    """Each picture (rows, channels, height, width) moved by up to ``most`` pixels, its rim
    repeated where it moved in."""
    rows, _, height, width = picture.shape
    padded = functional.pad(picture, (most,) * 4, mode="replicate")
    at = torch.arange(rows, device=picture.device)[:, None, None]
    down, right = torch.randint(0, 2 * most + 1, (2, rows, 1), device=picture.device)
    y = (down + torch.arange(height, device=picture.device))[:, :, None]
    x = (right + torch.arange(width, device=picture.device))[:, None, :]
    return padded.permute(0, 2, 3, 1)[at, y, x].permute(0, 3, 1, 2)


def image_shape(layout: Layout, given: tuple[int, ...] | None) -> tuple[int, int, int]:
    """Height, width and channels. Raises TrainingError unless the columns are such a picture."""
    if layout.blocks or layout.text:
        raise TrainingError(
            "family cnn reads pictures, and there are categories or texts among the columns",
            next_step="choose another model.family, or drop those columns",
        )
    side = isqrt(layout.numeric)
    shape = tuple(given) if given else (side, side)
    if len(shape) == 2:
        shape = (*shape, 1)
    if len(shape) != 3 or prod(shape) != layout.numeric:
        wanted = "×".join(str(size) for size in shape)
        raise TrainingError(
            f"{layout.numeric} columns are no picture of {wanted}",
            next_step="set model.parameters.image: [height, width, channels]",
        )
    return shape[0], shape[1], shape[2]


BUILDERS: dict[str, Callable[[Layout, int, Parameters], nn.Module]] = {
    "linear": linear,
    "mlp": mlp,
    "ft-transformer": FtTransformer,
    "cnn": Cnn,
}


def _hidden(width: int, outputs: int, parameters: Parameters) -> list[Any]:
    layers: list[Any] = []
    for hidden in parameters["hidden"]:
        layers += [nn.Linear(width, hidden), nn.ReLU()]
        if parameters["dropout"]:
            layers.append(nn.Dropout(parameters["dropout"]))
        width = hidden
    return [*layers, nn.Linear(width, outputs)]


def _uniform(rows: int, width: int) -> torch.Tensor:
    bound = 1 / sqrt(width)
    return torch.empty(rows, width).uniform_(-bound, bound)
