"""Limit torch to one thread: more do not speed up networks of this size and slow them down on a busy machine."""

import torch

torch.set_num_threads(1)
