"""Evidence packages: footage as it was recorded, with a signed list that a program of its own can judge. (FAULTS S20)

`contents` reads what the catalog knows, `sending` makes the package while it is sent, `verifier` is the program that
judges one: a file for itself, copied into every package, with the format in it.
"""
