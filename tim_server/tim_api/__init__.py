"""TI-Messenger interfaces."""
