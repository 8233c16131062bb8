"""When each word was said, and how sure that is: a small CTC head on an encoder's frames, and what it tells.

The head is trained after the model, from the same transcripts, and lies beside its weights in a file of its
own; nothing of the model changes.
"""
