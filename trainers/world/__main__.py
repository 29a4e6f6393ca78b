"""`python -m trainers.world --out DIR`: write the mini world, or print examples with `--show TASK`."""

import sys

from harness.command_line import Parser
from trainers.world.build import add_arguments, main

if __name__ == "__main__":
    parser = Parser(prog="python -m trainers.world", description="The multilingual mini world.")
    add_arguments(parser)
    sys.exit(main(parser.parse_args()))
