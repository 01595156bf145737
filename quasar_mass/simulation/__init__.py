"""Simulated surveys: quasars, the spectrograph, labels, and the files that a survey publishes."""
