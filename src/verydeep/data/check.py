"""A set of annotated photos -> what is wrong with it."""

from collections.abc import Callable, Iterator

from verydeep.data import check_labels, check_objects, check_photos
from verydeep.data.findings import SEVERITIES, Finding
from verydeep.data.survey import Survey

FINDERS: tuple[Callable[[Survey], Iterator[Finding]], ...] = (
    check_photos.unreadable_annotations,
    check_photos.unreadable_photos,
    check_objects.masks_of_other_files,
    check_photos.exact_duplicates,
    check_photos.near_duplicates,
    check_photos.tiny_photos,
    check_photos.unnamed_photos,
    check_objects.boxes_outside,
    check_objects.boxes_without_area,
    check_objects.other_sizes,
    check_objects.nameless_numbers,
    check_objects.classes_without_names,
    check_labels.similar_labels,
    check_labels.one_sided_classes,
    check_labels.rare_classes,
    check_labels.unequal_classes,
    check_labels.unlabelled_photos,
    check_labels.photos_of_no_side,
    check_labels.photos_of_several_classes,
    check_labels.ignored_labels,
    check_labels.mixed_tasks,
    check_labels.passed_over,
)


def check(survey: Survey) -> tuple[Finding, ...]:
    """All that is noticed, the worst first."""
    found = [finding for finder in FINDERS for finding in finder(survey)]
    return tuple(sorted(found, key=lambda finding: SEVERITIES.index(finding.severity)))
