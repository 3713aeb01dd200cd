"""A model under load: a dynamic-batching server, MLCommons LoadGen, and a simulated fleet.

The server is given a callable and the client a connection: nothing here knows models.
"""
