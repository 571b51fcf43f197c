"""Run torch with one thread: more do not help networks this small, and are slow on a busy machine."""

import torch

torch.set_num_threads(1)
