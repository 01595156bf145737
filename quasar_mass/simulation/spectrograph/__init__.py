"""The simulated spectrograph: noise, sky, masks and calibration errors."""
