"""Serving's intent: what should be served how, kept where a restart finds it."""
