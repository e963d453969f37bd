"""The script that a user would write today: load, clone with the built-in wrapper, copy, save.

python benchmarks/peer.py IN.keras OUT.keras [--conv]
"""

from __future__ import annotations

import sys

import keras


def main(source: str, target: str, *, conv: bool) -> None:
    """Converts one model the way the Keras guide suggests."""
    kinds = (keras.layers.Dense, *((keras.layers.Conv2D,) if conv else ()))
    model = keras.saving.load_model(source, compile=False)

    def wrap(layer: keras.layers.Layer) -> keras.layers.Layer:
        copy = layer.__class__.from_config(layer.get_config())
        if type(layer) in kinds:
            return keras.layers.SpectralNormalization(copy, name=f"sn_{layer.name}")
        return copy

    clone = keras.models.clone_model(model, clone_function=wrap)
    for old, new in zip(model.layers, clone.layers, strict=True):
        inner = new.layer if isinstance(new, keras.layers.SpectralNormalization) else new
        inner.set_weights(old.get_weights())
    clone.save(target)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], conv="--conv" in sys.argv)
