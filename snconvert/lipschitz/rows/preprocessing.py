"""The layers of preprocessing: of images, and of what is discrete."""

from __future__ import annotations

from snconvert.errors import SourceError, printable
from snconvert.kinds.kernel_rule import positive_integers
from snconvert.lipschitz.network import AxisMatrices, Constant, Sizes, Unbounded
from snconvert.lipschitz.rows.regularization import identity
from snconvert.lipschitz.rows.row import NOT_STORED, REPAIR, Answer, Call, Row, none

_IMAGE = 3  # axes of an image
_INTERPOLATIONS = ("nearest", "bilinear", "bicubic")


def _places(call: Call) -> tuple[int, int]:
    """Returns the axes of height and width."""
    if len(call.sizes) < _IMAGE:
        raise SourceError(f"a sample of {len(call.sizes)} axes is no image", REPAIR)
    return (-2, -1) if call.channels_first else (-3, -2)


def _with(call: Call, height: int, width: int) -> Sizes:
    sizes = list(call.sizes)
    for axis, size in zip(_places(call), (height, width), strict=True):
        sizes[axis] = size
    return tuple(sizes)


def _wanted(call: Call) -> tuple[int, int]:
    (height,) = positive_integers(call.config, "height", length=1)
    (width,) = positive_integers(call.config, "width", length=1)
    return height, width


def _resizing(call: Call) -> Answer:
    for key in ("crop_to_aspect_ratio", "pad_to_aspect_ratio", "antialias"):
        if call.flag(key):
            return Unbounded(f"its constant is not known with `{key}`")
    name = call.config.get("interpolation", "bilinear")
    if name not in _INTERPOLATIONS:
        return Unbounded(f"its constant is not known with the interpolation {printable(name)}")
    wanted = _wanted(call)
    sizes = [call.sizes[axis] for axis in _places(call)]
    axes = tuple(("resize", (size, to, name)) for size, to in zip(sizes, wanted, strict=True))
    return call.add(AxisMatrices(axes, _channels(call)), _with(call, *wanted))


def _crop(call: Call) -> Answer:
    """Leaves out the border; an image that is smaller than wanted would be resized."""
    wanted = _wanted(call)
    sizes = [call.sizes[axis] for axis in _places(call)]
    if not all(size is not None and size >= to for size, to in zip(sizes, wanted, strict=True)):
        return Unbounded("it may resize its input, which is smaller or of unknown size")
    return call.add(Constant(1.0, _channels(call)), _with(call, *wanted))


def _channels(call: Call) -> int:
    return -len(call.sizes) if call.channels_first else -1


_AUGMENTATIONS = [
    "AugMix",
    "CutMix",
    "Equalization",
    "MaxNumBoundingBoxes",
    "MixUp",
    "RandAugment",
    "RandomBrightness",
    "RandomColorDegeneration",
    "RandomColorJitter",
    "RandomContrast",
    "RandomCrop",
    "RandomElasticTransform",
    "RandomErasing",
    "RandomFlip",
    "RandomGaussianBlur",
    "RandomGrayscale",
    "RandomHue",
    "RandomInvert",
    "RandomPerspective",
    "RandomPosterization",
    "RandomRotation",
    "RandomSaturation",
    "RandomSharpness",
    "RandomShear",
    "RandomTranslation",
    "RandomZoom",
    "Solarization",
]
"""What `BaseImagePreprocessingLayer` puts out as it came, unless it is training.

Keras stores `training=True`, the default of their calls, in graphs of models that are not.
"""


def _embedding(call: Call) -> Answer:
    table = call.kernels.get("embeddings")
    if table is None:
        return NOT_STORED
    sizes = (*call.sizes, table.stored.array.dataset.shape[-1])
    start = call.builder.start(call.path, call.class_name, sizes, call.inputs)
    ids = frozenset(value.place for value in call.inputs) if call.flag("mask_zero") else frozenset()
    return start._replace(mask=start.mask | ids)


def _discrete(call: Call) -> Answer:
    """Leaves the sizes to those that the graph stores, as there are many modes."""
    return call.builder.start(call.path, call.class_name, (), call.inputs)._replace(known=False)


_DISCRETE = [
    "CategoryEncoding",
    "HashedCrossing",
    "Hashing",
    "IntegerLookup",
    "StringLookup",
    "TextVectorization",
]
_BEHIND = "the bound begins behind it, as it reads what is discrete"
ROWS = (
    Row(("Resizing",), "product of the norms of the small matrices along its axes", _resizing),
    Row(("CenterCrop",), "1 where the input is not smaller", _crop),
    Row(tuple(_AUGMENTATIONS), "1: it changes images in training only", identity),
    Row(("Embedding", "ReversibleEmbedding"), _BEHIND, _embedding),
    Row(tuple(_DISCRETE), _BEHIND, _discrete, joins=True),
    none("Discretization", because="it jumps at its boundaries"),
    none("AutoContrast", because="it divides by the contrast of its input"),
    none(
        "ContrastLimitedAdaptiveHistogramEqualization", because="it counts the values of its input"
    ),
)
