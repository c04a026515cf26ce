"""Draw a picture of the gallery, after its check: python docs/picture.py docs/gallery/phase_diagram.py phase_diagram.png."""

import importlib.util
import sys

import matplotlib


def drawn(script):
    """A script of the gallery as a module, and its picture, after its check."""
    spec = importlib.util.spec_from_file_location("picture", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = module.compute()
    module.check(found)
    return module, module.draw(found)


if __name__ == "__main__":
    matplotlib.use("Agg")
    script, out = sys.argv[1:]
    drawn(script)[1].savefig(out, dpi=110)
