"""Networks, their heads, pretrained weights and model files."""
