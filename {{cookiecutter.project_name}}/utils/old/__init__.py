"""What only projects of victoresque's template need, and files of theirs or of PyTorch's tutorials.

With nothing of the kind, delete the folder and the lines that import it.
"""
