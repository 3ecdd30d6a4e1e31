"""The lifecycle's steps, and the engines that run them in order."""
