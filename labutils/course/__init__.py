"""What serves students and instructors around the notebooks; it imports nothing before it is asked for.

cli: one command line · doctor: is this machine ready · lab: execute the notebooks, one after the other, and write
build/lab.html · notebooks: execute one of them · page: the one HTML page · suite: all tests · classifier: train it.
"""
