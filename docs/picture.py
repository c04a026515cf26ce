"""Draw a picture of the gallery, after its check: python docs/picture.py docs/gallery/phase_diagram.py phase_diagram.png."""

import importlib.util
import sys

import matplotlib


def draw(script, out):
    spec = importlib.util.spec_from_file_location("picture", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = module.compute()
    module.check(found)
    module.draw(found).savefig(out, dpi=110)


if __name__ == "__main__":
    matplotlib.use("Agg")
    draw(*sys.argv[1:])
