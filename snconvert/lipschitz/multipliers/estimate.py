"""Multipliers of a chain of linear maps and activations: which ones, and what they promise.

An activation with slopes `a <= 0 <= b` satisfies `(dw - a dz)' T (b dz - dw) >= 0` for every
diagonal `T >= 0`. With `z = K x`, and `dx' P dx <= |d in|^2` known, add that inequality once: then
`dw' P' dw <= |d in|^2` for

    P' = T - c T Q T,   Q = K R^-1 K*,   R = P + a b K* T K,   c = (a + b)^2 / 4,

if `R` and `P'` are positive definite. It starts with `P = I`, and ends with the largest eigenvalue
of `K P^-1 K*`, the square of the chain's bound (LipSDP-Neuron, arXiv 1906.04893, theorem 2, by
blocks). Each `T` with `P' > 0` promises a bound; here all is rounded, and `proof` proves it.

**Fast** (ECLipsE-Fast, arXiv 2404.04375): `T` a multiple of the identity, the one with which the
smallest eigenvalue of `P'` is largest. With `m = max(-a, b)` and `s` the largest eigenvalue of
`K P^-1 K*`, `R` turns eigenvalues `s` of it into `s / (1 + a b t s)`, the eigenvalue of `P'` is
`t - c t^2 s / (1 + a b t s)`, and its largest value `1 / (m^2 s)`, at `t = 2 / (m (b - a) s)`. So
the bound is never above the product of the norms.

**Gradient.** The square of the bound is convex in `T`. With `u` the last eigenvector and
`g = P^-1 K* u`, its differential is `-g* dP g`, and for `P'` in the place of `P`

    g* dP' g = sum_k dT_k (|g_k|^2 - 2 c Re(conj(g_k) v_k) + c a b |v_k|^2) + c h* dP h,
    h = R^-1 K* T g,   v = K h,

so that `sqrt(c) h` takes the place of `g` one layer before.
"""

from __future__ import annotations

import math

import numpy as np

from snconvert.lipschitz.multipliers.segment import Segment, Slopes
from snconvert.lipschitz.multipliers.semidefinite import Array


def adjoint(stack: Array) -> Array:
    """Returns the adjoint of each matrix."""
    return np.asarray(stack.conj().swapaxes(-1, -2))


def identity(segment: Segment) -> Array:
    """Returns the first `P`."""
    count, _, size = segment.maps[0].shape
    return np.broadcast_to(np.eye(size), (count, size, size))


def bent(weight: Array, stack: Array, slopes: Slopes, multiplier: Array) -> Array:
    """Returns `R`, of `P`, `K`, the slopes and `T (n,)`."""
    if slopes[0] * slopes[1] == 0:
        return weight
    return np.asarray(
        weight + adjoint(stack) @ ((slopes[0] * slopes[1] * multiplier)[:, None] * stack)
    )


def gram(root: Array, stack: Array) -> tuple[Array, Array]:
    """Returns `Y = L^-1 K*` and `K R^-1 K* = Y* Y`, of the factor `L` of `R` and `K`."""
    half = np.linalg.solve(root, adjoint(stack))
    return half, adjoint(half) @ half


def following(multiplier: Array, slopes: Slopes, inner: Array) -> Array:
    """Returns `P'`, of `T (n,)`, the slopes and `Q`."""
    c = (slopes[0] + slopes[1]) ** 2 / 4
    weight = -c * (multiplier[:, None] * inner * multiplier)
    weight[:, range(len(multiplier)), range(len(multiplier))] += multiplier
    return (weight + adjoint(weight)) / 2


def largest(stack: Array) -> float:
    """Returns the largest eigenvalue of a stack of Hermitian matrices."""
    return float(np.linalg.eigvalsh(stack)[:, -1].max())


def fast(segment: Segment) -> tuple[Segment, list[Array]]:
    """Returns the fast multipliers, and the segment scaled so that all weights are near 1.

    Raises:
        LinAlgError: The numbers allow none.
    """
    weight = identity(segment)
    exponents, multipliers = [], []
    for stack, slopes in zip(segment.maps, segment.slopes, strict=False):
        inner = gram(np.linalg.cholesky(weight), stack)[1]
        most = largest(inner)
        if not most > 0:
            raise np.linalg.LinAlgError("a map is nothing but rounding")
        power = math.frexp(math.sqrt(most))[1]
        scaled, most = stack * 2.0**-power, math.ldexp(most, -2 * power)
        steep = max(-slopes[0], slopes[1])
        # A little less where `R` may have no inverse, as for a = -b.
        less = 1 - 1e-6 if slopes[0] * slopes[1] else 1.0
        size = less * 2 / (steep * (slopes[1] - slopes[0]) * most)
        multiplier = np.full(stack.shape[1], size)
        if slopes[0] * slopes[1] == 0:
            inner = inner * 4.0**-power
        else:
            root = np.linalg.cholesky(bent(weight, scaled, slopes, multiplier))
            inner = gram(root, scaled)[1]
        weight = following(multiplier, slopes, inner)
        exponents.append(power)
        multipliers.append(multiplier)
    return segment.rescaled([*exponents, 0]), multipliers


def squares_and_gradient(segment: Segment, multipliers: list[Array]) -> tuple[Array, list[Array]]:
    """Returns the square of the bound, and the derivatives of the largest by the multipliers.

    Returns:
        The squares at each frequency, `(f,)`; infinity, and derivatives of zero, where some `P'` or
        `R` is not positive definite.
    """
    weight, passed = identity(segment), []
    try:
        for stack, slopes, multiplier in zip(
            segment.maps, segment.slopes, multipliers, strict=False
        ):
            root = np.linalg.cholesky(bent(weight, stack, slopes, multiplier))
            half, inner = gram(root, stack)
            weight = following(multiplier, slopes, inner)
            passed.append((root, half))
        root = np.linalg.cholesky(weight)
    except np.linalg.LinAlgError:
        return np.full(len(weight), np.inf), [np.zeros_like(each) for each in multipliers]
    half, inner = gram(root, segment.maps[-1])
    values = np.linalg.eigvalsh(inner)[:, -1]
    at = int(values.argmax())
    top = np.linalg.eigh(inner[at])[1][:, -1]
    g = np.linalg.solve(adjoint(root[at]), half[at] @ top)
    gradient = []
    for index in reversed(range(len(multipliers))):
        low, high = segment.slopes[index]
        c, multiplier = (low + high) ** 2 / 4, multipliers[index]
        root, half = passed[index]
        h = np.linalg.solve(adjoint(root[at]), half[at] @ (multiplier * g))
        v = segment.maps[index][at] @ h
        gradient.append(
            -(np.abs(g) ** 2 - 2 * c * (g.conj() * v).real + c * low * high * np.abs(v) ** 2)
        )
        g = math.sqrt(c) * h
    return values, gradient[::-1]
