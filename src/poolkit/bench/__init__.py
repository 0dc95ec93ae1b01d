"""The bench: pooling layers of real networks, timed against the copy floor and against other libraries.

`poolkit bench` runs it. The copy floor of a layer is the time to read its input and write its output at the rate at
which this machine copies that tensor: no layer can take less, whoever wrote it.
"""
