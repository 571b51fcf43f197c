"""Train the article's network in Keras, as a worker process of `benchmarks.training`, in its own environment.

    uv venv /tmp/keras && uv pip install --python /tmp/keras/bin/python tensorflow-cpu
    python -m benchmarks.training --keras /tmp/keras/bin/python

The network is the one that the article's notebook ran. There, the second convolution of each block reads the input of
the block, so the first one has no effect and is left out here.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from keras import Model, layers

from benchmarks.worker_process import serve

PARAMETERS = 1_179_121  # as printed by the notebook's model.summary()
DROPOUT = 0.05


def conv_block(features: tf.Tensor, filters: int) -> tf.Tensor:
    """Apply convolution, batch norm and ReLU."""
    features = layers.Conv2D(filters, 3, kernel_initializer="he_normal", padding="same")(features)
    return layers.Activation("relu")(layers.BatchNormalization()(features))


def build_unet() -> Model:
    """Return the article's U-Net."""
    pixels = layers.Input((128, 128, 1))
    features = pixels
    skips = []
    for filters in (16, 32, 64, 128):
        features = conv_block(features, filters)
        skips.append(features)
        features = layers.Dropout(DROPOUT)(layers.MaxPooling2D(2)(features))
    features = conv_block(features, 256)
    for filters, skip in zip((128, 64, 32, 16), reversed(skips), strict=True):
        upsampled = layers.Conv2DTranspose(filters, 3, strides=2, padding="same")(features)
        features = conv_block(layers.Dropout(DROPOUT)(layers.concatenate([upsampled, skip])), filters)
    return Model(pixels, layers.Conv2D(1, 1, activation="sigmoid")(features))


def main(tiles: int, threads: int) -> None:
    """Serve one `fit` over `tiles` tiles per request; 0 threads is TensorFlow's default."""
    if threads:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    model = build_unet()
    assert model.count_params() == PARAMETERS
    model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])
    rng = np.random.default_rng(0)
    pixels = rng.random((tiles, 128, 128, 1), np.float32)
    masks = (rng.random((tiles, 128, 128, 1)) > 0.75).astype(np.float32)
    serve(lambda: model.fit(pixels, masks, batch_size=32, epochs=1, verbose=0))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
