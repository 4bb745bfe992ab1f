"""The HAProxy in front: who may come in, and which version answers."""
