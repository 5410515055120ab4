from convnext_dense.errors import UserError, did_you_mean, nearest


def test_message_has_what_where_and_fix_on_lines_of_their_own():
    error = UserError("no such class 'cat'", "labels.json, record 7", "add it to `classes`")
    assert str(error).splitlines() == [
        "no such class 'cat'",
        "  where: labels.json, record 7",
        "  fix:   add it to `classes`",
    ]
    assert str(UserError("only what")) == "only what"


def test_further_lines_of_a_part_are_set_under_its_first():
    error = UserError("what", fix="run this:\ncommand")
    assert str(error) == "what\n  fix:   run this:\n         command"


def test_an_error_of_a_loaders_worker_says_what_was_said_there():
    text = "Caught UserError in DataLoader worker process 0.\nOriginal Traceback ...\n"
    error = UserError(f"{text}convnext_dense.errors.UserError: the image is damaged\n  where: a.jpg\n")
    assert str(error) == "the image is damaged\n  where: a.jpg"


def test_nearest_finds_misspellings_whatever_their_case():
    assert nearest("ConvNext", ["ConvNeXt", "ResNet"]) == "ConvNeXt"
    assert nearest("basse", ["tiny", "base"]) == "base"
    assert nearest("qqqq", ["tiny", "base"]) is None


def test_hint_names_the_nearest_and_all_choices():
    assert did_you_mean("tinny", ["tiny", "base"]) == "did you mean 'tiny'? choose one of: tiny, base"
    assert did_you_mean("qqqq", ["tiny", "base"]) == "choose one of: tiny, base"
