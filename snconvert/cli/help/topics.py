"""The topics of `snconvert help`: short texts in Markdown, also for the documentation."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from snconvert.cli.help.screens import EXIT_CODES
from snconvert.cli.help.values import VALUES

WIDTH = 78


class Topic(NamedTuple):
    """One topic.

    Attributes:
        title: What it is about, in a few words.
        text: Paragraphs, lists and blocks of Markdown, in lines of at most `WIDTH` letters.
    """

    title: str
    text: str


def _items(pairs: Iterable[tuple[object, str]]) -> str:
    """Returns a list of terms with their meanings."""
    lines = (f"- `{term}`: {meaning}." for term, meaning in pairs)
    return "\n".join(textwrap.fill(line, WIDTH, subsequent_indent="  ") for line in lines)


def _values(option: str) -> str:
    return _items(VALUES[option].items())


TOPICS: Mapping[str, Topic] = {
    "files": Topic(
        "what MODEL can be, and where the result goes",
        """\
MODEL is one of these; what is in it decides, not its name:

- a `.keras` archive of Keras 3, or the folder that Keras writes with
  `zipped=False`;
- a whole model that an older Keras saved: `.h5`, `.hdf5`, or a `.keras`
  archive of Keras 2 (the result is a `.keras` archive of Keras 3);
- weights alone, with `--config FILE.json`: what `model.to_json()` returns, or
  the `config.json` of a `.keras` archive;
- a folder of models, or a glob in quotes. Each model gets a result of its
  own, `--jobs N` works on N at once, and one bad file stops none of the
  others.

The result goes beside MODEL, with `-sn`, `-baked`, `-plain` or `-keras3`
before the suffix, or to `-o PATH`: a file, or a folder if there are several
models, or if it ends in a slash or is there. What an earlier run made of the
same bytes with the same options is left as it is. Any other file is replaced
with `--force` only, and MODEL itself with `--in-place` only. Nobody ever sees
half of it.

Keras opens a converted model after `import snconvert`, unless the target is
`keras`; a baked or removed one needs nothing.
""",
    ),
    "kinds": Topic(
        "which layers are converted",
        f"""\
`--kinds` takes one or several, separated by commas:

{_values("kinds")}

`--conv` is short for `--kinds dense,conv`. Kernels in one layer are
normalised each by itself. `snconvert rules` lists every class of layer, and
`snconvert inspect MODEL` says of each layer which option converts it.

Sequential and Functional models, models in models, TimeDistributed,
Bidirectional and RNN are opened. For what is inside classes of your own, see
`snconvert help custom-classes`.
""",
    ),
    "patterns": Topic(
        "how --only and --exclude name layers",
        """\
A pattern is compared with the path of a layer, its names from the outside
joined by `/`, as `snconvert inspect MODEL -v` shows them. A pattern that
matches a model or wrapper holds for all that is in it.

- `head`: the layer of that name, and no other.
- `encoder/*`: a glob. `*` stands for any text, also across `/`, `?` for one
  letter, `[12]` for one of these letters.
- `re:REGEX`: a regular expression (of Python), found anywhere in the path.

Several patterns are separated by commas, or the option is repeated:

    snconvert apply model.keras --only stem,block_* --exclude block_0
    snconvert apply model.keras --only "re:^block_[0-9]+$"

A comma in brackets, braces or parentheses does not separate, nor does any
after `re:`. A comma in a layer's name is written `[,]`.

A pattern that matches nothing is an error that lists the layers there are.
""",
    ),
    "modes": Topic(
        "what is done about the norm of a kernel",
        f"""\
Sigma, the largest singular value of a kernel, is how much it can stretch its
input. A converted layer computes with the kernel times a factor, and trains
the kernel as it is. `--mode` chooses the factor:

{_values("mode")}

`--bound C` is the norm for `hard` and `cap`, 1 if not given. `hard` and `cap`
change what the model computes: train it, or go on training, afterwards.

Papers: Miyato et al. 2018, arXiv:1802.05957 (`hard`); Liu et al. 2020,
arXiv:2006.10108 (`cap`); Zhai et al. 2023, arXiv:2303.06296 (`gain`).
""",
    ),
    "norms": Topic(
        "which norm sigma is",
        f"""\
{_values("norm")}

Dense layers have one norm. A convolution applies its kernel at many places,
so its norm as a map is larger than that of the matrix, up to 3 times for 3x3;
`snconvert inspect MODEL` shows the range. `operator` takes strides, padding,
dilation and the size of the input into account. It costs two convolutions
more in a training step, and needs `--target layer`.
""",
    ),
    "targets": Topic(
        "what a converted layer becomes",
        f"""\
{_values("target")}

After `layer` and `constraint` the model needs `import snconvert` before Keras
loads it. `keras` skips layers that Keras' wrapper would get wrong, and says
so. With `keras` and `constraint` the stored kernel itself is normalised, and
`snconvert remove` restores it to rounding; with `layer` bit for bit.
""",
    ),
    "recipes": Topic(
        "options from a file, also for single layers",
        """\
A recipe is a TOML file with options of `apply` as their flags are called, and
settings for the layers that a pattern matches:

    kinds = ["dense", "conv"]
    mode = "cap"
    bound = 3.0
    exclude = ["head"]

    [[layer]]
    match = "encoder/*"
    bound = 1.0

    snconvert apply model.keras --recipe recipe.toml

A `[[layer]]` takes `mode`, `bound`, `power_iterations` and `norm`; where
several match, the last one wins. Options on the command line win over all of
the file.
""",
    ),
    "custom-classes": Topic(
        "models with layers of your own",
        """\
Nothing in a file is run. A class of your own is carried over as it is, and
the report calls it opaque: what is in it is not converted.

`--import MODULE` imports the module that registers the class
(`keras.saving.register_keras_serializable`); the model then goes through
Keras, and layers in the class are converted, too:

    snconvert apply model.keras --import my_package.layers

Import only what you trust. Load the result after `import snconvert` and an
import of the same module.
""",
    ),
    "proofs": Topic(
        "verify and certify",
        """\
- `snconvert verify BEFORE AFTER` proves that AFTER is BEFORE, converted,
  baked or made plain again, and nothing else: every weight, the optimizer,
  the configuration and all norms. `apply --verify` does so before the result
  takes its place.
- `--certify` proves each sigma: it lies between two numbers at most a part in
  a million away, with all rounding accounted for.
- `snconvert help lipschitz` is about bounds of whole networks.
""",
    ),
    "lipschitz": Topic(
        "a bound on how far the whole network can stretch",
        """\
    snconvert inspect model.keras --lipschitz
    snconvert apply model.keras --lipschitz 1 --conv

The first certifies a number L: no change of the input changes the output by
more than L times its length. The second chooses the bounds of the layers so
that L is at most 1. It changes what the model computes: train it afterwards,
then call `snconvert.converge` in Python, and inspect it again.

`--samples N` adds the largest slope found at N points: L cannot be smaller.
Bounds of single layers say little about the network: a convolution stretches
more than its matrix, residual connections add, and layers that stay plain
multiply. Some layers, as attention, have no bound; they are named.
""",
    ),
    "averaging": Topic(
        "averaged weights: EMA, SWA, target networks",
        """\
A converted layer keeps a vector `u` beside its kernel, and training updates
it. After weights have been averaged or assigned, `u` no longer fits the
kernel, and the norm may be above the bound. So call, in Python:

    snconvert.converge(target, rounds=1)  # after each soft update
    snconvert.converge(model)             # after one average, or assigning

With Keras' `use_ema` or `SwapEMAWeights`, call it once the averages are in
the model. `--target constraint` keeps no `u`, and does not go with `use_ema`.
""",
    ),
    "troubleshooting": Topic(
        "what to do about an error",
        """\
An error reads `FILE: LAYER (CLASS): what is wrong. What to do.` Nothing is
written for that model. docs/troubleshooting.md has every message.

- Nothing to convert, or less than expected: `snconvert inspect MODEL` says of
  each layer which option converts it, or why none does.
- Keras says `Could not locate class 'SpectralDense'`: `import snconvert`
  before loading, or convert with `--target keras`.
- The results are worse: modes `hard` and `cap` need training afterwards.
- Only weights: `--config FILE.json`; `unzip -p model.keras config.json` takes
  the configuration out of a model.
- A class of your own: `snconvert help custom-classes`.
""",
    ),
    "json": Topic(
        "results for programs",
        """\
With `--json` there is one object on stdout for each model, a line each, as
soon as it is done, and nothing else; of a model that failed the object has an
`error`. Warnings and errors stay on stderr, too:

    snconvert inspect model.keras --json

`path` is the path of a layer, `sigma` the norm of its raw kernel, and
`sigma_after` that of the kernel it computes with, measured (with `--dry-run`
what it would be); null where `inspect` finds a layer that is not converted.
`status` is `convertible`, `converted`, `spectral` (before) or `skipped`.
`schema.json` in the package is a JSON Schema of every line.
""",
    ),
    "colors": Topic(
        "NO_COLOR, FORCE_COLOR and width",
        """\
On a terminal, help and tables have colours and lines; where piped they are
plain. These change it:

- `--no-color`, or the variable `NO_COLOR`: no colours anywhere.
- `FORCE_COLOR`: colours where piped, too, as for `less -R`.
- `COLUMNS`: the width, if it is not that of the terminal.
""",
    ),
    "completion": Topic(
        "the TAB key in bash, zsh, fish and PowerShell",
        """\
Once, for the shell you use; then open a new one:

    snconvert --install-completion

TAB then completes commands, options, the values of `--mode`, `--kinds`,
`--norm` and `--target`, files that can be models, and behind `--only` and
`--exclude` the layers of the model that stands before them.
""",
    ),
    "exit-codes": Topic(
        "what they mean",
        f"""\
{_items(EXIT_CODES.items())}

Of several models one that fails makes it 1; the others are done. An output
is whole or not there, whatever the code.
""",
    ),
}
"""The topics by their names, in the order in which they are listed."""
