"""`python -m privagams` is `privagams`."""

from privagams.cli import main

main()
