"""The network, its training, and the model file."""
