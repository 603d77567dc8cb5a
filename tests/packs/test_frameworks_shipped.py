"""The frameworks that come with Muster: all their criteria are there, and each says what devices show of it."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from server.app import shipped_packs
from server.catalog.catalog import read_catalog

CATALOG, PROBLEMS = read_catalog(shipped_packs())
FRAMEWORKS = CATALOG.frameworks
SAYS_AT_MOST = 120


def numbered(counts: dict[str, int], form: str = "{}.{}") -> list[str]:
    """As ``A.5.1`` to ``A.5.37``, given how many each part has."""
    return [form.format(part, number) for part, count in counts.items() for number in range(1, count + 1)]


SOC2 = numbered(
    {
        **dict(
            zip(
                ["CC1", "CC2", "CC3", "CC4", "CC5", "CC6", "CC7", "CC8", "CC9"],
                [5, 3, 4, 2, 3, 8, 5, 1, 2],
                strict=True,
            )
        )
    }
    | {"A1": 3, "C1": 2, "PI1": 5, "P1": 1, "P2": 1, "P3": 2, "P4": 3, "P5": 2, "P6": 7, "P7": 1, "P8": 1}
)
ISO27001 = numbered({"A.5": 37, "A.6": 8, "A.7": 14, "A.8": 34})
CIS = numbered(
    dict(enumerate([5, 7, 14, 12, 6, 8, 7, 12, 7, 7, 5, 8, 11, 9, 7, 14, 9, 5], start=1))  # type: ignore[arg-type]
)

# The publisher's numbers have gaps, left by subcategories of the edition before.
CSF_NUMBERS = """
GV.OC 1 2 3 4 5/GV.RM 1 2 3 4 5 6 7/GV.RR 1 2 3 4/GV.PO 1 2/GV.OV 1 2 3/GV.SC 1 2 3 4 5 6 7 8 9 10
ID.AM 1 2 3 4 5 7 8/ID.RA 1 2 3 4 5 6 7 8 9 10/ID.IM 1 2 3 4
PR.AA 1 2 3 4 5 6/PR.AT 1 2/PR.DS 1 2 10 11/PR.PS 1 2 3 4 5 6/PR.IR 1 2 3 4
DE.CM 1 2 3 6 9/DE.AE 2 3 4 6 7 8
RS.MA 1 2 3 4 5/RS.AN 3 6 7 8/RS.CO 2 3/RS.MI 1 2
RC.RP 1 2 3 4 5 6/RC.CO 3 4
"""
CSF = [
    f"{category}-{int(number):02}"
    for category, *numbers in (group.split() for group in re.split("[/\n]", CSF_NUMBERS.strip()))
    for number in numbers
]

# Of the families that devices touch all base controls that are not withdrawn; of the others the moderate baseline's.
NIST_NUMBERS = {
    "AC": [*range(1, 13), 14, *range(16, 26)],
    "AT": range(1, 5),
    "AU": [*range(1, 15), 16],
    "CA": [1, 2, 3, 5, 6, 7, 9],
    "CM": range(1, 15),
    "CP": [1, 2, 3, 4, 6, 7, 8, 9, 10],
    "IA": range(1, 14),
    "IR": range(1, 9),
    "MA": range(1, 7),
    "MP": range(1, 9),
    "PE": [1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17],
    "PL": [1, 2, 4, 8, 10, 11],
    "PS": range(1, 10),
    "RA": [1, 2, 3, 5, 7, 9],
    "SA": [1, 2, 3, 4, 5, 8, 9, 10, 11, 15, 22],
    "SC": [*range(1, 9), *range(10, 14), *range(15, 19), *range(20, 33), *range(34, 52)],
    "SI": [*range(1, 9), *range(10, 24)],
    "SR": [1, 2, 3, 5, 6, 8, 10, 11, 12],
}
NIST = [f"{family}-{number}" for family, numbers in NIST_NUMBERS.items() for number in numbers]

HIPAA = """
308(a)(1)(i) 308(a)(1)(ii)(A) 308(a)(1)(ii)(B) 308(a)(1)(ii)(C) 308(a)(1)(ii)(D) 308(a)(2)
308(a)(3)(i) 308(a)(3)(ii)(A) 308(a)(3)(ii)(B) 308(a)(3)(ii)(C)
308(a)(4)(i) 308(a)(4)(ii)(A) 308(a)(4)(ii)(B) 308(a)(4)(ii)(C)
308(a)(5)(i) 308(a)(5)(ii)(A) 308(a)(5)(ii)(B) 308(a)(5)(ii)(C) 308(a)(5)(ii)(D) 308(a)(6)(i) 308(a)(6)(ii)
308(a)(7)(i) 308(a)(7)(ii)(A) 308(a)(7)(ii)(B) 308(a)(7)(ii)(C) 308(a)(7)(ii)(D) 308(a)(7)(ii)(E) 308(a)(8)
308(b)(1) 308(b)(2) 308(b)(3)
310(a)(1) 310(a)(2)(i) 310(a)(2)(ii) 310(a)(2)(iii) 310(a)(2)(iv) 310(b) 310(c)
310(d)(1) 310(d)(2)(i) 310(d)(2)(ii) 310(d)(2)(iii) 310(d)(2)(iv)
312(a)(1) 312(a)(2)(i) 312(a)(2)(ii) 312(a)(2)(iii) 312(a)(2)(iv) 312(b) 312(c)(1) 312(c)(2) 312(d)
312(e)(1) 312(e)(2)(i) 312(e)(2)(ii)
314(a)(1) 314(a)(2)(i) 314(a)(2)(ii) 314(a)(2)(iii) 314(b)(1) 314(b)(2)
316(a) 316(b)(1) 316(b)(2)(i) 316(b)(2)(ii) 316(b)(2)(iii)
"""

COMPLETE = {
    "soc2": (SOC2, 61),
    "iso27001": (ISO27001, 93),
    "nist-csf": (CSF, 106),
    "cis": (CIS, 153),
    "hipaa": ([f"164.{paragraph}" for paragraph in HIPAA.split()], 66),
}

PCI_SECTIONS = {1: 5, 2: 3, 3: 7, 4: 2, 5: 4, 6: 5, 7: 3, 8: 6, 9: 5, 10: 7, 11: 6, 12: 10}
# How many requirements a section has, where they are given one by one.
PCI_REQUIREMENTS = {
    **{"1.2": 8, "1.5": 1, "2.2": 7, "3.5": 1, "4.2": 2, "5.2": 3, "5.3": 5, "6.3": 3, "7.2": 6},
    **{"8.2": 8, "8.3": 11, "8.6": 3, "9.4": 7, "10.2": 2, "10.3": 4, "10.6": 3, "10.7": 3},
    **{"11.3": 2, "11.5": 2, "12.3": 4, "12.5": 3},
}


def test_frameworks_have_no_problems() -> None:
    assert [str(problem) for problem in PROBLEMS] == []
    assert sorted(FRAMEWORKS) == sorted([*COMPLETE, "gdpr", "nist-800-53", "pci-dss"])


@pytest.mark.parametrize("framework", COMPLETE)
def test_every_criterion_is_there_and_no_other(framework: str) -> None:
    expected, count = COMPLETE[framework]
    criteria = list(FRAMEWORKS[framework].criteria)
    assert criteria == expected
    assert len(criteria) == count
    said = re.search(r"all (\d+)", FRAMEWORKS[framework].edition)
    assert said is None or int(said[1]) == count


def test_every_base_control_of_nist_800_53_that_is_claimed_and_enhancements_behind_their_own() -> None:
    criteria = list(FRAMEWORKS["nist-800-53"].criteria)
    assert [name for name in criteria if "(" not in name] == NIST
    for name in criteria:
        assert re.fullmatch(r"[A-Z]{2}-\d+(\(\d+\))?", name)
        base, enhancement, _ = name.partition("(")
        assert not enhancement or criteria.index(base) < criteria.index(name)


def test_every_section_of_pci_dss_stands_whole_or_by_all_its_requirements() -> None:
    criteria = list(FRAMEWORKS["pci-dss"].criteria)
    sections = numbered(PCI_SECTIONS)  # type: ignore[arg-type]
    assert len(sections) == 63
    expected: list[str] = []
    for section in sections:
        requirements = numbered({section: PCI_REQUIREMENTS[section]}) if section in PCI_REQUIREMENTS else []
        expected += requirements or [section]
    assert [name for name in criteria if name.count(".") <= 2] == expected
    assert [name for name in criteria if name.count(".") == 3] == [
        "3.5.1.1",
        "3.5.1.2",
        "3.5.1.3",
        "4.2.1.1",
        "4.2.1.2",
    ]


def test_article_32_is_whole() -> None:
    criteria = list(FRAMEWORKS["gdpr"].criteria)
    assert all(re.fullmatch(r"Art\. \d+\(\d+\)(\([a-f]\))?", name) for name in criteria)
    assert [name for name in criteria if name.startswith("Art. 32")] == [
        *(f"Art. 32(1)({letter})" for letter in "abcd"),
        *(f"Art. 32({number})" for number in (2, 3, 4)),
    ]


@pytest.mark.parametrize("framework", sorted(FRAMEWORKS))
def test_criteria_say_something_of_their_own(framework: str) -> None:
    criteria = FRAMEWORKS[framework].criteria
    for name, criterion in criteria.items():
        assert len(criterion.says) <= SAYS_AT_MOST, name
        assert (criterion.none is None) == bool(criterion.controls), name
    for words in (
        Counter(criterion.says for criterion in criteria.values()),
        Counter(criterion.none for criterion in criteria.values() if criterion.none),
    ):
        assert [text for text, times in words.items() if times > 1] == []


def test_every_control_that_is_judged_is_in_a_framework_and_in_soc2_and_iso27001() -> None:
    judged = {
        control_id
        for control_id, loaded in CATALOG.controls.items()
        if any(rule.confidence != "draft" for rule in loaded.control.platforms.values())
    }
    for framework in ("soc2", "iso27001"):
        named = {control for criterion in FRAMEWORKS[framework].criteria.values() for control, _ in criterion.controls}
        assert judged - named == set(), framework


def test_the_readme_counts_them() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    counted = re.findall(r"^\| `([a-z0-9-]+)` \| [^|]+ \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", readme, re.MULTILINE)
    expected = {}
    for framework_id, framework in FRAMEWORKS.items():
        criteria = framework.criteria.values()
        supported = sum(bool(criterion.supports) for criterion in criteria)
        none = sum(bool(criterion.none) for criterion in criteria)
        expected[framework_id] = [len(criteria), supported, len(criteria) - supported - none, none]
    assert {framework_id: [int(count) for count in counts] for framework_id, *counts in counted} == expected
