import pytest

from pipeline.datasets.shared.people import age_in_years, date_of, people_columns, sex_of, view_of


@pytest.mark.parametrize(
    ("text", "years"),
    [
        *(("054Y", 54), ("006M", 0.5), ("003W", 0.06), ("012D", 0.03), (">90", 90), ("90+", 90), ("≥ 90", 90)),
        *((" 61 ", 61), ("61.0", 61), ("7.5", 7.5), ("7,5", 7.5), ("54 years", 54), ("18 months", 1.5), ("0", 0)),
        *(("", None), ("old", None), ("1 2", None), ("-3", None), ("54X", None)),
    ],
)
def test_ages(text, years):
    assert age_in_years(text) == years
    assert type(age_in_years(text)) is type(years)


@pytest.mark.parametrize(
    ("text", "date"),
    [
        *(("20171203", "2017-12-03"), ("2017-12-03", "2017-12-03"), ("2017/12/03", "2017-12-03")),
        *(("2017-12-03T10:11:12Z", "2017-12-03"), ("20171303", None), ("20170230", None)),
        *(("03.12.2017", None), ("2017-1203", None), ("2017", None), ("", None)),
    ],
)
def test_dates(text, date):
    assert date_of(text) == date


def test_sexes_views_and_columns():
    assert [sex_of(t) for t in ("M", "male", " Female", "O", "", "unknown", "X")] == [
        "M",
        "M",
        "F",
        "O",
        None,
        None,
        "X",
    ]
    assert [view_of(t) for t in ("pa", "LL", "lateral", "")] == ["PA", "LL", "lateral", None]
    header = ["Patient Gender", "PATIENT_AGE", "ViewPosition", "sex offender", "Page"]
    assert people_columns(header) == {"sex": "Patient Gender", "age": "PATIENT_AGE", "view": "ViewPosition"}
    assert people_columns(["sexes", "stage"]) == {}
