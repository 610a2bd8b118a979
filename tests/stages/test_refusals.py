"""Refusals: usual forms in ten languages, and captions that only speak of them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardpipe.stages._refusals import is_refusal

REFUSALS = [
    "I'm sorry, but I can't assist with that.",
    "I\u2019m sorry, I cannot provide a description of this video.",
    "I'm sorry, I cannot",
    "Sorry, I can't help with identifying people in images.",
    "Sorry.",
    "I apologize, but I am unable to view the video.",
    "I am unable to view or analyze videos directly.",
    "I'm not able to identify the person. However, a woman in red walks.",
    "Unfortunately, I don't have access to the video.",
    "As an AI language model, I do not have the ability to watch videos.",
    "As an AI, I cannot see.",
    "**As a large language model, I can't view images.**",
    "I am just a language model and cannot watch videos.",
    "Unable to view the video.",
    "No image was provided.",
    "There is no video attached to your message.",
    "It looks like you haven't uploaded a video.",
    "Please provide the video you would like me to describe.",
    "I don't see any image in your message.",
    "Thank you for the image, but I cannot identify real people.",
    "It's not possible for me to describe this.",
    "I must decline.",
    "\"I'm sorry, but I can't help with that.\"",
    "Answer: I'm afraid I can't do that.",
    "This content violates our usage policy.",
    "Your request has been blocked.",
    "I'm sorry, but the video is too dark to see.",
    "I need more information to describe the video.",
    "The image was not provided.",
    "Could you please upload the video?",
    "I am not comfortable describing this.",
    "I cannot see the video.",
    "Lo siento, pero no puedo ayudar con eso.",
    "No puedo ver el video.",
    "Como modelo de lenguaje, no tengo acceso a videos.",
    "Je suis désolé, mais je ne peux pas vous aider.",
    "Désolée, je ne suis pas en mesure de décrire cette vidéo.",
    "En tant qu'IA, je ne peux pas regarder de vidéos.",
    "Es tut mir leid, aber ich kann das Video nicht beschreiben.",
    "Leider kann ich dir dabei nicht helfen.",
    "Als KI kann ich keine Videos ansehen.",
    "Desculpe, mas não posso ajudar com isso.",
    "Mi dispiace, ma non posso aiutarti.",
    "Извините, но я не могу помочь с этим.",
    "Как языковая модель, я не могу смотреть видео.",
    "抱歉，我无法查看视频。",
    "很抱歉，我不能帮助您完成这个请求。",
    "對不起，我無法描述這段影片。",
    "作为一个人工智能语言模型，我无法观看视频。",
    "我无法直接查看图片内容。",
    "申し訳ありませんが、動画を見ることはできません。",
    "申し訳ございません。そのリクエストにはお応えできません。",
    "動画を見ることができません。",
    "AI言語モデルとして、私はビデオを見ることができません。",
    "すみません、お手伝いできません。",
    "AIとして、動画を視聴することはできません。",
    "죄송합니다. 저는 동영상을 볼 수 없습니다.",
    "죄송하지만 도와드릴 수 없습니다.",
]
CAPTIONS = [
    "",
    "A dog runs across a field.",
    'A man says "I\'m sorry, I cannot help you" to a woman.',
    '"I\'m sorry, I cannot assist with that" is written on a chalkboard.',
    '"I can\'t help you," says a man in a suit.',
    "I'm sorry, I can't help you, the man tells the woman.",
    "A woman apologises to her friend; she looks sorry and cannot speak.",
    "The woman says sorry. She is unable to view the screen.",
    "A chatbot on a screen answers: As an AI language model, I cannot do that.",
    "As an AI robot walks through the factory, sparks fly.",
    "Sorry, we're closed, reads a sign on a glass door.",
    "A sorry-looking dog sits in the rain.",
    "Unable to open the jar, a man hands it to his son.",
    "There is no video playing on the screen behind the singer.",
    "No people are visible. A car passes.",
    "I can't help falling in love, sung by a man with a guitar.",
    "I cannot believe it! The cat jumps over the fence.",
    "I can't help but smile at this puppy.",
    "We cannot see the face of the man, who walks away.",
    "The request was rejected by the judge, who looks stern.",
    "Unfortunately, the weather is bad and the video is dark.",
    "There is no person in the image. A car drives by.",
    "Unfortunately, the man falls off his horse.",
    "The video shows a man. I'm sorry, but I cannot identify him.",
    "An AI assistant speaks from a phone.",
    "Una mujer dice lo siento y no puede hablar.",
    "Como una IA que pinta, un robot mueve un pincel.",
    "Un homme désolé ne peut pas ouvrir la porte.",
    "Leider regnet es, und ein Mann läuft ohne Schirm nicht weit.",
    "Ein Mann entschuldigt sich; er kann nicht helfen.",
    "Мужчина извиняется и не может открыть дверь.",
    "一个男人向女人道歉，说对不起，我无法帮助你。",
    "抱歉的男人无法走路。",
    "「申し訳ありませんが、できません」と男性が言う。",
    "男性が謝っている。",
    "한 남자가 죄송합니다라고 말하며 도와줄 수 없다.",
]


@pytest.mark.parametrize("text", REFUSALS)
def test_refusals(text: str) -> None:
    assert is_refusal(text)
    assert is_refusal(f"\n  {text.upper()} ")


@pytest.mark.parametrize("text", CAPTIONS)
def test_captions(text: str) -> None:
    assert not is_refusal(text)


@given(st.text(st.characters()), st.sampled_from(REFUSALS))
@settings(max_examples=200, deadline=None)
def test_any_text_has_an_answer(text: str, refusal: str) -> None:
    assert is_refusal(text) in (True, False)
    assert not is_refusal(f"A dog, {text}{refusal}")


@pytest.mark.parametrize(
    "piece", ["I'm sorry ", "as an ai ", "no image ", "抱歉", "我", "私は", "ich kann nicht ", '"', " "]
)
def test_long_texts_take_no_time(piece: str) -> None:
    assert is_refusal(piece * 100_000) in (True, False)
