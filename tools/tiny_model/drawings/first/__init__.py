"""How the people were drawn with whom the files in models/tiny were trained: the first edition of the drawings.

For the tests and tools that show those files somebody they know. It goes when files are shipped that were trained with the
drawings one floor up.
"""
