"""The same figures in three forms: CSV parses back to the JSON, and the page is whole and needs nothing."""

import csv
import io
import json
import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from reconciler.reports.contents import FORMAT, Report
from reconciler.reports.formats import sha256, write_csv, write_json
from reconciler.reports.page import write_html
from tests.unit.reconciler.reports.sample import sample_report


@pytest.fixture
def report() -> Report:
    """A report with something in every section."""
    return sample_report()


def nothing() -> Report:
    """The report of a day on which nothing was there."""
    whole = sample_report()
    return Report(whole.period, {}, (), (), (), (), (), (), (), ())


def parsed(text: str) -> dict[str, list[dict[str, str]]]:
    """The lines of a CSV by section, without the columns that they leave empty."""
    sections: dict[str, list[dict[str, str]]] = {}
    for line in csv.DictReader(io.StringIO(text)):
        sections.setdefault(line.pop("section"), []).append({name: cell for name, cell in line.items() if cell})
    return sections


def test_csv_parses_back_to_the_figures_of_the_json(report: Report) -> None:
    """Every line, every figure; nothing more but the digits of the currency."""
    said = json.loads(write_json(report))
    exponents = said.pop("exponents")
    assert said.pop("format") == FORMAT
    said["period"] = [said["period"]]
    sections = parsed(write_csv(report))
    assert list(sections) == list(said)
    for name, lines in said.items():
        for line, cells in zip(lines, sections[name], strict=True):
            exponent = cells.pop("exponent", None)
            assert exponent == (str(exponents[line["currency"]]) if line.get("currency") else None)
            plain = {key: json.dumps(value) if isinstance(value, bool) else str(value) for key, value in line.items()}
            assert cells == {key: value for key, value in plain.items() if value not in ("", "None")}


def test_figures_that_nobody_noted_are_null_and_have_no_lines(report: Report) -> None:
    """Unlike none at all, which is an empty list."""
    unknown = replace(report, open_intents=None, open_breaks=None)
    assert json.loads(write_json(unknown))["open_intents"] is None
    assert "open_intents" not in parsed(write_csv(unknown))
    assert "Not noted" in write_html(unknown)


@pytest.mark.parametrize("kind", ["day", "week"])
def test_the_page_is_well_formed_and_loads_nothing(kind: str) -> None:
    """An XML parser reads it; no script, no link, no address but SVG's own name."""
    page = write_html(sample_report(kind=kind))
    root = ET.fromstring(page)  # noqa: S314 - written two lines above
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert {"svg", "table", "style", "title"} <= tags
    assert not tags & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
    attributes = {name for element in root.iter() for name in element.attrib}
    assert not {name for name in attributes if name.startswith("on") or name in {"href", "src", "style"}}
    assert set(re.findall(r"[a-z]+://[^\"]+", page)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"@import|url\(", page)


def test_the_page_says_the_figures_in_each_currencys_digits(report: Report) -> None:
    """Yen without any, dinars with three."""
    page = write_html(report)
    top_up = 12_345 * 14
    assert all(f">{said}<" in page for said in ("172,830", "172.830", "1,728.30"))
    assert {line.amount_minor for line in report.operations if line.operation_type == "QP_TOPUP"} == {top_up}
    assert sha256(write_json(report)) in page


def test_the_page_of_an_empty_day_says_so() -> None:
    """And is a page all the same."""
    page = write_html(nothing())
    ET.fromstring(page)  # noqa: S314 - written one line above
    assert all(said in page for said in ("Nothing moved.", "No account has moved yet.", "No intent was open."))


def test_what_is_not_over_is_not_called_final() -> None:
    """It says how far it has counted."""
    page = write_html(sample_report(complete=False))
    assert "Not over yet" in page
    assert "counted to 2026-11-28T09:30:00Z" in page
    assert ">Final<" not in page


def test_a_page_shouts_what_does_not_add_up(report: Report) -> None:
    """The header counts the checks that hold, the table says which do not."""
    broken = replace(report, checks=(*report.checks[1:], replace(report.checks[0], holds=False, off_minor=7)))
    page = write_html(broken)
    assert '<span class="badge bad">Books proven: 4 of 5 checks hold</span>' in page
    assert "off by 7 minor units" in page


def test_text_in_a_page_is_never_markup(report: Report) -> None:
    """Names come from the database."""
    odd = replace(report.fees[0], account='<b onclick="x">&:THB')
    page = write_html(replace(report, fees=(odd,)))
    ET.fromstring(page)  # noqa: S314 - written one line above
    assert "&lt;b onclick" in page
