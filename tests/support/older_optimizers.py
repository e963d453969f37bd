"""Optimizers, losses and metrics as older versions of Keras know them: functions of its modules."""

OPTIMIZERS = {
    "adam": lambda o: o.Adam(0.01),
    "adam_options": lambda o: o.Adam(0.01, beta_1=0.8, epsilon=1e-3, clipnorm=1.0),
    "amsgrad": lambda o: o.Adam(0.01, amsgrad=True),
    "adamw": lambda o: o.AdamW(0.01, weight_decay=0.05),
    "adamax": lambda o: o.Adamax(0.01),
    "nadam": lambda o: o.Nadam(0.01),
    "sgd": lambda o: o.SGD(0.1),
    "sgd_momentum": lambda o: o.SGD(0.1, momentum=0.9),
    "sgd_nesterov": lambda o: o.SGD(0.1, momentum=0.9, nesterov=True),
    "rmsprop": lambda o: o.RMSprop(0.01),
    "rmsprop_momentum": lambda o: o.RMSprop(0.01, momentum=0.9),
    "rmsprop_centered": lambda o: o.RMSprop(0.01, centered=True),
    "rmsprop_both": lambda o: o.RMSprop(0.01, momentum=0.5, centered=True),
    "adagrad": lambda o: o.Adagrad(0.1),
    "adadelta": lambda o: o.Adadelta(1.0),
    "ftrl": lambda o: o.Ftrl(0.1, l2_regularization_strength=0.01),
    "lion": lambda o: o.Lion(0.01),
    "exponential_decay": lambda o: o.Adam(o.schedules.ExponentialDecay(0.1, 2, 0.5)),
    "cosine_decay": lambda o: o.SGD(o.schedules.CosineDecay(0.1, 10), momentum=0.5),
    "piecewise": lambda o: o.Adam(o.schedules.PiecewiseConstantDecay([1, 2], [0.1, 0.05, 0.02])),
    "polynomial": lambda o: o.RMSprop(o.schedules.PolynomialDecay(0.1, 5)),
    "inverse_time": lambda o: o.Adagrad(o.schedules.InverseTimeDecay(0.1, 2, 0.5)),
    "weight_decay": lambda o: o.SGD(0.1, momentum=0.9, weight_decay=0.1),
    "average": lambda o: o.Adam(0.01, use_ema=True, ema_overwrite_frequency=2),
    "clipped": lambda o: o.Adam(0.01, global_clipnorm=0.1),
    "clipped_values": lambda o: o.SGD(0.1, clipvalue=0.01),
}

DECAYING = {
    "adam_decay": lambda o: o.Adam(0.01, decay=0.1),
    "sgd_decay": lambda o: o.SGD(0.1, momentum=0.9, decay=0.1),
}
"""With what only the optimizers before 2.11 have."""

STATES = ("fresh", "frozen", "unfrozen", "recompiled")
"""Optimizers that have not made a step; models whose layers froze or thawed after `compile`."""

COMPILED = {
    "losses_by_name": lambda _: {"loss": "mae", "metrics": ["mae", "mse"]},
    "huber": lambda k: {"loss": k.losses.Huber(delta=0.5), "metrics": ["cosine_similarity"]},
    "logcosh": lambda _: {"loss": "logcosh", "metrics": ["logcosh"]},
    "huber_name": lambda _: {"loss": "huber_loss"},
    "cosine": lambda k: {"loss": k.losses.CosineSimilarity(axis=-1)},
    "cosine_name": lambda _: {"loss": "cosine_similarity"},
    "divergence": lambda _: {
        "loss": "kullback_leibler_divergence",
        "metrics": ["kullback_leibler_divergence"],
    },
    "divergence_object": lambda k: {"loss": k.losses.KLDivergence()},
    "poisson": lambda _: {"loss": "poisson", "metrics": ["poisson"]},
    "msle": lambda _: {"loss": "mean_squared_logarithmic_error", "metrics": ["msle", "mape"]},
    "hinge": lambda k: {"loss": k.losses.SquaredHinge(), "metrics": ["hinge"]},
    "crossentropy": lambda k: {
        "loss": k.losses.BinaryCrossentropy(label_smoothing=0.1),
        "metrics": ["accuracy", k.metrics.AUC(name="area"), k.metrics.Precision()],
    },
    "categorical": lambda k: {
        "loss": k.losses.CategoricalCrossentropy(),
        "metrics": ["acc", k.metrics.TopKCategoricalAccuracy(k=2), "categorical_accuracy"],
    },
    "function": lambda k: {"loss": k.losses.mean_absolute_error, "metrics": [k.metrics.mse]},
    "sums": lambda k: {"loss": k.losses.MeanSquaredError(reduction="sum")},
    "metric_objects": lambda k: {
        "loss": "mse",
        "metrics": [k.metrics.MeanAbsoluteError(), k.metrics.RootMeanSquaredError(name="r")],
        "weighted_metrics": ["mae"],
        "loss_weights": [2.0],
    },
}
