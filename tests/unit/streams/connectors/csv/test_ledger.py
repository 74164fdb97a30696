"""A ledger's rows become events that say what the rows say, whatever the order of the file."""

from __future__ import annotations

import csv
import os
import random
import re
from collections import Counter
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from schemas import cloudevents
from schemas.clickhouse.rows import identity
from schemas.cloudevents import ORIGIN
from schemas.events.envelope import Event, Rejection
from streams.connectors.csv.ledger import Ledger, read_ledger
from streams.connectors.csv.mapping import Mapping, load_mapping
from streams.connectors.records import Record, SourceError
from streams.kafka.codec import decode

ROOT = Path(__file__).resolve().parents[5]
SHARED = Path(os.environ.get("DUEWATCH_SHARED_DATA", ROOT.parent / "shared" / "data"))
LEDGERS = SHARED / "ledgers"
needs_ledgers = pytest.mark.skipif(not LEDGERS.is_dir(), reason=f"no ledgers in {LEDGERS}: set DUEWATCH_SHARED_DATA to try them")

COLUMNS: dict[str, Any] = {
    "invoice_id": "no",
    "customer_id": "debtor",
    "amount": "amount",
    "issued_on": "issued",
    "due_on": "due",
    "paid_on": "paid",
}
GOOD = "1,a,100.50,2024-01-02,2024-02-01,2024-01-30\n"


def mapping(**changes: Any) -> Mapping:
    return Mapping.model_validate({"name": "test", "currency": "EUR", "columns": COLUMNS} | changes)


def read(tmp_path: Path, rows: str, form: Mapping | None = None, header: str = "no,debtor,amount,issued,due,paid\n") -> Ledger:
    path = tmp_path / "ledger.csv"
    path.write_text(header + rows, encoding="utf-8")
    return read_ledger(path, form or mapping())


def header_of(record: Record, name: str) -> str:
    return dict(record.headers)[f"ce_{name}"].decode()


def bodies(ledger: Ledger, kind: str) -> list[dict[str, Any]]:
    return [
        orjson.loads(r.value) for r in ledger.records if r.headers[0][1] == b"application/json" and kind in header_of(r, "type")
    ]


LEDGER = "".join(f"{n},a,100,2024-01-{n:02},2024-02-{n:02},2024-01-{n + 5:02}\n" for n in range(1, 9))
CASES_OF_TYPING_ERRORS = [
    pytest.param("9,a,100,2024-01-09,2024-02-09,9999-12-31", "paid 9999-12-31 is not a plausible date", id="paid 9999"),
    pytest.param("9,a,100,2024-01-09,9999-12-31,", "due 9999-12-31 is not a plausible date", id="due 9999"),
    pytest.param("9,a,100,0001-01-01,2024-02-09,", "issued 0001-01-01 is not a plausible date", id="issued in year 1"),
    pytest.param("9,a,100,1989-12-31,2024-02-09,", "issued 1989-12-31 is not a plausible date", id="issued before all ledgers"),
    pytest.param("9,a,100,2024-01-09,2024-02-09,2099-12-31", "paid 2099-12-31 lies more than 403 days after", id="paid in 2099"),
    pytest.param("9,a,100,2024-01-09,2024-02-09,2026-01-12", "paid 2026-01-12 lies more than 403 days after", id="paid in 2026"),
    pytest.param("9,a,100,2099-01-09,2099-02-09,", "issued 2099-01-09 lies more than 403 days after", id="issued in 2099"),
    pytest.param("9,a,100,2026-01-09,2024-02-09,", "issued 2026-01-09 lies more than", id="issued after its due day"),
    pytest.param(
        "9,a,100,2024-01-09,2042-02-09,", "due 2042-02-09 lies more than 10 years after the issue", id="due in 18 years"
    ),
]


@pytest.mark.parametrize(("row", "reason"), CASES_OF_TYPING_ERRORS)
@pytest.mark.parametrize("is_first", [False, True])
def test_a_typing_error_in_a_year_is_a_dead_letter_and_moves_no_clock(
    tmp_path: Path, row: str, reason: str, is_first: bool
) -> None:
    for form in (mapping(), mapping(issued_before_paid=True)):
        ledger = read(tmp_path, row + "\n" + LEDGER if is_first else LEDGER + row + "\n", form)
        assert (ledger.rows, ledger.broken, ledger.invoices, ledger.payments) == (9, 1, 8, 8)
        assert max(record.day for record in ledger.records) == date(2024, 1, 13)
        (rejection,) = (r for record in ledger.records if isinstance(r := decoded(record), Rejection))
        assert rejection.reason.startswith(reason)
        (broken,) = (record for record in ledger.records if isinstance(decoded(record), Rejection))
        assert dict(broken.headers)[ORIGIN] == b"ledger.csv line " + (b"2" if is_first else b"10")


def test_a_date_of_no_payment_that_was_never_made_is_passed_over(tmp_path: Path) -> None:
    columns = COLUMNS | {"paid_amount": "sum"}
    rows = "1,a,100,2024-01-02,2024-02-01,9999-12-31,0\n2,a,100,2024-01-03,2024-02-01,2024-01-30,100\n"
    ledger = read(tmp_path, rows, mapping(columns=columns), header="no,debtor,amount,issued,due,paid,sum\n")
    assert (ledger.broken, ledger.invoices, ledger.payments) == (0, 2, 1)


def test_a_ledger_that_goes_on_after_a_silence_is_read_whole(tmp_path: Path) -> None:
    rows = LEDGER + "9,a,100,2026-01-09,2026-02-09,2026-01-30\n"
    assert read(tmp_path, rows).broken == 0


def decoded(record: Record) -> Event | Rejection:
    return decode(record.topic, record.key, record.value, record.headers)


CASES_OF_DECIMALS = [
    pytest.param("KWD", "1234.567", "1234.567", id="three decimals where the currency has them"),
    pytest.param("KWD", "1234.560", "1234.56", id="the last of which may be zero"),
    pytest.param("KWD", "10.5", "10.50", id="or missing"),
    pytest.param("EUR", "1234.560", "1234.56", id="zeros say nothing"),
    pytest.param("JPY", "1234.00", "1234.00", id="nor in a currency without decimals"),
    pytest.param("EUR", "1234.567", None, id="a third decimal is no euro's"),
    pytest.param("KWD", "1234.5678", None, id="a fourth is nobody's"),
]


@pytest.mark.parametrize(("currency", "cell", "amount"), CASES_OF_DECIMALS)
@pytest.mark.parametrize("comma", [False, True])
def test_an_amount_is_read_with_the_decimals_of_its_currency(
    tmp_path: Path, currency: str, cell: str, amount: str | None, comma: bool
) -> None:
    cell = cell.replace(".", ",") if comma else cell
    form = mapping(currency=currency, decimal_comma=comma)
    rows = GOOD.replace("100.50", "100") + f'2,a,"{cell}",2024-01-02,2024-02-01,\n'
    ledger = read(tmp_path, rows, form)
    body = bodies(ledger, "invoice")[1]
    assert (ledger.broken, body["amount"]) == ((0, amount) if amount else (1, cell))
    if not amount:
        with pytest.raises(SourceError, match=rf"amount '{cell}' is not a valid amount of {currency} \([23] decimals\)"):
            read(tmp_path, rows.splitlines()[1] + "\n", form)


def test_a_paid_row_is_an_invoice_a_payment_that_settles_it_and_the_debtors_master_data(tmp_path: Path) -> None:
    ledger = read(tmp_path, GOOD)
    assert bodies(ledger, "invoice") == [
        {
            "customer_id": "a",
            "amount": "100.50",
            "currency": "EUR",
            "invoice_id": "1",
            "issued_on": "2024-01-02",
            "due_on": "2024-02-01",
        }
    ]
    (payment,) = bodies(ledger, "payment")
    assert payment["payment_id"] == "payment-1"
    assert payment["allocations"] == [{"invoice_id": "1", "amount": "100.50"}]
    assert [r.topic for r in ledger.records] == ["payments", "payments", "customers"]
    assert [header_of(r, "recordedtime") for r in ledger.records] == [
        "2024-01-02T08:00:00Z",
        "2024-01-30T18:00:00Z",
        "2024-01-02T07:59:59Z",
    ]
    assert all(isinstance(decode(r.topic, r.key, r.value, r.headers), Event) for r in ledger.records)


def test_a_row_without_payment_date_stays_open(tmp_path: Path) -> None:
    ledger = read(tmp_path, "1,a,5,2024-01-02,2024-02-01,\n")
    assert (ledger.invoices, ledger.payments) == (1, 0)


def test_part_of_an_invoice_may_be_paid_and_nothing_paid_is_no_payment(tmp_path: Path) -> None:
    form = mapping(columns=COLUMNS | {"paid_amount": "settled"})
    rows = "1,a,10.00,2024-01-02,2024-02-01,2024-01-09,4.00\n2,a,10.00,2024-01-02,2024-02-01,2024-01-09,0\n"
    ledger = read(tmp_path, rows, form, "no,debtor,amount,issued,due,paid,settled\n")
    assert [p["amount"] for p in bodies(ledger, "payment")] == ["4.00"]


def test_german_numbers_dates_delimiter_and_encoding(tmp_path: Path) -> None:
    form = mapping(decimal_comma=True, date_format="%d.%m.%Y", delimiter=";", encoding="cp1252")
    path = tmp_path / "ledger.csv"
    path.write_bytes("no;debtor;amount;issued;due;paid\n1;Müller;1.234,50;02.01.2024;01.02.2024;\n".encode("cp1252"))
    (invoice,) = bodies(read_ledger(path, form), "invoice")
    assert (invoice["customer_id"], invoice["amount"], invoice["due_on"]) == ("Müller", "1234.50", "2024-02-01")


@pytest.mark.parametrize(
    ("row", "field"),
    [
        pytest.param("2,b,ten,2024-01-03,2024-02-01,\n", "amount", id="no amount"),
        pytest.param("2,b,-5.00,2024-01-03,2024-02-01,\n", "amount", id="negative"),
        pytest.param("2,b,0,2024-01-03,2024-02-01,\n", "amount", id="zero"),
        pytest.param("2,b,5.00,03/01/2024,2024-02-01,\n", "issued_on", id="date of another form"),
        pytest.param("2,b,5.00,2024-01-03,,\n", "due_on", id="no due date"),
        pytest.param("2,,5.00,2024-01-03,2024-02-01,\n", "customer_id", id="no customer"),
        pytest.param("2,b,5.00\n", None, id="cells missing"),
    ],
)
def test_a_row_that_cannot_be_mapped_is_sent_as_it_is_and_rejected_with_its_field(
    tmp_path: Path, row: str, field: str | None
) -> None:
    ledger = read(tmp_path, GOOD + row + GOOD.replace("1,", "3,", 1))
    assert ledger.broken == 1
    rejected = [
        rejection for r in ledger.records if not isinstance(rejection := decode(r.topic, r.key, r.value, r.headers), Event)
    ]
    assert [rejection.field for rejection in rejected] == [field]
    assert bodies(ledger, "customer") == [{"customer_id": "a", "currency": "EUR"}]


def test_a_credit_note_among_the_invoices_is_told_in_words_that_a_ledger_knows(tmp_path: Path) -> None:
    ledger = read(tmp_path, GOOD + "2,b,-5.00,2024-01-03,2024-02-01,\n")
    (rejection,) = [
        rejection for r in ledger.records if not isinstance(rejection := decode(r.topic, r.key, r.value, r.headers), Event)
    ]
    assert rejection.reason.endswith("Credit notes are left out of a ledger of invoices, or sent as events of their own")
    with pytest.raises(SourceError, match=r"-5.00 is not above zero, so it is not an invoice: .* or send credit notes as events"):
        read(tmp_path, "2,b,-5.00,2024-01-03,2024-02-01,\n")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("2,b,5.00\n", "the row has 3 fields, 6 are expected: add what is missing, with nothing in it where it is not known"),
        ("2\n", "the row has 1 field, 6 are expected: add what is missing, with nothing in it where it is not known"),
        (
            "2,b,5,00,2024-01-03,2024-02-01,\n",
            "the row has 7 fields, 6 are expected: put quotes around a field that holds a ',', or take out what is too much",
        ),
    ],
)
def test_a_row_of_too_few_or_too_many_fields_says_how_many_are_expected(tmp_path: Path, row: str, message: str) -> None:
    ledger = read(tmp_path, GOOD + row)
    (answer,) = [e for r in ledger.records if not isinstance(e := decode(r.topic, r.key, r.value, r.headers), Event)]
    assert answer == Rejection(message)


def test_every_record_says_in_which_line_of_which_file_its_row_begins(tmp_path: Path) -> None:
    rows = GOOD + '2,"b\nb",5.00,2024-01-03,2024-02-01,\n\n' + "3,c,5.00\n" + GOOD.replace("1,a", "4,d", 1)
    lines = Counter(dict(r.headers)[ORIGIN] for r in read(tmp_path, rows).records)
    # A paid row is three records. The second goes over two lines, and an empty one follows.
    assert lines == {b"ledger.csv line 2": 3, b"ledger.csv line 3": 2, b"ledger.csv line 6": 1, b"ledger.csv line 7": 3}


def test_where_a_record_lay_is_told_in_ascii_so_that_it_is_still_decoded_the_quick_way(tmp_path: Path) -> None:
    path = tmp_path / "Rückstände 100%.csv"
    path.write_text("no,debtor,amount,issued,due,paid\n" + GOOD)
    records = read_ledger(path, mapping()).records
    assert {dict(r.headers)[ORIGIN] for r in records} == {b"R%C3%BCckst%C3%A4nde 100%25.csv line 2"}
    assert all(cloudevents._read_plain_binary(r.value, r.headers) for r in records)


def content_of(record: Record) -> tuple[Any, ...]:
    event = decode(record.topic, record.key, record.value, record.headers)
    return record.order, identity(record.topic, 0, record.key, record.headers, record.value), event


def test_the_place_of_a_row_is_no_part_of_what_it_says(tmp_path: Path) -> None:
    rows = GOOD + "2,b,5.00\n"
    first = [content_of(r) for r in read(tmp_path, rows).records]
    second = [content_of(r) for r in read(tmp_path, "0,z,1.00,2024-01-01,2024-02-01,\n" + rows).records]
    assert len(first) == 4
    assert all(content in second for content in first)


def test_a_row_without_a_readable_day_takes_the_place_of_the_row_before_it_or_of_the_first(tmp_path: Path) -> None:
    bad = "2,b,5.00,?,2024-02-01,\n"
    ledger = read(tmp_path, bad + GOOD + bad + GOOD.replace("2024-01-02", "2024-01-05").replace("1,", "3,", 1))
    days = [r.day for r in ledger.records if b'"?"' in r.value]
    assert days == [date(2024, 1, 2)] * 2


def test_wrong_columns_are_told_with_the_file_the_column_and_what_was_found(tmp_path: Path) -> None:
    with pytest.raises(
        SourceError, match=r"ledger\.csv has no column 'amount' \(for amount\).*Columns found: no, debtor, betrag"
    ):
        read(tmp_path, GOOD, header="no,debtor,betrag,issued,due,paid\n")
    with pytest.raises(SourceError, match="Is ',' its delimiter"):
        read(tmp_path, "1\n", header="no;debtor;amount;issued;due;paid\n")


def test_a_mapping_that_fits_hardly_a_row_is_an_error_that_names_line_field_and_fix(tmp_path: Path) -> None:
    with pytest.raises(
        SourceError, match=r"1 of 1 rows.*line 2: issued '2024-01-02' is not a date of the form %m/%d/%Y.*date_format"
    ):
        read(tmp_path, GOOD, mapping(date_format="%m/%d/%Y"))


def test_rows_left_out_are_counted_and_a_ledger_without_rows_is_an_error(tmp_path: Path) -> None:
    rule = ({"column": "paid", "from_day": "2024-03-01"}, {"column": "debtor", "equals": "test"})
    form = mapping(leave_out=rule)
    late = GOOD.replace("2024-01-30", "2024-03-01")
    assert read(tmp_path, GOOD + late + GOOD.replace(",a,", ",test,"), form).left_out == 2
    with pytest.raises(SourceError, match="holds no invoice"):
        read(tmp_path, late, form)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = ", "is not valid TOML"),
        ('name = "x"\ncolour = 1', r"columns: Field required.*colour: Extra"),
        ('name = "x"\n[columns]\ninvoice_id="a"\ncustomer_id="b"\namount="c"\nissued_on="d"\ndue_on="e"', "currency once"),
    ],
)
def test_a_mapping_file_that_is_wrong_says_what_to_fix(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "ours.toml"
    path.write_text(text)
    with pytest.raises(SourceError, match=message):
        load_mapping(str(path))


def test_a_mapping_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(SourceError, match="cassandra, highradius, ibm"):
        load_mapping("sap")


EXAMPLE = ROOT / "deploy" / "examples" / "mapping.toml"
RULES = "# [[leave_out]]"


def test_the_example_mapping_reads_a_ledger_that_has_only_the_columns(tmp_path: Path) -> None:
    path = tmp_path / "ledger.csv"
    path.write_bytes(b"Belegnummer;Debitor;Betrag;Belegdatum;Faellig;Ausgleich\n1;D1;1.234,50;02.01.2026;01.02.2026;\n")
    ledger = read_ledger(path, load_mapping(str(EXAMPLE)))
    assert (ledger.invoices, ledger.left_out, ledger.broken) == (1, 0, 0)


def test_the_rules_of_the_example_mapping_leave_rows_out_once_they_are_no_comments(tmp_path: Path) -> None:
    before, rules = EXAMPLE.read_text().split(RULES, 1)
    form, path = tmp_path / "ours.toml", tmp_path / "ledger.csv"
    form.write_text(before + re.sub(r"(?m)^# ?", "", RULES + rules))
    path.write_bytes(
        b"Belegnummer;Debitor;Betrag;Belegdatum;Faellig;Ausgleich;Status\n"
        b"1;D1;1.234,50;02.01.2026;01.02.2026;;offen\n2;D1;5,00;02.01.2026;01.02.2026;;storniert\n"
        b"3;D1;5,00;02.01.2026;01.02.2026;01.03.2026;offen\n"
    )
    ledger = read_ledger(path, load_mapping(str(form)))
    assert (ledger.invoices, ledger.left_out, ledger.broken) == (1, 2, 0)


def by_content(ledger: Ledger) -> list[tuple[Any, ...]]:
    return sorted(
        (r.day, r.order, r.topic, r.key, r.value, tuple(h for h in r.headers if h[0] != ORIGIN)) for r in ledger.records
    )


@needs_ledgers
@pytest.mark.parametrize(
    ("name", "file", "counts", "days"),
    [
        ("highradius", "highradius_dev.csv", (23_494, 1_265, 0, 391), (date(2018, 12, 19), date(2020, 2, 29))),
        ("ibm", "ibm_accounts_receivable.csv", (2_466, 0, 0, 100), (date(2012, 1, 3), date(2014, 1, 9))),
        ("cassandra", "cassandra_payables.csv", (8_753, 0, 0, 3_276), (date(2011, 3, 24), date(2017, 11, 8))),
    ],
)
def test_the_development_ledgers(name: str, file: str, counts: tuple[int, int, int, int], days: tuple[date, date]) -> None:
    ledger = read_ledger(LEDGERS / file, load_mapping(name))
    assert (ledger.rows, ledger.left_out, ledger.broken, ledger.customers) == counts
    assert ledger.invoices == ledger.payments == ledger.rows - ledger.left_out
    assert (min(r.day for r in ledger.records), max(r.day for r in ledger.records)) == days
    ids = Counter(header_of(r, "id") for r in ledger.records)
    assert ids.most_common(1)[0][1] == 1
    events = [decode(r.topic, r.key, r.value, r.headers) for r in ledger.records[::20]]
    assert all(isinstance(event, Event) for event in events)


@needs_ledgers
@pytest.mark.parametrize(("name", "file"), [("highradius", "highradius_dev.csv"), ("cassandra", "cassandra_payables.csv")])
def test_the_order_of_the_file_changes_nothing(tmp_path: Path, name: str, file: str) -> None:
    with (LEDGERS / file).open(encoding="utf-8", newline="") as source:
        header, *rows = csv.reader(source)
    random.Random(1).shuffle(rows)
    shuffled = tmp_path / "shuffled.csv"
    with shuffled.open("w", encoding="utf-8", newline="") as target:
        csv.writer(target).writerows([header, *rows])
    assert by_content(read_ledger(shuffled, load_mapping(name))) == by_content(read_ledger(LEDGERS / file, load_mapping(name)))


@needs_ledgers
def test_highradius_is_mapped_as_the_design_says() -> None:
    ledger = read_ledger(LEDGERS / "highradius_dev.csv", load_mapping("highradius"))
    expected = {}
    with (LEDGERS / "highradius_dev.csv").open(encoding="utf-8", newline="") as source:
        for row in csv.DictReader(source):
            if row["dup_of_earlier_row"] == "1" or row["clear_date"] >= "2020-03-01":
                continue
            clear, issued = date.fromisoformat(row["clear_date"]), date.fromisoformat(row["est_issue_date"])
            issued = issued if issued < clear else clear - timedelta(days=1)
            expected[row["row_id"]] = (
                row["cust_number"],
                Decimal(row["total_open_amount"]),
                "USD",
                issued.isoformat(),
                row["due_date"],
            )
    figures = {
        i["invoice_id"]: (i["customer_id"], Decimal(i["amount"]), i["currency"], i["issued_on"], i["due_on"])
        for i in bodies(ledger, "invoice")
    }
    assert figures == expected
    groups = {c["customer_id"]: c.get("group_id") for c in bodies(ledger, "customer")}
    assert len(groups) == 391
    assert len(set(groups.values())) == 252  # one of them None: a debtor without a name
    assert {c["country"] for c in bodies(ledger, "customer")} == {"US"}
