"""What everything stands on: errors, the survey folder, constants, files written whole, parallel work, scores."""
