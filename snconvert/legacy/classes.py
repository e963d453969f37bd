"""Which layers Keras 3 has, and what is wrong with those that it has not."""

from __future__ import annotations

from collections.abc import Mapping

from snconvert.core.foreign import REBUILD
from snconvert.legacy.objects import words

KNOWN = words("""
    Activation ActivityRegularization AdaptiveAveragePooling1D AdaptiveAveragePooling2D
    AdaptiveAveragePooling3D AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D Add
    AdditiveAttention AlphaDropout Attention AugMix AutoContrast Average AveragePooling1D
    AveragePooling2D AveragePooling3D BatchNormalization Bidirectional CategoryEncoding
    CenterCrop Concatenate ContrastLimitedAdaptiveHistogramEqualization Conv1D Conv1DTranspose
    Conv2D Conv2DTranspose Conv3D Conv3DTranspose ConvLSTM1D ConvLSTM2D ConvLSTM3D Cropping1D
    Cropping2D Cropping3D CutMix Dense DepthwiseConv1D DepthwiseConv2D Discretization Dot
    Dropout ELU EinsumDense Embedding Equalization Flatten FlaxLayer GRU GRUCell GaussianDropout
    GaussianNoise GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D
    GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D GroupNormalization
    GroupQueryAttention HashedCrossing Hashing Identity InputLayer IntegerLookup JaxLayer LSTM
    LSTMCell Lambda Layer LayerNormalization LeakyReLU Masking MaxNumBoundingBoxes MaxPooling1D
    MaxPooling2D MaxPooling3D Maximum MelSpectrogram Minimum MixUp MultiHeadAttention Multiply
    Normalization PReLU Permute Pipeline RMSNormalization RNN RandAugment RandomBrightness
    RandomColorDegeneration RandomColorJitter RandomContrast RandomCrop RandomElasticTransform
    RandomErasing RandomFlip RandomGaussianBlur RandomGrayscale RandomHue RandomInvert
    RandomPerspective RandomPosterization RandomRotation RandomSaturation RandomSharpness
    RandomShear RandomTranslation RandomZoom ReLU RepeatVector Rescaling Reshape Resizing
    ReversibleEmbedding STFTSpectrogram SeparableConv1D SeparableConv2D SimpleRNN SimpleRNNCell
    Softmax Solarization SpatialDropout1D SpatialDropout2D SpatialDropout3D
    SpectralNormalization StackedRNNCells StringLookup Subtract TFSMLayer TextVectorization
    TimeDistributed TorchModuleWrapper UnitNormalization UpSampling1D UpSampling2D UpSampling3D
    Wrapper ZeroPadding1D ZeroPadding2D ZeroPadding3D
""")
"""The layers of Keras 3."""

_IN_OPS = (
    "Load it with the package tf-keras, rebuild the model in Keras 3 with keras.ops in that place,"
    " copy the weights with set_weights and save that"
)
_OPERATION = ("it is an operation of TensorFlow that stands in the graph as a layer", _IN_OPS)
_GONE = ("Keras 3 has no such layer", REBUILD)
REFUSED: Mapping[str, tuple[str, str]] = {
    "AddLoss": ("it adds to the loss in the graph, which Keras 3 cannot", REBUILD),
    "AddMetric": ("it adds a metric in the graph, which Keras 3 cannot", REBUILD),
    "ClassMethod": _OPERATION,
    "DenseFeatures": _GONE,
    "DeviceWrapper": _GONE,
    "DropoutWrapper": _GONE,
    "InstanceMethod": _OPERATION,
    "InstanceProperty": _OPERATION,
    "LinearModel": _GONE,
    "LocallyConnected1D": _GONE,
    "LocallyConnected2D": _GONE,
    "ModuleWrapper": ("it wraps a module of TensorFlow, which no configuration holds", REBUILD),
    "PeepholeLSTMCell": _GONE,
    "RandomHeight": _GONE,
    "RandomWidth": _GONE,
    "ResidualWrapper": _GONE,
    "SlicingOpLambda": _OPERATION,
    "TFOpLambda": _OPERATION,
    "TensorFlowOpLayer": _OPERATION,
    "WideDeepModel": _GONE,
}
"""What Keras 3 has no word for: what is wrong, and the way out."""

UNNAMED_OPERATION = (
    "it is an operation of Keras in the graph, whose module HDF5 files do not name",
    "Build the model again in code, load the weights of this file and save it as a .keras file",
)
"""What is wrong with what Keras 3 writes into HDF5 for `x * 2`, and the way out."""
