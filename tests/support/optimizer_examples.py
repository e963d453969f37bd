"""An optimizer of each kind, and a small model for it."""

from __future__ import annotations

import keras
import numpy as np
from keras import optimizers

MAKE = {
    "sgd": lambda: optimizers.SGD(0.01),
    "momentum": lambda: optimizers.SGD(0.01, momentum=0.9, nesterov=True),
    "adam": lambda: optimizers.Adam(0.01, amsgrad=True, clipnorm=1.0),
    "ema": lambda: optimizers.Adam(0.01, use_ema=True, ema_overwrite_frequency=3),
    "accumulation": lambda: optimizers.AdamW(0.01, gradient_accumulation_steps=2),
    "adadelta": lambda: optimizers.Adadelta(0.1),
    "adafactor": lambda: optimizers.Adafactor(0.01),
    "adagrad": lambda: optimizers.Adagrad(0.01),
    "adamax": lambda: optimizers.Adamax(0.01),
    "ftrl": lambda: optimizers.Ftrl(0.01),
    "lamb": lambda: optimizers.Lamb(0.01),
    "lion": lambda: optimizers.Lion(0.01),
    "muon": lambda: optimizers.Muon(0.01),
    "nadam": lambda: optimizers.Nadam(0.01),
    "rmsprop": lambda: optimizers.RMSprop(0.01, centered=True, momentum=0.1),
    "loss scale": lambda: optimizers.LossScaleOptimizer(optimizers.Adam(0.01)),
    "schedule free": lambda: optimizers.ScheduleFreeAdamW(0.01, warmup_steps=4),
    "by pattern": lambda: optimizers.MultiOptimizer(
        optimizers.OptimizerMap(
            optimizers.Adam(0.01), {".*kernel": optimizers.SGD(0.01, momentum=0.9)}
        )
    ),
    "all at once": lambda: optimizers.LossScaleOptimizer(
        optimizers.Nadam(0.01, use_ema=True, ema_overwrite_frequency=2, weight_decay=0.1)
    ),
    "many options": lambda: optimizers.Adam(
        0.01,
        amsgrad=True,
        use_ema=True,
        gradient_accumulation_steps=3,
        global_clipnorm=0.5,
        weight_decay=0.01,
    ),
    "schedule": lambda: optimizers.Adam(optimizers.schedules.CosineDecay(0.1, 9)),
}


def plain(**frozen: bool) -> keras.Model:
    """A model with a frozen layer in the middle."""
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(5, activation="tanh", name="a"),
            keras.layers.Dense(4, name="b", trainable=frozen.get("b", False)),
            keras.layers.Dense(3, name="c"),
        ]
    )
    rng = np.random.default_rng(2)
    model.set_weights([rng.normal(size=w.shape) for w in model.weights])
    return model
