"""The rules of the house that a count can hold: sizes, and a place where each module is tested."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest
from places import ROOT, TESTS

PACKAGE = ROOT / "snconvert"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
LINES, FILES, PARAMETERS = 300, 17, 6

WIDE = {
    "api/files.py": {"apply_file": 9},
    "core/convolution_map.py": {"transposed_at_size": 7},
    "live/by_file.py": {"undo_by_file": 7},
    "live/undo.py": {"undo": 7},
}
"""Functions with more parameters than they should have, and how many: this may only shrink."""

ELSEWHERE = {
    "archive/test_members.py": "archive/member_bytes.py",
    "archive/test_output.py": "archive/zip_writer.py",
    "archive/test_remote.py": "archive/remote_output.py archive/remote_source.py",
    "archive/test_source.py": "archive/file_source.py archive/folder_source.py",
    "cli/help/test_screens.py": "cli/options.py",
    "cli/test_commands.py": "cli/messages.py cli/runner.py cli/verify.py",
    "cli/test_summary.py": "cli/totals.py",
    "cli/test_tables.py": "cli/printing/layer_lines.py cli/printing/printer.py"
    " cli/printing/verdict.py",
    "config/test_parsing.py": "config/tree.py",
    "config/test_safety.py": "config/dtype_policies.py config/keras_modules.py"
    " config/references.py",
    "system/test_presets.py": "formats/preset.py live/folders/presets.py",
    "live/folders/test_skeleton.py": "live/folders/in_files.py live/folders/kernels.py",
    "formats/test_sharded.py": "archive/output_folder.py archive/weight_map.py weights/shards.py",
    "files/targets/test_constraint.py": "config/constraint_entry.py",
    "files/test_convert.py": "files/edits.py files/inventory.py files/measure.py files/model.py"
    " files/targets/layer.py files/targets/target.py planning/record.py weights/scaling.py",
    "files/test_optimizer_slots.py": "core/optimizer_families.py files/optimizer_layout.py"
    " files/optimizer_state.py",
    "files/test_undo.py": "files/normalised.py files/targets/keras_wrapper.py jobs/effective.py",
    "formats/test_table.py": "formats/format.py formats/hdf5_model.py formats/keras2_archive.py"
    " formats/keras3.py formats/translation.py formats/weights_and_config.py",
    "kinds/test_table.py": "kinds/attention.py kinds/conv.py kinds/dense.py kinds/embedding.py"
    " kinds/kernel_rule.py kinds/recurrent.py core/matrix_view.py rules.py",
    "laws/test_carriers_agree.py": "planning/measured.py",
    "laws/test_messages.py": "errors.py planning/advice.py",
    "layers/test_base.py": "layers/attention.py layers/composite.py layers/conv.py"
    " layers/dense.py layers/depthwise.py layers/errors.py",
    "layers/test_constraint.py": "constraints.py",
    "layers/test_initial_u.py": "layers/config_view.py",
    "layers/test_recurrent.py": "layers/swapped_kernel.py",
    "legacy/test_configuration.py": "legacy/models.py legacy/objects.py legacy/shapes.py"
    " legacy/sharing.py",
    "legacy/test_hdf5.py": "legacy/layer_variables.py legacy/relocation.py legacy/variables.py",
    "legacy/test_optimizer_state.py": "legacy/optimizer_slots.py",
    "legacy/test_training.py": "legacy/optimizers.py",
    "linalg/test_certificate.py": "jobs/requests.py",
    "linalg/test_convolution_norm.py": "core/convolution_map.py linalg/convolution_apply.py"
    " linalg/kernel_norm.py linalg/stored_u.py",
    "linalg/test_matrix_norm.py": "core/triplet.py linalg/blocks.py",
    "linalg/test_spectrum.py": "core/spectrum.py",
    "linalg/test_spectral_norm.py": "linalg/array_libraries.py linalg/power_iteration.py",
    "linalg/test_torus.py": "linalg/gram_symbol.py",
    "lipschitz/budget/test_search.py": "lipschitz/budget/request.py"
    " lipschitz/budget/scaled_rules.py",
    "lipschitz/test_folding.py": "lipschitz/kernels.py lipschitz/norms.py lipschitz/steps.py",
    "lipschitz/test_segments.py": "lipschitz/multipliers/kernels_in_use.py",
    "lipschitz/reading/test_models.py": "lipschitz/network.py lipschitz/reading/builder.py"
    " lipschitz/reading/layers.py",
    "lipschitz/rows/test_table.py": "files/lipschitz.py"
    " lipschitz/rows/activation.py lipschitz/rows/applications.py"
    " lipschitz/rows/arithmetic.py lipschitz/rows/convolution.py"
    " lipschitz/rows/dense.py lipschitz/rows/merging.py lipschitz/rows/moving.py"
    " lipschitz/rows/normalization.py lipschitz/rows/operations.py lipschitz/rows/pooling.py"
    " lipschitz/rows/preprocessing.py lipschitz/rows/recurrent.py lipschitz/rows/regularization.py"
    " lipschitz/rows/reshaping.py lipschitz/rows/row.py",
    "live/internals/test_optimizer_state.py": "compat/optimizer_choices.py"
    " live/variables.py live/internals/optimizer_twins.py",
    "live/test_convert.py": "live/internals/class_swap.py"
    " live/internals/copying.py live/internals/reachable.py live/internals/walk.py"
    " live/kernels.py live/measure.py live/targets/layer.py live/targets/target.py live/tree.py",
    "live/test_lower_bound.py": "compat/derivatives.py",
    "live/test_through_keras.py": "live/internals/saved_owners.py live/loading.py live/quiet.py",
    "live/test_undo.py": "live/plain_weights.py live/targets/constraint.py"
    " live/targets/keras_wrapper.py",
    "page/test_document.py": "page/axis.py page/charts.py page/facts.py page/lipschitz.py"
    " page/network.py page/numbers.py page/table.py",
    "page/test_layout.py": "page/ranks.py",
    "planning/test_plan.py": "planning/selection.py",
    "planning/test_recipe.py": "recipe.py",
    "sandbox/test_worker.py": "sandbox/child.py sandbox/signals.py",
    "system/test_docs.py": "core/targets.py core/version.py",
    "system/test_no_backend.py": "__main__.py api/files.py api/reading.py",
    "test_public_api.py": "core/public_names.py",
    "test_render.py": "cli/printing/notebook.py",
    "verification/test_files.py": "core/graph.py core/network_bound.py core/report.py"
    " core/verdict.py jobs/compare.py"
    " verification/arrays.py verification/proofs.py verification/records.py live/verify.py",
    "verification/test_forms.py": "verification/findings.py",
    "weights/test_reading.py": "weights/contents.py",
}
"""Which modules the tests of others test, by the tests' file: a module without a file of its own
needs a line here."""


def name_of(module: Path) -> str:
    return str(module.relative_to(PACKAGE))


def own_tests(module: Path) -> Path:
    inner = module.relative_to(PACKAGE)
    return TESTS / inner.parent / f"test_{inner.name}"


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_a_module_has_its_tests(module: Path) -> None:
    """A module `a/b.py` is tested in `tests/a/test_b.py`, or where the table above says."""
    listed = [file for file, names in ELSEWHERE.items() if name_of(module) in names.split()]
    if own_tests(module).exists():
        assert not listed, f"{name_of(module)} has tests of its own: take it out of ELSEWHERE"
    else:
        where = own_tests(module).relative_to(ROOT)
        assert len(listed) == 1, f"write {where}, or name in ELSEWHERE the file that tests it"


def test_the_table_is_true() -> None:
    """The files of tests that the table names are there, and so are the modules."""
    names = {name_of(module) for module in MODULES}
    for file, modules in ELSEWHERE.items():
        assert (TESTS / file).exists(), file
        assert set(modules.split()) <= names, set(modules.split()) - names


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_a_module_is_short(module: Path) -> None:
    """A module has 300 lines at most."""
    lines = len(module.read_text(encoding="utf-8").splitlines())
    assert lines <= LINES, f"{name_of(module)} has {lines} lines: split it"


def test_a_folder_is_small() -> None:
    """A folder has 17 modules at most."""
    counts = Counter(path.parent for path in MODULES)
    assert [str(folder) for folder, count in counts.items() if count > FILES] == []


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_a_function_has_few_parameters(module: Path) -> None:
    """A function has 6 parameters at most, `self`, constructors and commands aside, or no more
    than the table of the wide ones says."""
    wide = {}
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and node.name != "__init__":
            arguments = node.args
            names = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
            count = len([name for name in names if name.arg not in {"self", "cls"}])
            if count > PARAMETERS:
                wide[node.name] = count
    if name_of(module) != "cli/commands.py":
        assert wide == WIDE.get(name_of(module), {})
