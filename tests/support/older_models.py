"""Saves models with an older Keras, and what they compute.

Called as `python older_models.py FOLDER [NAME...]`, it runs in an environment of its own, with
tf-keras, TensorFlow before 2.16 or Keras before 3. For each NAME there are then `h5/NAME.h5`,
`keras/NAME.keras`, `weights/NAME.h5` (the old `save_weights`), `weights/NAME.weights.h5` (that of
Keras 3) and `weights/NAME.json`, as far as this Keras can, and `NAME.npz`: `input i`, `output i`,
and for what was compiled `target i`, and after one more step `trained output i` and
`trained weight i` in the order of `get_weights`.
"""

import importlib
import json
import os
import sys
import traceback
from pathlib import Path

import numpy as np
from older_layers import LAYERS, TEXTS, TOKENS
from older_optimizers import COMPILED, DECAYING, OPTIMIZERS, STATES
from older_topologies import TOPOLOGIES

BATCH, LENGTH = 3, 6
ADAPTED = ("mean:0", "variance:0")
"""Weights whose values a layer keeps elsewhere, too."""


def older_keras():
    """Imports the Keras before 3 that is there."""
    for name in ("tf_keras", "keras", "tensorflow.keras"):
        try:
            keras = importlib.import_module(name)
        except ImportError:
            continue
        if not keras.__version__.startswith("3"):
            return keras
    raise SystemExit("There is no Keras before 3 in this environment.")


def run_eagerly():
    """Runs small models at once, where there is a choice: to trace them takes ten times as long."""
    try:
        import tensorflow as tf

        tf.config.run_functions_eagerly(True)
    except (ImportError, AttributeError):
        pass


keras = older_keras()
run_eagerly()


def stack(name):
    """A Sequential model of one row of the table."""
    shape, layers = LAYERS[name]
    options = {}
    if shape[-1] == TOKENS:
        shape, options = shape[:-1], {"dtype": "int32", "name": "tokens"}
    elif shape[-1] == TEXTS:
        shape, options = shape[:-1], {"dtype": "string", "name": "texts"}
    made = layers(keras.layers)
    if not name.endswith("s"):  # both forms, by chance of the name
        return keras.models.Sequential([keras.layers.InputLayer(shape, **options), *made])
    inputs = output = keras.layers.Input(shape, **options)
    for layer in made:
        output = layer(output)
    return keras.models.Model(inputs, output)


def classifier():
    k = keras.layers
    return keras.models.Sequential(
        [
            k.Dense(4, input_shape=(5,), activation="tanh"),
            k.Dense(4, use_bias=False),  # behind it a bias has no gradient but noise
            k.BatchNormalization(),
            k.Dense(3, activation="sigmoid"),
        ]
    )


def randomise(model, seed=0):
    """Gives all weights other values, in the range of usual ones."""
    random, values = np.random.RandomState(seed), []
    variables = [v for v in model.weights if hasattr(v, "shape") and "float" in str(v.dtype)]
    for variable in variables:
        shape = [int(size) for size in variable.shape]
        drawn = random.normal(0.0, 0.4, size=shape)
        if variable.name.split("/")[-1] in ADAPTED or shape == []:
            drawn = keras.backend.get_value(variable)
        elif "variance" in variable.name:
            drawn = np.abs(drawn) + 0.5
        values.append(drawn)
    keras.backend.batch_set_value(list(zip(variables, values)))  # noqa: B905 - Python 3.6
    return model


def inputs_of(model):
    """Fixed inputs for a model: by the names and types of its tensors."""
    random, values = np.random.RandomState(3), []
    for tensor in model.inputs:
        shape = [BATCH] + [int(getattr(n, "value", n) or LENGTH) for n in tensor.shape[1:]]
        if "tokens" in tensor.name or "int" in str(tensor.dtype):
            values.append(random.randint(0, 6, size=shape).astype("int32"))
        elif "string" in str(tensor.dtype):
            values.append(random.choice(["a", "b b", "ü", "c"], size=shape))
        else:
            values.append(random.normal(size=shape).astype("float32"))
    return values


def flat(values):
    """The tensors of an output in one order."""
    if isinstance(values, dict):
        return [values[name] for name in sorted(values)]
    return list(values) if isinstance(values, (list, tuple)) else [values]


def by_name(model, values):
    names = [tensor.name for tensor in model.inputs]
    return dict(zip(names, values))  # noqa: B905 - Python 3.6


def predictions(model, inputs):
    if inputs[0].dtype.kind == "U":
        import tensorflow as tf

        inputs = [tf.constant(value) for value in inputs]
    if isinstance(getattr(model, "input", None), dict):
        inputs = by_name(model, inputs)
    else:
        inputs = inputs if len(inputs) > 1 else inputs[0]
    if any(getattr(layer, "stateful", False) for layer in model.layers):
        model.reset_states()
    return flat(model.predict_on_batch(inputs))


class Case:
    """A model, how it is compiled, and how long it was trained."""

    def __init__(self, model, compiled=None, steps=2):
        self.model, self.compiled, self.steps = model, compiled, steps
        self.inputs = inputs_of(model)
        self.outputs = predictions(model, self.inputs)
        random = np.random.RandomState(5)
        self.targets = [random.uniform(size=np.shape(v)).astype("float32") for v in self.outputs]

    def train(self):
        inputs, targets = self.inputs, self.targets
        if isinstance(getattr(self.model, "input", None), dict):
            inputs = by_name(self.model, inputs)
            targets = dict(zip(sorted(self.model.output), targets))  # noqa: B905 - Python 3.6
        else:
            inputs = inputs if len(inputs) > 1 else inputs[0]
            targets = targets if len(targets) > 1 else targets[0]
        self.model.train_on_batch(inputs, targets)

    def prepare(self):
        if self.compiled:
            self.model.compile(**self.compiled)
            for _ in range(self.steps):
                self.train()
            self.outputs = predictions(self.model, self.inputs)

    def values(self):
        """Everything that a judge compares; takes one more step."""
        found = {f"input {i}": value for i, value in enumerate(self.inputs)}
        found.update((f"output {i}", np.asarray(v)) for i, v in enumerate(self.outputs))
        if self.compiled:
            found.update((f"target {i}", value) for i, value in enumerate(self.targets))
            self.train()
            outputs = predictions(self.model, self.inputs)
            found.update((f"trained output {i}", np.asarray(v)) for i, v in enumerate(outputs))
            weights = [v for v in self.model.get_weights() if np.asarray(v).dtype != object]
            found.update((f"trained weight {i}", value) for i, value in enumerate(weights))
        return found


def trainable(model):
    outputs = flat(model.output if model.outputs else [])
    kinds = [str(getattr(tensor, "dtype", "")) for tensor in outputs]
    return bool(model.trainable_weights) and all("int" not in kind for kind in kinds)


def compiled(optimizer, **options):
    return {"optimizer": optimizer, "loss": "mse", **options}


def layer_case(name):
    model = randomise(stack(name))
    return Case(
        model, None if "dropout" in name else compiled("adam") if trainable(model) else None
    )


def topology_case(name, loss="mse"):
    model = randomise(TOPOLOGIES[name](keras))
    chance = name in ("sequential", "mixed")  # dropout; the scale of losses
    return Case(model, compiled("adam", loss=loss) if trainable(model) and not chance else None)


def optimizer_case(name, optimizers):
    return Case(randomise(classifier()), compiled({**OPTIMIZERS, **DECAYING}[name](optimizers)))


def state_case(name):
    model = randomise(classifier())
    case = Case(model, compiled("adam"), steps=0 if name == "fresh" else 2)
    case.prepare()
    if name == "recompiled":
        case.model.layers[1].trainable = False
    case.prepare()
    if name == "frozen":
        model.layers[0].trainable = False
    elif name == "unfrozen":
        model.layers[1].trainable = False
        case.prepare()
        model.layers[1].trainable = True
    case.prepare = lambda: None
    return case


def compiled_case(name):
    model = randomise(classifier())
    optimizer = keras.optimizers.SGD(0.1)
    return Case(model, {"optimizer": optimizer, **COMPILED[name](keras)})


def uncompiled_case(name):
    return Case(randomise(TOPOLOGIES[name](keras)))


def cases():
    """Functions that make cases, by name."""
    found = {"layer_" + name: (layer_case, name) for name in LAYERS}
    found.update(("model_" + name, (topology_case, name)) for name in TOPOLOGIES)
    found.update(
        ("plain_" + name, (uncompiled_case, name)) for name in ("sequential", "nested_twice")
    )
    found.update(("state_" + name, (state_case, name)) for name in STATES)
    found.update(("compiled_" + name, (compiled_case, name)) for name in COMPILED)
    new = keras.optimizers
    found.update(("optimizer_" + name, (optimizer_case, name, new)) for name in OPTIMIZERS)
    old = getattr(keras.optimizers, "legacy", None)
    if old is not None:
        old.schedules = keras.optimizers.schedules
        names = [*OPTIMIZERS, *DECAYING]
        found.update(("legacy_" + name, (optimizer_case, name, old)) for name in names)
    else:
        found.update(("optimizer_" + name, (optimizer_case, name, new)) for name in DECAYING)
    return found


def save(case, name, folder):
    """Writes the model in each form that this Keras has; returns the forms that failed."""
    forms = {
        "h5/{}.h5": case.model.save,
        "keras/{}.keras": case.model.save,
        "weights/{}.h5": case.model.save_weights,
        "weights/{}.weights.h5": case.model.save_weights,
        "weights/{}.json": lambda path: Path(path).write_text(case.model.to_json()),
    }
    numbers = [int(part) for part in keras.__version__.split("-")[0].split(".")[:2]]
    if numbers < [2, 12]:
        del forms["keras/{}.keras"]
        del forms["weights/{}.weights.h5"]
    failures = []
    for form, write in forms.items():
        path = os.path.join(folder, form.format(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        try:
            write(path)
        except Exception as error:  # noqa: BLE001 - what it cannot save is reported
            failures.append(f"{form}: {type(error).__name__}: {str(error)[:200]}")
            if os.path.exists(path):
                os.remove(path)
    return failures


def main():
    folder, *names = sys.argv[1:]
    os.makedirs(folder, exist_ok=True)
    report, made = {}, cases()
    for name in names or made:
        keras.backend.clear_session()
        try:
            function, *arguments = made[name]
            case = function(*arguments)
            case.prepare()
            report[name] = save(case, name, folder)
            np.savez(os.path.join(folder, name + ".npz"), **case.values())
        except Exception as error:  # noqa: BLE001 - as above
            if os.environ.get("VERBOSE"):
                traceback.print_exc()
            report.setdefault(name, []).append(f"{type(error).__name__}: {str(error)[:300]}")
        if report[name]:
            print(name, *report[name], sep="\n    ", flush=True)  # noqa: T201 - a script
    with open(os.path.join(folder, "report.json"), "w") as file:
        json.dump({"keras": keras.__version__, "failures": report}, file, indent=1)


if __name__ == "__main__":
    main()
