"""The base of all spectral layers: options, state, sigma, saving."""

from __future__ import annotations

from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from snconvert.compat.backends import attach
from snconvert.compat.calls import is_loading, without_autocast
from snconvert.compat.optimizer_choices import tie
from snconvert.core.convolution_map import Convolution
from snconvert.core.matrix_view import MatrixView
from snconvert.core.settings import FIELDS, Mode
from snconvert.core.settings import Norm as NormName
from snconvert.errors import located
from snconvert.kinds.kernel_rule import Config, Kernel, KernelRule
from snconvert.layers.config_view import Attributes
from snconvert.layers.convolution_map import ConvolutionMap
from snconvert.layers.errors import (
    EXACT_TRACED,
    LayerOptionError,
    check_options,
    check_rounds,
    check_stored,
    refuse_adapters,
    suggestions,
    unsupported,
)
from snconvert.layers.initial_u import random_u, warm_u
from snconvert.layers.power_iteration import current_norm, power_iteration, scale, stacked, times


class Spectral(keras.layers.Layer):  # type: ignore[misc] # keras has no types
    """A Keras layer with spectrally normalised kernels; listed before the Keras class.

    The layer computes with `s(sigma) * W`, where `sigma` is the largest singular value of the
    matrix view of the kernel `W`, the largest over its blocks, and `c` the bound:

    - `hard`: `s = c / sigma` (Miyato et al. 2018, arXiv:1802.05957);
    - `cap`: `s = min(1, c / sigma)` (Gouk et al. 2018, arXiv:1804.04368; SNGP, Liu et al. 2020,
      arXiv:2006.10108);
    - `gain`: `s = gamma / sigma` with a trainable `gamma` that starts at sigma (sigma-reparam, Zhai
      et al. 2023, arXiv:2303.06296).

    A training call (`training=True` on a layer that is not frozen) does `power_iterations` rounds
    from `u`, stores the new `u`, and lets the gradient flow through sigma. A layer called twice in
    a step moves `u` twice, each time from where it is. Any other call takes `sigma = |W u| / |u|`
    and changes nothing. `W` itself, on which regularizers and constraints act, is written by the
    optimizer only. A kernel of zeros stays zero.

    With `norm="operator"` sigma is the norm of a convolution as a map, with its strides, padding,
    dilation and groups, at the input size the layer was built for; where that is not known, or the
    inputs or outputs have more than 4 million numbers, a bound of the norm at every input size (see
    `snconvert.core.convolution_map`). `u` then has the shape `(b, *outputs, n)`, and a training
    call costs two convolutions of one input more. All other layers have one norm.

    Variables: those of the Keras layer, then for `gain` `gamma`, float32 `()`, and `u`, float32
    `(b, n)`, not trainable, under every dtype policy. With several kernels they are called
    `{kernel}_gamma` and `{kernel}_u`. A fresh layer's `u` is found when it is built. Replicas hold
    the same kernel and `u` and so compute the same next one.

    A class of one's own sets `rule`, and in its `call` multiplies the kernel, or what is linear in
    it, by `kernel_scale`::

        class SpectralMine(Spectral, Mine):
            rule = KernelRule(...)

            def call(self, inputs, training=None):
                return inputs @ times(self.kernel, self.kernel_scale("kernel", training))

    Args:
        *args: Those of the Keras layer.
        mode: `hard`, `cap` or `gain`.
        bound: The bound `c` of `hard` and `cap`.
        power_iterations: Rounds of power iteration in each training call.
        norm: `matrix` or `operator`.
        **kwargs: Those of the Keras layer.

    Raises:
        LayerOptionError: An option has a value that cannot work; also a `ValueError`.
        LayerUnsupportedError: LoRA or quantization is asked for; also a `NotImplementedError`.
    """

    rule: ClassVar[KernelRule]

    def __init__(
        self,
        *args: Any,
        mode: Mode = "hard",
        bound: float = 1.0,
        power_iterations: int = 1,
        norm: NormName = "matrix",
        **kwargs: Any,
    ) -> None:
        values = dict(zip(FIELDS, (mode, bound, power_iterations, norm), strict=True))
        options = check_options(type(self), kwargs.get("name"), values)
        # Around Keras, as the Keras layer's own `__init__` may make and even build what needs them.
        self.__dict__.update({name: getattr(options, name) for name in FIELDS})
        with suggestions(type(self), kwargs):
            super().__init__(*args, **kwargs)
        refuse_adapters(self)

    def __repr__(self) -> str:
        """Returns what Keras shows of a layer, and how it is normalised."""
        bound = "" if self.mode == "gain" else f", bound={self.bound:g}"
        norm = "" if self.norm == "matrix" else f", norm={self.norm}"
        return f"{super().__repr__()[:-1]}, mode={self.mode}{bound}{norm}>"

    def build(self, input_shape: Any) -> None:
        """Creates the variables of the Keras layer, then `gamma` and `u`."""
        refuse_adapters(self)
        super().build(input_shape)
        self._add_states(input_shape)

    def kernel_scale(self, name: str, training: bool | None = False) -> Any:
        """Returns `s(sigma)` of a kernel, a float32 scalar; a training call moves `u`."""
        if training and self.trainable:
            rows = self._u_rows(name)
            norm, new = power_iteration(self._matrix(name), rows, self.power_iterations)
            norm = self._as_bound(name, norm)
            u = self._u(name)
            u.assign(ops.reshape(new, u.shape))
        else:
            norm = self._norm(name)
        return self._scale_of(name, norm)

    def spectral_norms(self) -> dict[str, Any]:
        """Returns sigma of each raw kernel by the current `u`, float32 scalars by kernel name."""
        return {name: self._norm(name).sigma for name in self._own_kernels()}

    def effective_kernel(self, name: str = "kernel") -> Any:
        """Returns `s(sigma) * W` as inference uses it, in the shape and dtype of the kernel."""
        return times(self._raw(name), self.kernel_scale(name))

    def converge(self, rounds: int | None = None) -> None:
        """Brings each `u` to its kernel, after kernels were averaged or assigned by hand.

        For all layers of a model there is `snconvert.converge`.

        Args:
            rounds: Rounds of power iteration from the current `u`. `None` finds the leading
                singular vector itself.

        Raises:
            LayerOptionError: `rounds` is no whole number from 1 on, or `None` while a function is
                traced.
            KernelError: `rounds` is `None`, and a kernel holds NaN or infinity.
        """
        check_rounds(rounds)
        for name in self._own_kernels():
            if rounds is None:
                with located(path=self.path, class_name=type(self).__name__):
                    new = self._fresh_u(name, exact=True)
            else:
                _, new = power_iteration(self._matrix(name), self._u_rows(name), rounds)
            u = self._u(name)
            u.assign(ops.reshape(new, u.shape))

    def get_config(self) -> dict[str, Any]:
        """Returns the configuration of the Keras layer, then the four options."""
        return {**super().get_config(), **self._options()}

    def _options(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in FIELDS}

    def save_own_variables(self, store: Any) -> None:
        """Saves all variables; the Keras layers would save their own ones only."""
        keras.layers.Layer.save_own_variables(self, store)

    def load_own_variables(self, store: Any) -> None:
        """Loads all variables; the Keras layers would load their own ones only.

        Raises:
            LayerWeightsError: Another number of variables is stored, as in a plain layer's weights.
        """
        check_stored(self, len(store.keys()))
        keras.layers.Layer.load_own_variables(self, store)

    def quantize(self, *_: Any, **__: Any) -> None:
        """Refuses to quantize the layer.

        Raises:
            LayerUnsupportedError: Always.
        """
        raise unsupported(self, "quantization needs a plain kernel, but this one is normalised")

    def enable_lora(self, *_: Any, **__: Any) -> None:
        """Refuses LoRA.

        Raises:
            LayerUnsupportedError: Always.
        """
        raise unsupported(self, "LoRA needs a plain kernel, but this one is normalised")

    def _prefix(self, name: str) -> str:
        return "" if len(self.rule.kernels) == 1 else f"{name}_"

    def _own_kernels(self) -> list[str]:
        """Returns the names of the kernels that a built layer has itself."""
        return [k.name for k in self.rule.kernels if f"_{k.name}_view" in vars(self)]

    def _add_states(self, input_shape: Any) -> None:
        config = Attributes(self)
        for kernel in self.rule.kernels_of(config):
            if not kernel.group:
                self._add_state(kernel, config, input_shape)

    def _add_state(self, kernel: Kernel, config: Config, input_shape: Any) -> None:
        name = kernel.name
        size = tuple(self._variable(name).shape)
        view = kernel.view(size, config)
        conv = kernel.map_of(self.norm, size, config, input_shape)
        setattr(self, f"_{name}_view", view)
        setattr(self, f"_{name}_map", conv)
        # As initializers, which Keras calls when the kernel has its value: at once, or at the end
        # of the scope in which a subclassed model is built.
        u = self.add_weight(
            name=self._prefix(name) + "u",
            shape=(view.shape[0], *(conv.outputs if conv else ()), view.shape[2]),
            initializer=lambda *_, **__: self._fresh_u(name),
            dtype="float32",
            trainable=False,
            autocast=False,
        )
        setattr(self, self._prefix(name) + "u", u)
        attach(self._variable(name), "u", u)
        if self.mode == "gain":
            gamma = self.add_weight(
                name=self._prefix(name) + "gamma",
                shape=(),
                initializer=lambda *_, **__: self._fresh_gamma(name),
                dtype="float32",
                autocast=False,
            )
            setattr(self, self._prefix(name) + "gamma", gamma)
            attach(self._variable(name), "gamma", gamma)
            tie(gamma, self._variable(name))

    def _variable(self, name: str) -> Any:
        """Returns the variable of a kernel."""
        return getattr(self, name)

    def _raw(self, name: str) -> Any:
        """Returns a kernel as it is stored, whatever the scope would cast it to."""
        with without_autocast():
            return self._variable(name).value  # a Keras variable would be read, and cast, later

    def _scale_of(self, name: str, norm: Any) -> Any:
        gamma = getattr(self, self._prefix(name) + "gamma") if self.mode == "gain" else None
        return scale(norm, self.mode, self.bound, gamma)

    def _map(self, name: str) -> Convolution | None:
        """Returns the convolution whose norm is sigma; `None` if sigma is that of the matrix."""
        conv: Convolution | None = getattr(self, f"_{name}_map")
        return conv

    def _matrix(self, name: str) -> Any:
        view: MatrixView = getattr(self, f"_{name}_view")
        stack = stacked(ops.cast(self._raw(name), "float32"), view)
        conv = self._map(name)
        return stack if conv is None else ConvolutionMap(stack, view, conv)

    def _u(self, name: str) -> Any:
        """Returns the variable `u` of a kernel."""
        return getattr(self, self._prefix(name) + "u")

    def _u_rows(self, name: str) -> Any:
        """Returns the `u` of a kernel as rows, one a block; reads it once."""
        u = ops.convert_to_tensor(self._u(name))
        return u if self._map(name) is None else ops.reshape(u, (u.shape[0], -1))

    def _as_bound(self, name: str, norm: Any) -> Any:
        conv = self._map(name)
        if conv is None or not conv.on_torus:
            return norm
        return norm._replace(length=norm.length * conv.factor)

    def _norm(self, name: str) -> Any:
        return self._as_bound(name, current_norm(self._matrix(name), self._u_rows(name)))

    def _fresh_u(self, name: str, *, exact: bool = False) -> Any:
        view: MatrixView = getattr(self, f"_{name}_view")
        conv = self._map(name)
        if is_loading() and not exact:
            return random_u(view, conv)  # the file's own replaces it
        try:
            kernel = ops.convert_to_numpy(ops.cast(self._raw(name), "float32"))
        except (NotImplementedError, TypeError) as error:
            if exact:
                raise LayerOptionError(*EXACT_TRACED) from error
            return random_u(view, conv)  # no value while a function is traced; training finds it
        return warm_u(kernel, view, conv, exact=exact)

    def _fresh_gamma(self, name: str) -> Any:
        return np.ones((), "float32") if is_loading() else self._norm(name).sigma
