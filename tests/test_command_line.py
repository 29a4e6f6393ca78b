"""Values on the command line: what is not of the kind is one sentence, at once."""

import pytest

from harness import __main__ as harness_command
from harness.command_line import Parser, json_object, whole_number_from
from trainers import __main__ as trainers_command


def refusal(parser, line: list[str], capsys) -> str:
    with pytest.raises(SystemExit, match="2"):
        parser.parse_args(line)
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "least"),
    [("speed --questions 0", 1), ("speed --repeats -1", 1), ("speed --questions 2.5", 1), ("run --num_fewshot -3", 0)],
)
def test_numbers_out_of_range_are_refused(line, least, capsys):
    said = refusal(harness_command.parser(), line.split(), capsys)
    assert f"expected a whole number from {least} on; got {line.split()[-1]}" in said
    assert harness_command.parser().parse_args(["run", "--num_fewshot", "0"]).num_fewshot == 0


@pytest.mark.parametrize("wrong", ["0", "-5", "2.5", "1__0", "many", ""])
def test_trainers_say_it_in_the_same_words(wrong, capsys):
    said = refusal(trainers_command.parser(), ["mixture-speed", "--rows", wrong], capsys)
    assert f"argument --rows: expected a whole number from 1 on; got {wrong}" in said


def test_whole_numbers():
    assert [whole_number_from(1)(text) for text in ("1", "1000000", "1_000_000")] == [1, 1_000_000, 1_000_000]
    assert whole_number_from(0)("0") == 0


@pytest.mark.parametrize("limit", ["0", "-3", "2.5", "some", "nan", "inf"])
def test_a_limit_that_is_none_is_refused(limit, capsys):
    line = ["run", "--model", "ar", "--tasks", "mini_nli", "--limit", limit]
    said = refusal(harness_command.parser(), line, capsys)
    assert f"expected a whole number from 1 on, or a share between 0 and 1; got {limit}" in said


def test_limits_are_numbers_or_shares():
    parser = harness_command.parser()
    asked = [parser.parse_args(["run", "--limit", limit]).limit for limit in ("20", "1", "0.25", "1e3")]
    assert asked == [20, 1, 0.25, 1000]


@pytest.mark.parametrize("wrong", ["[1]", "plain", "{", "3"])
def test_metadata_is_a_json_object(wrong, capsys):
    assert json_object('{"convention": "plain"}') == {"convention": "plain"}
    said = refusal(harness_command.parser(), ["run", "--metadata", wrong], capsys)
    assert said.rstrip().endswith(f"""expected a JSON object such as '{{"convention": "plain"}}'; got {wrong}""")


def test_options_are_written_out(capsys):
    parser = Parser()
    parser.add_argument("--launch")
    parser.add_subparsers().add_parser("train").add_argument("--processes")
    assert "unrecognized arguments: --lau" in refusal(parser, ["--lau=ddp", "train"], capsys)
    assert "unrecognized arguments: --proc 2" in refusal(parser, ["train", "--proc", "2"], capsys)
