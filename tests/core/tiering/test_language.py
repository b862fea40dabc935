"""Languages by script and by small words; and that one says so if one does not know."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.tiering.language import language_of

SAID = {
    "en": "Could you please explain how the tides are caused by the moon?",
    "de": "Kannst du mir bitte erklären, wie die Gezeiten durch den Mond entstehen?",
    "fr": "Peux-tu m'expliquer comment les marées sont causées par la lune ?",
    "es": "¿Puedes explicarme cómo se producen las mareas por la luna?",
    "pt": "Você pode me explicar como as marés são causadas pela lua? Não sei.",
    "it": "Mi puoi spiegare come le maree sono causate dalla luna?",
    "nl": "Kun je me uitleggen hoe het getij door de maan wordt veroorzaakt?",
    "sv": "Kan du förklara för mig hur tidvattnet orsakas av månen, och vad det är?",
    "fi": "Voitko selittää miten kuu aiheuttaa vuoroveden ja mitä se on?",
    "pl": "Czy możesz mi wyjaśnić, jak to się dzieje, że przypływy są od księżyca?",
    "cs": "Můžeš mi vysvětlit, jak to že je příliv a odliv od Měsíce?",
    "tr": "Gelgitlerin ay tarafından nasıl oluştuğunu bana bir anlat, bu ne demek?",
    "ro": "Poți să îmi explici cum sunt cauzate mareele de lună și ce este?",
    "hu": "El tudod magyarázni, hogy az árapály hogyan keletkezik, és mi az?",
    "id": "Bisakah kamu jelaskan bagaimana pasang surut itu terjadi dan apa yang dimaksud?",
    "vi": "Bạn có thể giải thích cho tôi thủy triều là gì và như thế nào không?",
    "ru": "Объясни, пожалуйста, как Луна вызывает приливы и что это такое.",
    "uk": "Поясни, будь ласка, як Місяць спричиняє припливи і що це таке.",
    "bg": "Можеш ли да ми обясниш как се получават приливите и от какво са?",
    "el": "Μπορείς να μου εξηγήσεις πώς δημιουργούνται οι παλίρροιες;",
    "he": "תוכל להסביר לי איך נוצרים גאות ושפל?",
    "ar": "هل يمكنك أن تشرح لي كيف يحدث المد والجزر؟",
    "fa": "می‌توانی توضیح بدهی که جزر و مد چگونه ایجاد می‌شود؟",
    "ur": "کیا آپ بتا سکتے ہیں کہ جوار بھاٹا کیسے ہوتا ہے؟ میں نہیں جانتا، ٹھیک؟",
    "hi": "क्या आप समझा सकते हैं कि ज्वार-भाटा कैसे होता है?",
    "bn": "জোয়ার-ভাটা কীভাবে হয় তা বোঝাতে পারবে?",
    "ta": "அலைகள் எப்படி உருவாகின்றன என்று விளக்க முடியுமா?",
    "te": "ఆటుపోట్లు ఎలా ఏర్పడతాయో వివరించగలరా?",
    "th": "ช่วยอธิบายหน่อยว่าน้ำขึ้นน้ำลงเกิดจากอะไร",
    "ka": "შეგიძლია ამიხსნა, როგორ ხდება მოქცევა?",
    "hy": "Կարո՞ղ ես բացատրել, թե ինչպես են առաջանում մակընթացությունները",
    "ko": "달이 어떻게 조수를 일으키는지 설명해 줄 수 있나요?",
    "ja": "月がどのように潮の満ち引きを起こすのか説明してください。",
    "zh": "请解释一下月亮是如何引起潮汐的。",
}


@pytest.mark.parametrize("language", SAID)
def test_a_sentence_is_enough(language):
    assert language_of(SAID[language]) == language
    assert language_of(SAID[language].upper()) == language


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "?",
        "42",
        "ok",
        "Berlin Paris Tokyo",
        "x = [i**2 for i in range(10)]",
        "aGVsbG8gd29ybGQ=",
        "🙂🙂🙂",
        "kubectl apply",
    ],
)
def test_not_known(text):
    assert language_of(text) is None


def test_an_english_question_about_a_foreign_word():
    assert language_of("What is the meaning of the word 学校 and how do you say it?") == "en"
    assert language_of("Translate to English: 月がどのように潮の満ち引きを起こすのか") == "ja"


def test_code_in_it_does_not_change_the_language():
    assert language_of(SAID["de"] + "\n```\nfor i in range(10): print(i)\n```") == "de"


@given(st.text(max_size=400))
def test_anything_has_a_language_or_none(text):
    found = language_of(text)
    assert found is None or found in {*SAID, "da", "no"}


def test_only_the_beginning_is_read():
    assert language_of(SAID["de"] + " " * 3000 + SAID["ko"] * 100) == "de"
