"""The command line: the verbs of both scripts."""
