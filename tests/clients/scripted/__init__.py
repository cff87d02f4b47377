"""The scripted upstream: what it is asked (`view`), what it answers (`scenario`), and how each dialect puts that on the wire."""
