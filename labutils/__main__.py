"""`python -m labutils COMMAND`; labutils.course.cli lists the commands."""

import sys

from labutils.course.cli import main

if __name__ == "__main__":
    sys.exit(main())
