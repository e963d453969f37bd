"""Examples of each command, in its help and in the manual."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Example = tuple[str, str]
"""A command, and what it does."""

EXAMPLES: Mapping[str, Sequence[Example]] = {
    "": (
        ("snconvert inspect model.keras", "its layers, and what converts"),
        ("snconvert apply model.keras", "writes model-sn.keras"),
        ("snconvert verify model.keras model-sn.keras", "proves the result"),
        ("snconvert bake model-sn.keras", "plain layers, for deployment"),
    ),
    "apply": (
        ("snconvert apply model.keras", "Dense layers; writes model-sn.keras"),
        ("snconvert apply model.keras --conv --dry-run", "what would be done"),
        ("snconvert apply model.keras --mode cap --bound 3 --exclude head", "as in SNGP"),
        ("snconvert apply model.keras --kinds all --mode gain", "no output changes"),
        ("snconvert apply model.keras --target keras", "loads without snconvert"),
        ("snconvert apply model.keras -o out.keras --verify", "proved, then written"),
        ("snconvert apply 'models/*.keras' -o patched/ --jobs 2", "several, two at once"),
    ),
    "bake": (
        ("snconvert bake model-sn.keras", "writes model-sn-baked.keras"),
        ("snconvert bake model-sn.keras -o plain.keras", "to another place"),
    ),
    "remove": (
        ("snconvert remove model-sn.keras", "writes model-sn-plain.keras"),
        ("snconvert remove model-sn.keras --only 'block_*'", "of these layers only"),
    ),
    "inspect": (
        ("snconvert inspect model.keras", "each layer, its norm, what converts it"),
        ("snconvert inspect model.keras --no-sigma", "at once: no kernel is read"),
        ("snconvert inspect model.keras --lipschitz", "a bound of the whole network"),
        ("snconvert inspect model.keras --spectrum", "rank and condition of kernels"),
        ("snconvert inspect model.keras --json > report.json", "for programs"),
    ),
    "upgrade": (
        ("snconvert upgrade model.h5", "writes model-keras3.keras"),
        ("snconvert upgrade net.weights.h5 --config net.json", "weights alone"),
    ),
    "verify": (("snconvert verify model.keras model-sn.keras", "exit code 3 where it is not"),),
    "rules": (("snconvert rules", "the classes of layers, and what they become"),),
    "help": (
        ("snconvert help", "the topics"),
        ("snconvert help modes", "one of them"),
    ),
}
"""The examples by the names of their commands; of the program as a whole by the empty name."""


def example_lines(examples: Sequence[Example], width: int = 80) -> list[str]:
    """Returns the examples as lines for a shell, with comments that are aligned where that fits.

    Example:
        >>> example_lines([("snconvert rules", "the kinds"), ("snconvert help", "the topics")])
        ['  snconvert rules  # the kinds', '  snconvert help   # the topics']
    """
    column = max(len(command) for command, _ in examples)
    lines = [f"  {command:{column}}  # {about}" for command, about in examples]
    if max(map(len, lines)) < width:
        return lines
    return [f"  {command}  # {about}" for command, about in examples]
