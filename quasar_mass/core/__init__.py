"""Shared by all other wings: errors, the survey folder, constants, writing files, parallel work, scores."""
