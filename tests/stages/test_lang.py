"""Lang: the language of captions, none where a text does not tell."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from shardpipe.core.stage import ClipError, ClipView
from shardpipe.stages.lang import LANGUAGES, LEAST_SCORE, NO_LANGUAGE, Lang
from shardpipe.testing import check_stage


@pytest.fixture(scope="module")
def stage() -> Lang:
    made = Lang()
    made.setup("cpu")
    return made


def told(stage: Lang, text: Any) -> Any:
    (result,) = stage.process([ClipView("clip", {"text": text})])
    return result


def test_contract() -> None:
    results = check_stage(Lang(into="tongue"), row={"text": "Eine Frau kocht in einer kleinen Küche."})
    assert results["landscape"]["tongue"] == "de"  # type: ignore[index,call-overload]
    assert results["black"] == {"tongue": None, "tongue_score": None}
    assert not Lang().uses_device


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "A man walks a dog in the park while the sun sets."),
        ("es", "Una mujer cocina en una cocina pequeña."),
        ("fr", "Une femme cuisine dans une petite cuisine."),
        ("de", "Ein Hund läuft über die Wiese."),
        ("pt", "Uma mulher cozinha em uma cozinha pequena."),
        ("ru", "Мужчина гуляет с собакой в парке."),
        ("zh", "一个女人在小厨房里做饭。"),
        ("ja", "女性が小さなキッチンで料理をしている。"),
        ("ko", "한 여성이 작은 부엌에서 요리를 하고 있다."),
        ("hi", "एक महिला छोटी रसोई में खाना बना रही है।"),
        ("ar", "امرأة تطبخ في مطبخ صغير."),
        ("vi", "Một người phụ nữ đang nấu ăn trong bếp nhỏ."),
    ],
)
def test_languages(stage: Lang, language: str, text: str) -> None:
    result = told(stage, text)
    assert result["lang"] == language
    assert 0.7 < result["lang_score"] <= 1


@pytest.mark.parametrize("text", [None, "", " \n", "123, 4.5!", "🙂", "A dog.", "qq xx zz", "a"])
def test_what_does_not_tell_is_null(stage: Lang, text: str | None) -> None:
    assert told(stage, text) == {"lang": None, "lang_score": None}


def test_a_choice_of_languages() -> None:
    stage = Lang(languages=["zh", "en"])
    assert stage.identity == Lang(languages=["en", "zh", "en"]).identity
    stage.setup("cpu")
    assert told(stage, "A dog.")["lang"] == "en"
    assert told(stage, "Ein Hund läuft über die Wiese.")["lang"] == "en"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"languages": ["en"]}, "at least two"),
        ({"languages": ["en", "english"]}, "english: no language that it knows"),
        ({"into": "text"}, "a column is written once"),
        ({"column": "lang_score"}, "a column is written once"),
    ],
)
def test_fields_that_do_not_fit_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Lang.model_validate(fields)


def test_the_languages_are_those_of_the_model() -> None:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    labels = LanguageIdentifier.from_model_file(MODEL_FILE).labels
    assert sorted(LANGUAGES.split()) == sorted(label for label in labels if len(label) == 2)
    assert NO_LANGUAGE in labels


def test_no_text_is_an_error_of_the_clip(stage: Lang) -> None:
    assert isinstance(told(stage, 5), ClipError)


@given(text=st.text(st.characters()))
@settings(max_examples=200, deadline=None)
def test_any_text_has_an_answer(stage: Lang, text: str) -> None:
    result = told(stage, text)
    if result["lang"] is None:
        assert result["lang_score"] is None
    else:
        assert result["lang"] in LANGUAGES.split()
        assert LEAST_SCORE <= result["lang_score"] <= 1
