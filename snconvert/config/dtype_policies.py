"""The dtype policies in a layer's configuration, read as Keras reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from snconvert.errors import printable

FLOATS = ("float16", "bfloat16", "float32", "float64")
_PLAIN = ("DTypePolicy", "FloatDTypePolicy")  # Keras has two names for one class
_MAP = "DTypePolicyMap"


def policies(dtype: Any) -> list[Any]:
    """Returns the policies that a layer's `dtype` may give it.

    That is the one that stands there, or all of a map: Keras chooses from a map by the layer's
    path in the process that builds it, which no file tells.

    Example:
        >>> policies("mixed_float16")
        ['mixed_float16']
        >>> inner = {"default_policy": "float32", "policy_map": {"mha/query": "float16"}}
        >>> policies({"class_name": "DTypePolicyMap", "config": inner})
        ['float32', 'float16']
    """
    config = dtype.get("config") if isinstance(dtype, dict) else None
    if not isinstance(config, dict) or dtype.get("class_name") != _MAP:
        return [dtype]
    inner = config.get("policy_map")
    return [config.get("default_policy"), *(inner.values() if isinstance(inner, dict) else ())]


def quantization(policy: Any) -> str | None:
    """Returns why kernels under a policy cannot be normalised, or `None` for a plain policy.

    Keras spells quantization as the class of the policy, and up to 3.3 as a string.

    Example:
        >>> quantization("int8_from_float32")
        'quantized layers (int8_from_float32) are not supported'
    """
    if isinstance(policy, dict) and policy.get("class_name") not in _PLAIN:
        inner, name = policy.get("config"), policy.get("class_name")
        mode = inner.get("mode") if isinstance(inner, dict) else None
        if mode is None:
            return f"a dtype policy of class {printable(name)} is not supported"
        return f"quantized layers ({printable(mode)}) are not supported"
    if isinstance(policy, str) and "_from_" in policy:
        return f"quantized layers ({printable(policy)}) are not supported"
    return None


def unsupported(config: Mapping[str, Any]) -> str | None:
    """Returns why a layer of a configuration has no kernel that can be normalised, or `None`."""
    if config.get("lora_rank"):
        return f"LoRA adapters (lora_rank {config['lora_rank']}) are not supported"
    for policy in policies(config.get("dtype")):
        if (problem := quantization(policy)) is not None:
            return problem
    if config.get("quantization_config") is not None:
        return "quantized layers are not supported"
    return None


def policy_names(dtype: Any) -> set[str | None]:
    """Returns the names of a layer's policies; `None` stands for the one of the process."""
    return {_name(policy) for policy in policies(dtype)}


def variable_dtype(dtype: Any) -> str | None:
    """Returns the dtype that a layer's policy gives its variables, if it says one.

    Example:
        >>> variable_dtype({"class_name": "DTypePolicy", "config": {"name": "mixed_bfloat16"}})
        'float32'
    """
    mixed = {"mixed_float16": "float32", "mixed_bfloat16": "float32"}
    dtypes = {mixed.get(str(name), name) for name in policy_names(dtype)}
    dtype = dtypes.pop()
    return dtype if not dtypes and dtype in FLOATS else None


def _name(policy: Any) -> str | None:
    if isinstance(policy, dict):
        inner = policy.get("config")
        policy = inner.get("name") if isinstance(inner, dict) else None
    return policy if isinstance(policy, str) else None
