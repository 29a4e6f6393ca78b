"""`python -m trainers.world --out DIR`: write the mini world, or print examples with `--show TASK`."""

import argparse
import sys

from trainers.world.build import add_arguments, main

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m trainers.world", description="The multilingual mini world.")
    add_arguments(parser)
    sys.exit(main(parser.parse_args()))
