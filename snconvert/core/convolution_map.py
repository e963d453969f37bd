"""A convolution as the linear map that it is: where each tap of its kernel reads and writes.

With a kernel read as a stack `(b, k*m, n)`, tap `t` holds the matrix `W_t` of shape `(m, n)`, and
the convolution maps inputs of `m` channels to outputs of `n` channels, block by block:

    y[o] = sum over t of x[o * stride + t * dilation - before] W_t,    x = 0 outside the input.

A transposed convolution is the adjoint of such a map, which has the same norm. Like `MatrixView`
this is data, not code: the same numbers drive numpy in the file carrier and `keras.ops` in the
layers.

Three norms, with `R` that of the matrix view and `c` the product of `ceil(k / stride)`:

- `T`, of the map at one input size. `R <= T <= sqrt(c) R`; the lower half needs one output that
  sees nothing but the input.
- `S`, the supremum of `T` over all input sizes: that of `|M(w)|` over the frequencies `w`, where
  `M(w)` is the symbol, after strides were turned into channels (polyphase).
- the bound of `S` by a grid. Where the input size is not known, or too large, the map is taken on
  a torus of `N` outputs an axis, whose norm is the largest `|M(w)|` over `N` frequencies an axis.
  For a fixed vector `|M(w) y|^2` is a trigonometric polynomial of degree `D = ceil(k / stride) - 1`
  in each frequency, and at a distance of `d <= pi / D` from its maximum `p` such a polynomial is
  at least `p cos(D d)` (M. Riesz). A frequency of the grid is at most `pi / N` away, on each axis
  in turn, so `S` is at most the torus' norm over the root of the product of `cos(pi D / N)`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from snconvert.errors import SourceError

Sizes = tuple[int, ...]

_LARGEST = 1 << 22  # numbers of inputs or outputs up to which the map itself is taken
_MOST = 1 << 27  # the same of the coarsest torus: strides with a large dilation may take any
_FINE = {1: 32, 2: 16}  # frequencies for each degree: the bound is 0.2 and 1.9 % above the grid's
_COARSE, _COARSEST = 8, 4  # of higher ranks, 13 %; and where the torus would be too large


@dataclass(frozen=True, slots=True)
class Convolution:
    """A convolution as a map: where the taps of its kernel read and write; one entry an axis.

    Attributes:
        kernel: Sizes of the kernel.
        strides: Steps on the input from one output to the next.
        dilation: Steps on the input from one tap to the next.
        before: Zeros before the input.
        inputs: Sizes of the input; of a transposed convolution, of what the layer puts out.
        outputs: Sizes of the output; of a transposed convolution, of what the layer takes in.
        on_torus: Whether it is on a torus, as a bound for every input size.
    """

    kernel: Sizes
    strides: Sizes
    dilation: Sizes
    before: Sizes
    inputs: Sizes
    outputs: Sizes
    on_torus: bool = False

    @classmethod
    def over_all_sizes(
        cls, kernel: Sizes, strides: Sizes, dilation: Sizes, channels: int = 1
    ) -> Convolution:
        """Returns the map on a torus that bounds the norm at every input size.

        Args:
            kernel: Sizes of the kernel.
            strides: Its strides.
            dilation: Its dilation, which changes the frequencies' names and so nothing.
            channels: How many numbers an input or output position has.

        Example:
            >>> torus = Convolution.over_all_sizes((3, 3), (1, 1), (2, 2))
            >>> torus.outputs, round(torus.factor, 4)
            ((32, 32), 1.0196)
        """
        common = tuple(map(math.gcd, strides, dilation))
        strides = tuple(s // g for s, g in zip(strides, common, strict=True))
        dilation = tuple(
            1 if s == 1 else d // g for s, d, g in zip(strides, dilation, common, strict=True)
        )
        degrees = tuple((k - 1) * d // s for k, s, d in zip(kernel, strides, dilation, strict=True))
        fine = _FINE.get(len(kernel), _COARSE)
        positions = math.prod(max(1, fine * d) * s for d, s in zip(degrees, strides, strict=True))
        while fine > _COARSEST and positions * channels > _LARGEST:
            fine //= 2
            positions >>= sum(d > 0 for d in degrees)
        outputs = tuple(max(1, fine * d) for d in degrees)
        inputs = tuple(o * s for o, s in zip(outputs, strides, strict=True))
        return cls(kernel, strides, dilation, (0,) * len(kernel), inputs, outputs, on_torus=True)

    @property
    def reach(self) -> Sizes:
        """How much of the input, with the zeros around it, the outputs read."""
        axes = zip(self.outputs, self.strides, self.kernel, self.dilation, strict=True)
        return tuple((o - 1) * s + (k - 1) * d + 1 for o, s, k, d in axes)

    @property
    def overlap(self) -> int:
        """How many taps may read the same number of the input: the `c` above."""
        axes = zip(self.kernel, self.strides, self.dilation, strict=True)
        return math.prod(-(-k * math.gcd(s, d) // s) for k, s, d in axes)

    @property
    def degrees(self) -> Sizes:
        """The degree of the symbol in each frequency."""
        axes = zip(self.kernel, self.strides, self.dilation, strict=True)
        return tuple((k - 1) * d // s for k, s, d in axes)

    @property
    def factor(self) -> float:
        """What the map's norm is multiplied by, to be a bound for every input size; 1 for `T`."""
        if not self.on_torus:
            return 1.0
        axes = zip(self.degrees, self.outputs, strict=True)
        return math.prod(math.cos(math.pi * d / n) for d, n in axes) ** -0.5

    @property
    def has_interior_output(self) -> bool:
        """Whether some output sees nothing but the input, so that `R <= T`."""
        if self.on_torus:
            return True
        for axis, size in enumerate(self.inputs):
            first = -(-self.before[axis] // self.strides[axis])  # the first that starts inside
            start = first * self.strides[axis] - self.before[axis]
            end = start + (self.kernel[axis] - 1) * self.dilation[axis]
            if first >= self.outputs[axis] or end >= size:
                return False
        return True

    @property
    def same_norm_as_matrix(self) -> bool:
        """Whether the norm is that of the matrix view, `T = R`."""
        return self.has_interior_output and (self.overlap == 1 or math.prod(self.outputs) == 1)

    def range(self, norm: float) -> tuple[float, float]:
        """Returns the least and the greatest norm that the map can have.

        Args:
            norm: The norm of the matrix view.

        Example:
            >>> Convolution.over_all_sizes((3, 3), (1, 1), (1, 1)).range(2.0)
            (2.0, 6.0)
        """
        return norm if self.has_interior_output else 0.0, math.sqrt(self.overlap) * norm


def joint_range(norms: Iterable[tuple[Convolution | None, float]]) -> tuple[float, float] | None:
    """Returns the least and greatest that the largest norm of a layer's maps can be.

    Args:
        norms: The convolution that each kernel makes, `None` if none, and the norm of its matrix.

    Returns:
        `None` if there is no convolution.
    """
    known = list(norms)
    if all(conv is None for conv, _ in known):
        return None
    ranges = [(norm, norm) if conv is None else conv.range(norm) for conv, norm in known]
    return max(low for low, _ in ranges), max(high for _, high in ranges)


def at_size(
    sizes: tuple[int | None, ...],
    kernel: Sizes,
    strides: Sizes,
    dilation: Sizes,
    padding: str,
    stack: Sizes,
) -> Convolution:
    """Returns the map of a convolution layer, or that over all sizes where it cannot be taken.

    Args:
        sizes: Of the layer's input; `None` where unknown.
        kernel: Sizes of the kernel.
        strides: Its strides.
        dilation: Its dilation.
        padding: `valid`, `same` (split as TensorFlow does, with the odd one behind) or `causal`.
        stack: The shape `(b, k*m, n)` of the kernel's matrix view.

    Raises:
        SourceError: Its numbers are such that neither can be taken.
    """
    spans = tuple((k - 1) * d for k, d in zip(kernel, dilation, strict=True))
    known = tuple(size or 0 for size in sizes)
    axes = list(zip(known, spans, strides, strict=True))
    if padding == "same":
        outputs = tuple(-(-size // s) for size, _, s in axes)
        before = tuple(
            max((o - 1) * s + span + 1 - size, 0) // 2
            for o, (size, span, s) in zip(outputs, axes, strict=True)
        )
    else:
        before = spans if padding == "causal" else (0,) * len(spans)
        outputs = tuple(
            (size + b - span - 1) // s + 1 for b, (size, span, s) in zip(before, axes, strict=True)
        )
    convolution = Convolution(kernel, strides, dilation, before, known, outputs)
    return _or_over_all_sizes(convolution, stack)


def transposed_at_size(
    sizes: tuple[int | None, ...],
    kernel: Sizes,
    strides: Sizes,
    dilation: Sizes,
    padding: str,
    stack: Sizes,
    output_padding: tuple[int | None, ...],
) -> Convolution:
    """Returns the map whose adjoint a transposed convolution layer is.

    Args:
        sizes: Of the layer's input; `None` where unknown.
        kernel: Sizes of the kernel.
        strides: Its strides.
        dilation: Its dilation.
        padding: `valid` or `same`.
        stack: The shape `(1, k*out, in)` of the kernel's matrix view.
        output_padding: As Keras' layer takes it; `None` for as much as `padding` makes it.

    Raises:
        SourceError: Its numbers are such that neither can be taken.
    """
    inputs, before = [], []
    known = tuple(size or 0 for size in sizes)
    for size, k, s, d, extra in zip(known, kernel, strides, dilation, output_padding, strict=True):
        span = (k - 1) * d + 1
        if padding == "same":
            long = size * s if extra is None else (size - 1) * s + span % 2 + extra
        else:
            long = (size - 1) * s + (max(span, s) if extra is None else span + extra)
        inputs.append(long)
        before.append(max((size - 1) * s + span - long, 0) // 2 if padding == "same" else 0)
    convolution = Convolution(kernel, strides, dilation, tuple(before), tuple(inputs), known)
    return _or_over_all_sizes(convolution, stack)


def _or_over_all_sizes(conv: Convolution, stack: Sizes) -> Convolution:
    count, rows, columns = stack
    channels = count * max(rows // math.prod(conv.kernel), columns)
    sizes = (*conv.inputs, *conv.outputs)
    most = max(math.prod(conv.inputs), math.prod(conv.outputs)) * channels
    if min(sizes) > 0 and most <= _LARGEST:
        return conv
    bound = Convolution.over_all_sizes(conv.kernel, conv.strides, conv.dilation, channels)
    if not bound.same_norm_as_matrix and math.prod(bound.inputs) * channels > _MOST:
        raise SourceError(
            f"no operator norm can be found for strides {conv.strides} with dilation"
            f" {conv.dilation} and a kernel of {conv.kernel}",
            "Repair the layer's configuration and save the model again",
        )
    return bound
