"""Spectra: reading them, one survey a file, and putting them on the rest-frame grid."""
