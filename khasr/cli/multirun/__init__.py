"""Multirun with resume: rerunning a sweep runs only its unfinished jobs."""
