"""python -m headstart.cli"""

import os
import sys

if sys.path[0] == os.getcwd() and not sys.flags.safe_path:
    # Python has put the current directory first, where its code would run in place of a library's. It stays, as the last one,
    # only if headstart itself lives there.
    del sys.path[0]
    if os.path.dirname(os.path.dirname(os.path.dirname(__file__))) == os.getcwd():
        sys.path.append(os.getcwd())

from headstart.cli.main import main

main()
