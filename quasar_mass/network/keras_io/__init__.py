"""The model file: one .h5 that Keras 2 and Keras 3 open."""
