"""The scoring service: raw event in, decision out. It needs a bundle and nothing else of this project."""
