"""Sigma of convolutions with degenerate kernels beside explicit matrices.

    python benchmarks/operator_norm.py [--count N] [--first N] [--seed N] [--time]

Every kernel is pruned, a dirac, a single tap, duplicated, sparse, of groups with very different or
equal norms, and so on, and belongs to a layer of one of the convolution kinds with random strides,
dilation, padding, sizes and scale. The reference is the layer's matrix, written out entry by entry
from Keras' documentation, in float64, and LAPACK. Checked are

- sigma, to 1e-6, and that it is what the stored `u` reaches, to 1e-9;
- the bound for every input size: not below the norm at this size, nor below the largest norm of the
  symbol on a fine grid of frequencies, and at most by its factor above the latter;
- the proofs: sigma's is around the norm, to 1e-6, and neither the bound of the torus nor that for
  every size is below it.

With `--time`, the seconds that the search for sigma and its proof take for the maps of a network.
Prints a line for each kind of layer and each kind of kernel. The exit code is 1 if anything is off.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]
Config = dict[str, Any]

SIGMA, REACHED, BELOW, LOOSEST, PROOF = 1e-6, 1e-9, 1e-9, 1.5, 1e-12
LARGEST = 1000  # inputs or outputs of a group, for LAPACK
SYMBOLS = 1 << 15  # numbers of all symbols of a group
NETWORK = [  # pixels, kernel, stride, channels in and out
    (32, 3, 1, 16, 16),
    (56, 3, 1, 64, 64),
    (28, 3, 1, 128, 128),
    (14, 3, 1, 256, 256),
    (7, 3, 1, 512, 512),
    (224, 7, 2, 3, 64),
    (56, 3, 2, 64, 128),
]

KINDS = [
    *(f"Conv{rank}D" for rank in (1, 2, 3)),
    *(f"Conv{rank}DTranspose" for rank in (1, 2, 3)),
    *(f"DepthwiseConv{rank}D" for rank in (1, 2)),
    *(f"SeparableConv{rank}D" for rank in (1, 2)),
    "Conv1D causal",
    "Conv1D grouped",
    "Conv2D grouped",
]


class Case(NamedTuple):
    """One layer.

    Attributes:
        kind: One of `KINDS`.
        family: One of `FAMILIES`.
        config: The layer's arguments, with strides, dilation and so on as tuples.
        sizes: Those of its input, without channels.
        channels: Of its input.
        kernel: float32.
    """

    kind: str
    family: str
    config: Config
    sizes: tuple[int, ...]
    channels: int
    kernel: Array

    @property
    def class_name(self) -> str:
        """The Keras class."""
        return self.kind.split()[0]

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """What the layer is built for."""
        return (None, *self.sizes, self.channels)


class Result(NamedTuple):
    """What came out.

    Attributes:
        error: Of sigma, relative.
        reached: How far sigma is from what the stored `u` reaches, relative.
        bound: The bound for every size over the largest norm that is known.
        unproved: How far the norm is outside of what is proved, relative; LAPACK is off, too.
        torus: The bound of the torus over the norm, 0 where it is not taken.
    """

    error: float
    reached: float
    bound: float
    unproved: float
    torus: float

    @property
    def wrong(self) -> bool:
        """Whether any of it is off."""
        return not (
            self.error <= SIGMA
            and self.reached <= REACHED
            and 1 - BELOW <= self.bound <= LOOSEST
            and self.unproved <= PROOF
        )


# Kernels: stacks `(b, k, m, n)` of blocks, taps, channels in and out. `rng` draws.


def single_tap(rng: Any, stack: Array) -> Array:
    """Each block has one number that is not zero."""
    result = np.zeros_like(stack)
    for block in result:
        block[tuple(rng.integers(size) for size in block.shape)] = rng.normal()
    return result


def single_taps_and_boxes(rng: Any, stack: Array) -> Array:
    """Some blocks are a tap, others a box that is stronger or weaker."""
    result = single_tap(rng, stack)
    for index in rng.permutation(len(result))[: max(1, len(result) // 2)]:
        result[index] = rng.uniform(0.3, 3) / math.prod(result.shape[1:]) ** 0.5
    return result


def dirac(rng: Any, stack: Array) -> Array:
    """The middle tap is the identity."""
    result = np.zeros_like(stack)
    result[:, result.shape[1] // 2] = np.eye(*result.shape[2:])
    return result * rng.uniform(0.1, 10)


def nearly_dirac(rng: Any, stack: Array) -> Array:
    """The identity and a little noise."""
    return dirac(rng, stack) + 10.0 ** rng.uniform(-7, -1) * stack


def identity_and_one(rng: Any, stack: Array) -> Array:
    """The identity, but one output channel of one block is a filter of about that norm."""
    result = dirac(rng, stack)
    index = int(rng.integers(len(result)))
    top = np.abs(result).max()
    result[index, :, :, -1] = top * rng.uniform(0.5, 2) / math.prod(result.shape[1:3]) ** 0.5
    return result


def magnitude_pruned(rng: Any, stack: Array) -> Array:
    """The smallest 50 to 99 % of the numbers are zero."""
    limit = np.quantile(np.abs(stack), rng.uniform(0.5, 0.99))
    return np.where(np.abs(stack) >= limit, stack, 0)


def channels_pruned(rng: Any, stack: Array) -> Array:
    """Whole channels, and whole blocks, are zero."""
    keep = rng.random((len(stack), 1, *stack.shape[2:])) < rng.uniform(0.1, 0.9)
    return np.where(keep, stack, 0)


def taps_pruned(rng: Any, stack: Array) -> Array:
    """The same few taps of all blocks are left."""
    keep = rng.random((1, stack.shape[1], 1, 1)) < rng.uniform(0.1, 0.6)
    return np.where(keep, stack, 0)


def duplicated_blocks(rng: Any, stack: Array) -> Array:
    """All blocks are one, up to sign and a power of two at times."""
    signs = rng.choice([-1.0, 1.0], (len(stack), 1, 1, 1))
    return stack[:1] * (signs if rng.random() < 0.5 else np.abs(signs))


def duplicated_channels(rng: Any, stack: Array) -> Array:
    """All output channels, or all input channels, of a block are one."""
    if rng.random() < 0.5:
        return np.repeat(stack[..., :1], stack.shape[-1], -1)
    return np.repeat(stack[:, :, :1], stack.shape[2], 2)


def nearly_equal_blocks(rng: Any, stack: Array) -> Array:
    """Blocks whose norms differ by 1e-7 to 1e-2."""
    factors = 1 + 10.0 ** rng.uniform(-7, -2) * rng.random((len(stack), 1, 1, 1))
    return rng.permutation(stack[:1] * factors)


def different_blocks(rng: Any, stack: Array) -> Array:
    """Blocks whose norms differ by up to 1e12."""
    return stack * 10.0 ** rng.uniform(-6, 6, (len(stack), 1, 1, 1))


def different_channels(rng: Any, stack: Array) -> Array:
    """Channels whose norms differ by up to 1e6."""
    return stack * 10.0 ** rng.uniform(-3, 3, (1, 1, *stack.shape[2:]))


def box(rng: Any, stack: Array) -> Array:
    """All numbers of a block are equal: the strongest frequency is 0."""
    return np.ones_like(stack) * rng.normal(size=(len(stack), 1, 1, 1))


def alternating(rng: Any, stack: Array) -> Array:
    """Signs change from tap to tap: the strongest frequency is the highest."""
    signs = (-1.0) ** np.arange(stack.shape[1])
    return signs[:, None, None] * rng.normal(size=(len(stack), 1, *stack.shape[2:]))


def difference(rng: Any, stack: Array) -> Array:
    """Two taps that cancel: nothing at frequency 0."""
    result = np.zeros_like(stack)
    result[:, 0] = rng.normal(size=stack[:, 0].shape)
    if stack.shape[1] > 1:
        result[:, -1] = -result[:, 0]
    return result


def shift(rng: Any, stack: Array) -> Array:
    """One tap, which permutes the channels: nearly all singular values are equal."""
    result = np.zeros_like(stack)
    for block in result:
        eye = np.eye(block.shape[-2], block.shape[-1])
        block[rng.integers(len(block))] = rng.permutation(eye) * 1.7
    return result


def orthogonal(rng: Any, stack: Array) -> Array:
    """One tap, which rotates the channels."""
    result = np.zeros_like(stack)
    for block in result:
        m, n = block.shape[1:]
        q = np.linalg.qr(rng.normal(size=(max(m, n),) * 2))[0]
        block[rng.integers(len(block))] = q[:m, :n]
    return result


def rank_one(rng: Any, stack: Array) -> Array:
    """Every tap is a multiple of one outer product."""
    left, right = rng.normal(size=(2, len(stack), 1, max(stack.shape[2:]), 1))
    taps = rng.normal(size=(len(stack), stack.shape[1], 1, 1))
    outer = left[..., : stack.shape[2], :] * right[..., : stack.shape[3], :].swapaxes(-1, -2)
    return taps * outer


def one_hot(rng: Any, stack: Array) -> Array:
    """Each output channel reads one number of the input."""
    result = np.zeros_like(stack)
    for block in result:
        for column in range(block.shape[-1]):
            block[rng.integers(block.shape[0]), rng.integers(block.shape[1]), column] = 1.0
    return result


def ternary(rng: Any, stack: Array) -> Array:
    """Numbers are -1, 0 or 1."""
    return rng.choice([-1.0, 0.0, 1.0], stack.shape, p=[0.2, 0.6, 0.2])


def one_block_left(rng: Any, stack: Array) -> Array:
    """All blocks but one are zero."""
    result = np.zeros_like(stack)
    index = rng.integers(len(stack))
    result[index] = stack[index]
    return result


def random(_: Any, stack: Array) -> Array:
    """Gaussian."""
    return stack


FAMILIES = [
    random,
    single_tap,
    single_taps_and_boxes,
    dirac,
    nearly_dirac,
    identity_and_one,
    magnitude_pruned,
    channels_pruned,
    taps_pruned,
    duplicated_blocks,
    duplicated_channels,
    nearly_equal_blocks,
    different_blocks,
    different_channels,
    box,
    alternating,
    difference,
    shift,
    orthogonal,
    rank_one,
    one_hot,
    ternary,
    one_block_left,
]


def cases(count: int, first: int = 0, seed: int = 0) -> Iterator[Case]:
    """Yields layers, the same ones for the same numbers."""
    for index in range(first, first + count):
        # 23 families and 13 kinds: each pair comes once in 299 numbers.
        family, kind = FAMILIES[index % len(FAMILIES)], KINDS[index % len(KINDS)]
        yield case(kind, family, np.random.default_rng([seed, index]))


def case(kind: str, family: Any, rng: Any) -> Case:
    """Returns a layer of a kind, with a kernel of a family."""
    rank = next(int(letter) for letter in kind if letter.isdigit())
    while True:
        config, kernel_size = random_config(kind, rank, rng)
        if "Depthwise" in kind or "Separable" in kind:
            groups, m, n = int(rng.integers(1, 7)), 1, int(rng.integers(1, 4))
            config["depth_multiplier"] = n
        else:
            groups = int(rng.integers(2, 5)) if "grouped" in kind else 1
            m, n = (int(size) for size in rng.integers(1, 5, 2))
        if "grouped" in kind:
            config["groups"] = groups
        largest = {1: 60, 2: 17, 3: 7}[rank]
        sizes = tuple(int(size) for size in rng.integers(1, largest, rank))
        made = Case(kind, family.__name__, config, sizes, groups * m, np.empty(0))
        outputs = output_sizes(made, kernel_size)
        numbers = max(math.prod(sizes) * m, math.prod(outputs) * n)
        if min(outputs) > 0 and numbers <= LARGEST and takes_back(made, outputs, kernel_size):
            break
    shape = (groups, math.prod(kernel_size), m, n)
    stack = np.zeros(shape)
    while not stack.any():
        stack = family(rng, rng.normal(size=shape))
    stack *= 10.0 ** rng.choice([0, 0, 0, -20, 20, -30, 30]) / np.abs(stack).max()
    if "Depthwise" in kind or "Separable" in kind:
        kernel = stack[:, :, 0].transpose(1, 0, 2).reshape(*kernel_size, groups, n)
    else:
        kernel = stack.transpose(1, 2, 0, 3).reshape(*kernel_size, m, groups * n)
    if "Transpose" in kind:
        kernel = kernel.swapaxes(-1, -2)
    return made._replace(kernel=kernel.astype("f4"))


def random_config(kind: str, rank: int, rng: Any) -> tuple[Config, tuple[int, ...]]:
    """Returns arguments that Keras accepts, and the sizes of the kernel."""
    kernel_size = tuple(int(size) for size in rng.integers(1, {1: 8, 2: 6, 3: 4}[rank], rank))
    one = (1,) * rank
    square = len(kernel_size) > 1 and rng.random() < 0.6
    if square:
        kernel_size = kernel_size[:1] * rank
    strides, dilation = one, one
    mode = rng.integers(4)
    if mode == 1:
        strides = tuple(int(step) for step in rng.integers(1, 4, rank))
    elif mode == 2:
        dilation = tuple(int(step) for step in rng.integers(1, 4, rank))
    if "Depthwise" in kind or "Separable" in kind:  # Keras takes equal ones only
        strides, dilation = strides[:1] * rank, dilation[:1] * rank
    config: Config = {"strides": strides, "dilation_rate": dilation}
    config["padding"] = "causal" if "causal" in kind else str(rng.choice(["same", "valid"]))
    if "Transpose" in kind and dilation == one and rng.random() < 0.4:
        config["output_padding"] = tuple(int(rng.integers(step)) for step in strides)
    return config, kernel_size


# The reference, which shares nothing with the package.


def output_sizes(made: Case, kernel_size: tuple[int, ...]) -> tuple[int, ...]:
    """Returns how many outputs there are an axis, as Keras' documentation has it."""
    result = []
    extras = made.config.get("output_padding") or (None,) * len(kernel_size)
    axes = (made.sizes, kernel_size, made.config["strides"], made.config["dilation_rate"], extras)
    for size, taps, stride, step, extra in zip(*axes, strict=True):
        span, padding = (taps - 1) * step + 1, made.config["padding"]
        if "Transpose" in made.kind:
            crop = span // 2 if padding == "same" else 0
            if extra is not None:
                result.append((size - 1) * stride + span - 2 * crop + extra)
            elif padding == "same":
                result.append(size * stride)
            else:
                result.append(size * stride + max(span - stride, 0))
        elif padding == "valid":
            result.append((size - span) // stride + 1)
        else:
            result.append(-(-size // stride))
    return tuple(result)


def takes_back(made: Case, outputs: tuple[int, ...], kernel_size: tuple[int, ...]) -> bool:
    """Whether the convolution that a transposed one is the adjoint of has its inputs as outputs."""
    if "output_padding" not in made.config:
        return True
    forth = made._replace(
        kind="Conv", config={**made.config, "output_padding": None}, sizes=outputs
    )
    return output_sizes(forth, kernel_size) == made.sizes


def blocks(made: Case) -> Iterator[Array]:
    """Yields the kernel of each group as float64 taps `(*k, m, n)`, from inputs to outputs."""
    kernel = made.kernel.astype("f8")
    if "Depthwise" in made.kind or "Separable" in made.kind:
        for channel in range(kernel.shape[-2]):
            yield kernel[..., channel : channel + 1, :]
    elif "Transpose" in made.kind:
        yield kernel.swapaxes(-1, -2)
    else:
        yield from np.split(kernel, made.config.get("groups", 1), axis=-1)


def connections(made: Case, kernel_size: tuple[int, ...]) -> list[tuple[Array, Array]]:
    """Returns for each tap which positions of the input it carries to which of the output."""
    outputs = output_sizes(made, kernel_size)
    strides, steps = made.config["strides"], made.config["dilation_rate"]
    spans = [(k - 1) * d + 1 for k, d in zip(kernel_size, steps, strict=True)]
    transposed = "Transpose" in made.kind
    few, many = (made.sizes, outputs) if transposed else (outputs, made.sizes)
    shift = [0] * len(spans)
    if made.config["padding"] == "causal":
        shift = [span - 1 for span in spans]
    elif made.config["padding"] == "same":
        axes = zip(few, many, strides, spans, strict=True)
        shift = [max((a - 1) * s + span - b, 0) // 2 for a, b, s, span in axes]
    places = np.indices(few).reshape(len(few), -1)
    result = []
    for tap in np.ndindex(*kernel_size):
        moved = [t * d - b for t, d, b in zip(tap, steps, shift, strict=True)]
        others = places * np.array(strides)[:, None] + np.array(moved)[:, None]
        inside = ((others >= 0) & (others < np.array(many)[:, None])).all(axis=0)
        near = np.ravel_multi_index(places[:, inside], few)
        far = np.ravel_multi_index(others[:, inside], many)
        result.append((near, far) if transposed else (far, near))
    return result


def matrix(made: Case, taps: Array) -> Array:
    """Returns the matrix of one group, inputs by outputs, entry by entry."""
    kernel_size, (m, n) = taps.shape[:-2], taps.shape[-2:]
    shape = (math.prod(made.sizes), math.prod(output_sizes(made, kernel_size)))
    result = np.zeros((*shape, m, n))
    every = zip(taps.reshape(-1, m, n), connections(made, kernel_size), strict=True)
    for tap, (read, write) in every:
        result[read, write] += tap
    return result.swapaxes(1, 2).reshape(shape[0] * m, shape[1] * n)


def symbol_norm(made: Case, taps: Array) -> float:
    """Returns the largest norm of a group's symbol on a grid of frequencies.

    The response to the wave `exp(i w o)` of outputs, at inputs by their rest modulo the stride.
    """
    strides, steps = made.config["strides"], made.config["dilation_rate"]
    if "Transpose" in made.kind:
        taps = taps.swapaxes(-1, -2)
    kernel_size, (m, n) = taps.shape[:-2], taps.shape[-2:]
    numbers = math.prod(strides) * m * n
    rank = len(kernel_size)
    fine = max(8, min(128, int((SYMBOLS / numbers) ** (1 / rank))))
    grid = np.meshgrid(*[np.arange(fine) * (2 * np.pi / fine)] * rank, indexing="ij")
    waves = np.stack([axis.reshape(-1) for axis in grid], axis=-1)
    symbol = np.zeros((len(waves), *strides, m, n), complex)
    for tap in np.ndindex(*kernel_size):
        places = [t * d for t, d in zip(tap, steps, strict=True)]
        rest = tuple(p % s for p, s in zip(places, strides, strict=True))
        turns = np.array([p // s for p, s in zip(places, strides, strict=True)])
        symbol[(slice(None), *rest)] += np.exp(1j * (waves @ turns))[:, None, None] * taps[tap]
    return norm_of(symbol.reshape(len(waves), -1, n))


def norm_of(matrices: Array) -> float:
    """Returns the largest singular value, by LAPACK's eigenvalues of the smaller Gram matrix."""
    across = matrices.conj().swapaxes(-1, -2)
    wide = matrices.shape[-1] > matrices.shape[-2]
    gram = matrices @ across if wide else across @ matrices
    return math.sqrt(max(0.0, float(np.linalg.eigvalsh(gram)[..., -1].max())))


def check(made: Case) -> Result:
    """Returns how right the package is about a layer."""
    from snconvert.errors import KernelError  # noqa: PLC0415
    from snconvert.kinds.table import RULES  # noqa: PLC0415
    from snconvert.linalg.kernel_norm import kernel_bounds, kernel_triplet  # noqa: PLC0415

    scale = float(np.abs(made.kernel).max())
    matrices, frequencies = [], []
    for taps in blocks(made):
        matrices.append(matrix(made, taps / scale))
        frequencies.append(symbol_norm(made, taps / scale))
    exact = max(map(norm_of, matrices))
    kernel = RULES[made.class_name].kernels[0]
    view = kernel.view(made.kernel.shape, made.config)
    shape = (made.kernel.shape, made.config)
    conv = kernel.map_of("operator", *shape, made.input_shape)
    free = kernel.map_of("operator", *shape, (None,) * len(made.input_shape))
    try:
        found = kernel_triplet(made.kernel, view, conv)
        low, high = kernel_bounds(made.kernel, view, conv, found)
        everywhere = kernel_triplet(made.kernel, view, free)
        bound, above = (
            everywhere.sigma / scale,
            kernel_bounds(made.kernel, view, free, everywhere)[1],
        )
    except KernelError as error:
        print(error)
        return Result(math.inf, math.inf, 0.0, math.inf, 0.0)
    sigma = found.sigma / scale
    reached = sigma
    if conv is not None and not conv.on_torus:
        back = [one.T if "Transpose" in made.kind else one for one in matrices]
        rows = found.u.reshape(len(back), -1).astype("f8")
        images = zip(back, rows, strict=True)
        reached = max(np.linalg.norm(one @ row) / np.linalg.norm(row) for one, row in images)
    torus = torus_bound(made.kernel, view, conv) / scale
    norm = exact * scale
    proofs = [norm / x for x in (high, above, torus * scale) if x]
    proofs += [low / norm, high / norm / (1 + SIGMA)] if norm else [float(high > 0)]
    bound /= max(exact, *frequencies)
    unproved = max(proofs) - 1.0
    return Result(
        off(sigma, exact), off(reached, sigma), bound, unproved, torus / exact if exact else 0.0
    )


def torus_bound(kernel: Array, view: Any, conv: Any) -> float:
    """Returns the proved bound by the torus alone, 0 where the norm is that of the matrix."""
    from snconvert.linalg.convolution_norm import block_taps  # noqa: PLC0415
    from snconvert.linalg.torus import proved_torus_norm  # noqa: PLC0415

    if conv is None:
        return 0.0
    taps, exponents = block_taps(kernel, view, conv)
    largest = int(exponents.max())
    taps = np.ldexp(taps, (exponents - largest)[:, None, None, None])
    return math.ldexp(proved_torus_norm(taps, conv), largest) if taps.any() else 0.0


def show_times() -> None:
    """Prints what the search and the proof take for random kernels of the sizes of a network."""
    from snconvert.core.convolution_map import at_size  # noqa: PLC0415
    from snconvert.core.matrix_view import MatrixView  # noqa: PLC0415
    from snconvert.linalg.kernel_norm import kernel_bounds, kernel_triplet  # noqa: PLC0415

    for size, k, stride, m, n in NETWORK:
        kernel = np.random.default_rng(size).normal(size=(k, k, m, n)).astype("f4") / (k * m**0.5)
        view = MatrixView.of(kernel.shape)
        conv = at_size((size,) * 2, (k, k), (stride,) * 2, (1, 1), "same", view.shape)
        start = time.perf_counter()
        found = kernel_triplet(kernel, view, conv)
        between = time.perf_counter()
        low, high = kernel_bounds(kernel, view, conv, found)
        seconds = between - start, time.perf_counter() - between
        name = f"{size}x{size}x{m}, {k}x{k}/{stride} to {n}"
        print(
            "{:28}{:8.2f} s{:8.2f} s{:12.5f}".format(name, *seconds, high / low),
            flush=True,
        )


def off(value: float, exact: float) -> float:
    """Returns the relative error; of a map that is zero none but of what is not."""
    return abs(value / exact - 1) if exact else (math.inf if value else 0.0)


def main() -> int:
    """Prints one line for each kind of layer, and of kernel."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2990)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--time", action="store_true")
    options = parser.parse_args()
    if options.time:
        print(f"{'':28}{'sigma':>10}{'proof':>10}{'high / low':>12}")
        show_times()
        return 0
    started = time.perf_counter()
    results: list[tuple[Case, Result]] = []
    for index, made in enumerate(cases(options.count, options.first, options.seed), options.first):
        result = check(made)
        results.append((made, result))
        if result.wrong:
            print(f"off: {index}: {result} {describe(made)}", flush=True)
    print(
        f"{'':24}{'kernels':>8}{'off':>6}{'worst error':>13}{'unproved':>10}"
        f"{'bound / truth':>20}{'torus / truth':>20}"
    )
    for name in (*KINDS, *(family.__name__ for family in FAMILIES), "all"):
        part = [r for c, r in results if name in {c.kind, c.family, "all"}]
        if part:
            print(line(name, part))
    wrong = sum(result.wrong for _, result in results)
    print(f"{len(results)} kernels, {wrong} off, {time.perf_counter() - started:.0f} s")
    return int(wrong > 0)


def line(name: str, results: list[Result]) -> str:
    """Returns what is said of some kernels."""
    wrong = sum(result.wrong for result in results)
    error = max(result.error for result in results)
    low, high = (pick(result.bound for result in results) for pick in (min, max))
    unproved, torus = max(r.unproved for r in results), sorted(r.torus for r in results if r.torus)
    return (
        f"{name:24}{len(results):8}{wrong:6}{error:13.1e}{unproved:10.1e}"
        f"{low:12.6f} to {high:.3f}{torus[len(torus) // 2]:11.4f} to {torus[-1]:.3f}"
        if torus
        else name
    )


def describe(made: Case) -> str:
    """Returns the layer in a line."""
    shapes = f"{made.sizes} x {made.channels} {made.kernel.shape}"
    return f"{made.kind} {made.family} {shapes} {made.config}"


if __name__ == "__main__":
    if "OPENBLAS_NUM_THREADS" not in os.environ:
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.argv])  # noqa: S606
    sys.exit(main())
