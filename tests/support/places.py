"""Where things lie that tests read."""

from pathlib import Path

SUPPORT = Path(__file__).resolve().parent
TESTS = SUPPORT.parent
ROOT = TESTS.parent
DATA = TESTS / "data"
MODELS = DATA / "models"
CORPUS = DATA / "corpus"
CASES = CORPUS / "cases"
SAMPLES = ROOT / "samples"
BENCHMARKS = ROOT / "benchmarks"
