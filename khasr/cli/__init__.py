"""The command line: composes options, runs a command, reports errors, and runs sweeps. Imports no torch."""
