"""The article's notebook in Keras, for `benchmarks.training` to take turns with; runs in an environment of its own.

    uv venv /tmp/keras && uv pip install --python /tmp/keras/bin/python tensorflow-cpu
    python -m benchmarks.training --keras /tmp/keras/bin/python

As the notebook ran: each block's second convolution is fed the block's input, so the first is dead and one is left.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from keras import Model, layers

from benchmarks.turns import serve

PARAMETERS = 1_179_121  # as the notebook's summary prints them
DROPOUT = 0.05


def block(features: tf.Tensor, filters: int) -> tf.Tensor:
    features = layers.Conv2D(filters, 3, kernel_initializer="he_normal", padding="same")(features)
    return layers.Activation("relu")(layers.BatchNormalization()(features))


def article() -> Model:
    pixels = layers.Input((128, 128, 1))
    features = pixels
    skips = []
    for filters in (16, 32, 64, 128):
        features = block(features, filters)
        skips.append(features)
        features = layers.Dropout(DROPOUT)(layers.MaxPooling2D(2)(features))
    features = block(features, 256)
    for filters, skip in zip((128, 64, 32, 16), reversed(skips), strict=True):
        up = layers.Conv2DTranspose(filters, 3, strides=2, padding="same")(features)
        features = block(layers.Dropout(DROPOUT)(layers.concatenate([up, skip])), filters)
    return Model(pixels, layers.Conv2D(1, 1, activation="sigmoid")(features))


def main(tiles: int, threads: int) -> None:
    """Each turn is a `fit` over so many tiles; 0 threads leave TensorFlow its default."""
    if threads:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    model = article()
    assert model.count_params() == PARAMETERS
    model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])
    random = np.random.default_rng(0)
    pixels = random.random((tiles, 128, 128, 1), np.float32)
    masks = (random.random((tiles, 128, 128, 1)) > 0.75).astype(np.float32)
    serve(lambda: model.fit(pixels, masks, batch_size=32, epochs=1, verbose=0))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
