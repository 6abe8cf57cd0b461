"""wire.py FOLDER PROGRAM...: runs a program of the contract, and loses what a test asked to be lost.

FOLDER/lose: the next creation is carried out and its reply lost. FOLDER/blind: the next listing does not happen.
"""

import json
import os
import subprocess
import sys


def told(what):
    try:
        os.remove(os.path.join(sys.argv[1], what))
        return True
    except FileNotFoundError:
        return False


request = sys.stdin.buffer.read()
verb = json.loads(request)["verb"]
if verb == "list" and told("blind"):
    sys.exit("the wire is cut")
lost = verb == "create" and told("lose")
done = subprocess.run(sys.argv[2:], input=request, stdout=subprocess.PIPE)
if lost:
    sys.exit("the reply was lost")
sys.stdout.buffer.write(done.stdout)
sys.exit(done.returncode)
