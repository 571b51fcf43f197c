"""A dataset on disk: layouts, archives, image decoding, preprocessing, tiles.csv and folds."""
