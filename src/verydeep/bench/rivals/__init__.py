"""One module for each rival's library: it builds the network from our rows, as fast as the library can make it.

Each has `prepare(subject, contestant)`, which writes files that a start reads, and `load(subject, contestant, ...)`.
"""
