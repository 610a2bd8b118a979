"""Answers that refuse, in place of a caption: "I'm sorry, I can't help with that", "As an AI, I cannot view videos".

English, Spanish, French, German, Portuguese, Italian, Russian, Chinese, Japanese and Korean in their usual forms. A text refuses by how
it begins: a caption that quotes such words, or says that somebody apologises, does not.
"""

import re
import unicodedata
from dataclasses import dataclass

MOST_READ_CHARACTERS = 600
LABEL = re.compile(
    r"\A[\s*_#>`~-]*(?:(?:assistant|answer|response|output|caption|description)\s*:[\s*_]*)?"
    r"(?:(?:hello|hi|hey|hola|bonjour|hallo|ola|ciao|您好|你好|こんにちは|well|ok|okay|oh|hm+|sure|thanks|thank you)\s*[,.!]\s*)?",
)
"""What may stand before the first word that counts."""
QUOTE_PAIRS = {'"': '"', "'": "'", "\u300c": "\u300d", "\u300e": "\u300f", "\u00ab": "\u00bb", "\u201e": '"'}
SAME = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u02bc\u0060\u00b4", "'"),
        **dict.fromkeys("\u201c\u201d", '"'),
        "\u3001": ",",
        **dict(
            zip(
                "無對為圖視頻觀訪識處幫協開確滿應討論繼續見認斷個沒遺實會現暫時權語這請給傳辦過內違該屬體檔進請從據顯",
                "无对为图视频观访识处帮协开确满应讨论继续见认断个没遗实会现暂时权语这请给传办过内违该属体档进请从据显",
                strict=True,
            )
        ),
    }
)
"""One form of quotes and commas, and simple Chinese characters for the traditional ones that stand below."""


@dataclass(frozen=True)
class Language:
    """How a language refuses, as patterns over folded text (small letters without accents).

    sorry: openings that apologise. cannot: says that the speaker cannot do what was asked. as_ai: says what the speaker is.
    never: within a sentence of `as_ai`, says that it then cannot. After a mere apology `meek` refuses too, which alone is a title or a song.
    """

    sorry: str
    cannot: str
    as_ai: str
    never: str
    meek: str = r"(?!)"
    stops: str = r".!?\n"

    @property
    def pattern(self) -> re.Pattern[str]:
        """Matches at the beginning of a folded text that refuses."""
        gap = rf"[^{self.stops}]{{0,60}}?[{self.stops}]?[^{self.stops}]{{0,30}}?"
        pattern = (
            rf"(?:{self.sorry}){gap}(?:{self.cannot}|{self.meek})"
            rf"|(?:{self.sorry})\W*\Z"
            rf"|(?:{self.as_ai})(?:[^{self.stops}]{{0,80}}?(?:{self.never})|\W*\Z)"
            rf"|(?:{self.cannot})"
        )
        return re.compile(pattern.translate(SAME))


MEDIA = (
    r"(?:videos?|images?|photos?|photographs?|pictures?|clips?|frames?|footage|media|files?|attachments?|urls?|links?)"
)
THE_MEDIA = rf"(?:the|this|that|your|any|an?)\s+(?:\w+\s+){{0,2}}{MEDIA}"
ASKED = rf"(?:{MEDIA}|content|requests?|questions?|prompt|identity|descriptions?|captions?)"
NOT_ABLE = (
    r"(?:cannot|can't|can not|could not|couldn't|will not|won't(?: be able to)?|am unable to|'m unable to"
    r"|(?:am|'m) (?:currently |simply )?(?:not able|unable|not allowed|not permitted|not equipped|not programmed|not designed|not in a position) to"
    r"|(?:do not|don't) (?:currently )?have (?:the )?(?:ability|capability|capacity|means|permission) to|must decline to|decline to|refuse to)"
)
SELF = r"\b(?:i|we)(?:(?='m)| )(?:currently |also |simply |really |unfortunately |still |therefore |just |directly )?"
TASK = (
    r"(?:directly |actually |currently |physically |fully |really )?(?:(?:assist|provide|identify|recogni[sz]e|analy[sz]e|process|generate|caption|comply"
    r"|fulfil+|respond|view|access|interpret|summari[sz]e|transcribe|engage (?:in|with)|discuss|comment on|describe(?! how))\b"
    r"|help(?: you)?(?: with\b| identify\b| describe\b|\s*[.,!]|\s*\Z)"
    rf"|(?:see|watch|open|play|display|read) (?:{THE_MEDIA}|{MEDIA})\b"
    rf"|(?:tell|determine|give|offer|create|write|confirm|answer|complete)\b[^.!?\n]{{0,50}}\b{ASKED}\b)"
)
MODEL = (
    r"(?:large |multimodal |text-based |vision |helpful |responsible )*"
    r"(?:ai|a\.i\.|artificial intelligence|language model|llm|chatbot|virtual assistant)\b(?! (?:robot|character|figure|avatar|artist|generated))"
)
NOT_GIVEN = r"(?:attached|provided|uploaded|included|given|shared|supplied|to (?:describe|analy[sz]e|caption|view))\b"

ENGLISH = Language(
    sorry=(
        r"(?:i'm|i am|we're|we are) (?:very |so |really |truly |deeply |terribly )?sorry\b|sorry\b(?!-)|(?:my |our )?(?:sincere )?apologies\b"
        r"|(?:i|we) (?:sincerely )?apologi[sz]e\b|(?:i'm|i am) afraid\b|i regret\b|unfortunately\b|regrettably\b"
    ),
    cannot=(
        rf"{SELF}{NOT_ABLE} {TASK}"
        rf"|{SELF}(?:do not|don't) (?:\w+ )?have (?:direct )?(?:access to|eyes)\b"
        rf"|{SELF}(?:do not|don't|did not|didn't|cannot|can't) (?:\w+ )?(?:see|find|receive) {THE_MEDIA}\b"
        r"|\b(?:it is|it's|it isn't) (?:not )?(?:possible|appropriate) for me to\b|\bit(?: is|'s) (?:against my|impossible for me to)\b"
        r"|\bi (?:must|have to|need to) (?:respectfully |politely )?(?:decline|refuse)\b|\bi(?:'d| would) (?:rather|prefer) not (?:to )?(?:describe|answer|say)\b"
        rf"|i(?:'m| am) (?:just |only |merely )?an? {MODEL}[^.!?\n]{{0,60}}?(?:\b(?:cannot|not|unable)\b|n't\b)"
        rf"|(?:i understand|i appreciate|i see|thank you for|thanks for|while i)\b[^.!?\n]{{0,120}}\bi {NOT_ABLE} {TASK}"
        rf"|(?:unable|not able) to (?:view|see|access|process|load|open|analy[sz]e|describe|identify)\s+(?:{THE_MEDIA}|{MEDIA}|people|persons)\b(?!\s*,)"
        rf"|(?:there is |there's |i see )?no {MEDIA}(?: or {MEDIA})? (?:(?:is|was|were|are|has been|have been) )?{NOT_GIVEN}"
        rf"|it (?:seems|looks|appears) (?:like |that |as if )?(?:you (?:haven't|have not|didn't|did not|forgot)|there (?:is|was|are) no {MEDIA} {NOT_GIVEN}|no {MEDIA})"
        rf"|(?:(?:could|can|would) you (?:please )?|please )(?:provide|upload|share|attach|send)(?: me)? {THE_MEDIA}\b"
        rf"|{SELF}need (?:more|additional|further) (?:information|context|details)\b"
        rf"|{SELF}(?:do not|don't) have (?:enough|sufficient) (?:information|context|details)\b"
        r"|(?:i'm|i am) not comfortable (?:with )?\w+ing\b"
        r"|(?:this|the|your) (?:request|content|prompt)\b[^.!?\n]{0,40}\b(?:violates?|goes against)\b"
        r"|(?:this|your) (?:request|content|prompt) (?:was|is|has been) (?:rejected|blocked|flagged|filtered|refused)\b"
        rf"|(?:{THE_MEDIA}|{MEDIA}) (?:(?:is|was|were|are) not {NOT_GIVEN}|(?:could not|couldn't|cannot|can't) be (?:loaded|opened|played|processed|accessed)\b)"
    ),
    as_ai=(rf"(?:as|i'm|i am|being)(?: just| only| merely)? an? {MODEL}"),
    never=(
        r"\b(?:i|my|me)\b[^.!?\n]{0,60}(?:\b(?:cannot|can not|not|unable|no|only|lack|apologi[sz]e|sorry|decline|must|never)\b|n't\b)"
    ),
    meek=(
        rf"{SELF}{NOT_ABLE}(?: do (?:that|this|so|it))?\W*(?:\Z|[.!,])"
        rf"|{SELF}{NOT_ABLE} (?:\w+ )?(?:see|watch|tell|determine|give|offer|answer|continue|create|write|confirm|complete|make out|help(?! (?:but|\w+ing)\b))\b"
        r"|\b(?:i|we) (?:do not|don't) (?:know|understand|recogni[sz]e|feel comfortable|have any (?:information|context))\b"
        rf"|\b(?:the|this|that|your) {MEDIA} (?:you |isn't |cannot |can't |could not |couldn't |doesn't |didn't )"
        rf"|\b(?:the|this|that|your) {MEDIA} (?:is|was|seems|appears|does|did)\b[^.!?\n]{{0,20}}\b(?:not|too|unavailable|missing|corrupt\w*|inappropriate)\b"
    ),
)
SPANISH = Language(
    sorry=r"(?:lo siento|lo lamento|lamento|lamentablemente|desafortunadamente|disculpas?|disculpen?|perdona?|perdone|mis disculpas|me disculpo|siento)\b",
    cannot=(
        r"\b(?:yo )?no (?:puedo|podre|podria|podemos|me es posible|soy capaz de|estoy (?:en condiciones|capacitad[oa]|autorizad[oa])(?: de| para)?)\s+(?:\w+mente )?"
        r"(?:(?:ayudar|asistir|proporcionar|describir|acceder|identificar|reconocer|analizar|procesar|generar|cumplir|responder|ofrecer|visualizar)\w*"
        r"|(?:ver|abrir|reproducir|hacer|dar|crear|mostrar|determinar)\w*\b[^.!?\n]{0,40}\b(?:video|videos|imagen|imagenes|contenido|archivo|solicitud|eso|descripcion|personas?)\b)"
        r"|\bno tengo (?:la )?(?:capacidad|acceso|posibilidad)\b"
    ),
    as_ai=r"(?:como|soy)(?: solo)? (?:una? )?(?:ia|inteligencia artificial|modelo de (?:lenguaje|ia|inteligencia artificial)|asistente (?:de ia|virtual))\b",
    never=r"\bno (?:puedo|podria|tengo|soy|estoy|me|poseo|dispongo)\b",
    meek=r"\bno (?:puedo|podemos)(?: hacer (?:eso|esto)| ver(?:l[oa]s?)?| seguir| continuar)?\W*(?:\Z|[.!,])",
)
FRENCH = Language(
    sorry=(
        r"(?:(?:je suis |nous sommes )?(?:vraiment |sincerement |tres )?desolee?s?|je m'excuse|je regrette|(?:toutes )?mes excuses|veuillez m'excuser"
        r"|excusez[- ]moi|malheureusement)\b"
    ),
    cannot=(
        r"\b(?:je|j') ?(?:ne |n')(?:peux|pourrai|puis|saurais|suis)(?: malheureusement| pas| en mesure| capable| autorisee?| d'| de| a)*\s*"
        r"(?:vous |t'|te |l'|le |la |les |y |en )?(?:aider|assister|fournir|decrire|visionner|acceder|identifier|reconnaitre|analyser|traiter|generer|repondre|visualiser"
        r"|(?:voir|lire|ouvrir|faire|donner|creer|determiner)\b[^.!?\n]{0,40}\b(?:videos?|images?|contenu|fichier|demande|cela|description|personnes?))\b"
        r"|\bje n'ai pas (?:la capacite|acces|la possibilite)\b|\bil m'est impossible\b"
    ),
    as_ai=r"(?:en tant qu'?e? ?|je suis |je ne suis qu')(?:une? )?(?:ia|intelligence artificielle|modele (?:de langage|d'ia|linguistique)|assistant (?:ia|virtuel))\b",
    never=r"\b(?:je|j') ?(?:ne |n')",
    meek=r"\bje ne (?:peux|puis) pas(?: faire (?:cela|ca)| continuer)?\W*(?:\Z|[.!,])",
)
GERMAN = Language(
    sorry=r"(?:(?:es )?tut mir (?:sehr |wirklich |aufrichtig )?leid|entschuldig(?:ung|e|en sie)|ich entschuldige mich|ich bedau(?:re|ere)|leider|bedauerlicherweise)\b",
    cannot=(
        r"\b(?:ich (?:kann|konnte|darf|werde)|(?:kann|konnte|darf) ich)\b[^.!?\n]{0,80}\b(?:nicht|keine?[nr]?|nichts)\b[^.!?\n]{0,60}"
        r"\b(?:helfen|behilflich|weiterhelfen|unterstutzen|beschreiben|ansehen|anschauen|anzeigen|zugreifen|identifizieren|analysieren|verarbeiten|generieren"
        r"|beantworten|bereitstellen|liefern|abspielen|nachkommen|erfullen)\b"
        r"|\b(?:ich (?:kann|konnte)|(?:kann|konnte) ich)\b[^.!?\n]{0,50}\b(?:video|bild|foto|clip|datei|inhalt)\w*\b[^.!?\n]{0,20}\bnicht (?:direkt )?(?:sehen|offnen|erkennen)\b"
        r"|\bich (?:bin|habe) (?:leider )?(?:nicht in der lage|keinen? (?:zugriff|zugang|moglichkeit))\b|\bes ist mir (?:leider )?nicht moglich\b"
    ),
    as_ai=r"(?:als|ich bin)(?: nur)? (?:eine? |ein )?(?:ki|kunstliche intelligenz|(?:ki-)?sprachmodell|ki-\w+|virtueller assistent)\b",
    never=r"\b(?:ich|mir)\b[^.!?\n]{0,60}\b(?:nicht|keine?\w?|nur)\b",
    meek=r"\b(?:ich kann|kann ich) (?:das|dies|dir|ihnen|es)? ?(?:leider )?nicht(?: (?:tun|machen|sehen))?\W*(?:\Z|[.!,])",
)
PORTUGUESE = Language(
    sorry=r"(?:desculp(?:e|a|em)|sinto muito|lamento|infelizmente|peco desculpas?|as minhas desculpas)\b",
    cannot=(
        r"\b(?:eu )?nao (?:posso|consigo|poderei|sou capaz de|estou (?:apto|autorizado) a)\s+(?:\w+mente |te |lhe |o |a )?"
        r"(?:ajud|auxili|fornec|descrev|visualiz|acess|identific|reconhec|analis|process|ger|atend|respond|oferec|assist|cumpr|ver [^.!?\n]{0,30}(?:video|imagem|imagens))\w*"
        r"|\bnao tenho (?:a )?(?:capacidade|acesso|possibilidade)\b|\bnao me e possivel\b"
    ),
    as_ai=r"(?:como|sou|enquanto)(?: apenas)? (?:uma? )?(?:ia|inteligencia artificial|modelo de (?:linguagem|ia)|assistente (?:de ia|virtual))\b",
    never=r"\bnao (?:posso|consigo|tenho|sou|possuo|estou)\b",
    meek=r"\bnao (?:posso|consigo)(?: fazer isso| continuar)?\W*(?:\Z|[.!,])",
)
ITALIAN = Language(
    sorry=r"(?:mi dispiace|mi scuso|scusa(?:mi|te|temi)?|purtroppo|sono spiacente)\b",
    cannot=(
        r"\b(?:io )?non (?:posso|potro|riesco a|sono in grado di|sono autorizzato a)\s+(?:\w+mente )?"
        r"(?:aiutar|assister|fornir|descriver|visualizzar|acceder|identificar|riconoscer|analizzar|elaborar|generar|risponder|offrir|soddisfar|visionar|veder\w* [^.!?\n]{0,30}(?:video|immagin))\w*"
        r"|\bnon ho (?:la )?(?:capacita|accesso|possibilita)\b|\bnon mi e possibile\b"
    ),
    as_ai=r"(?:in quanto|come|sono)(?: solo)? (?:un'|una |un )?(?:ia|intelligenza artificiale|modello (?:linguistico|di linguaggio)|assistente (?:ia|virtuale))\b",
    never=r"\bnon (?:posso|riesco|ho|sono|mi)\b",
    meek=r"\bnon posso(?: farlo| continuare)?\W*(?:\Z|[.!,])",
)
RUSSIAN = Language(
    sorry=r"(?:извини(?:те)?|простите|к сожалению|прошу прощения|приношу (?:свои )?извинения|сожалею|мне (?:очень )?жаль)\b",
    cannot=(
        r"\bя (?:\w+ )?(?:не могу|не смогу|не в состоянии|не способ\w+|не имею возможности)\s+(?:\w+ ){0,2}?"
        r"(?:помо|опис|предостав|увид|видеть|просм|смотреть|получить|опозна|идентифиц|распозна|проанализ|анализ|обраб|созда|ответ|выполн|откры|определ)\w*"
        r"|\bу меня нет (?:доступа|возможности)\b"
    ),
    as_ai=r"(?:как|я|будучи) (?:всего лишь )?(?:ии|искусственны\w+ интеллект\w*|языков\w+ модел\w+|неиросет\w+|виртуальны\w+ (?:ассистент|помощник)\w*)\b",
    never=r"\b(?:я|меня|мне)\b[^.!?\n]{0,40}\bне\b",
    meek=r"\bне могу(?: (?:этого|это) сделать| с этим помочь| помочь| продолжить)?\W*(?:\Z|[.!,])",
)
CHINESE = Language(
    sorry=r"(?:非常|很|十分|真的|实在)?(?:抱歉|对不起|不好意思|遗憾)(?!的)",
    cannot=(
        r"(?:我(?:现在|目前|暂时|并)?|本(?:模型|助手))(?:无法|不能|没有办法|没办法|没有能力|没有权限|不具备|不便|看不到|没有看到|没有收到)[^\u3002\n,她他它]{0,8}"
        r"(?:查看|看到|观看|访问|描述|提供|识别|处理|回答|帮助|帮忙|协助|打开|生成|确定|分析|满足|回应|讨论|播放|看见|辨认|给[到出您你]|为[您你]|视频|图|能力)"
        r"|(?:无法|不能)(?:直接)?(?:查看|观看|访问|描述|提供|识别|处理|打开|分析|播放|读取)[^\u3002\n,她他它]{0,6}(?:视频|图|内容|文件|请求|信息|描述)"
    ),
    as_ai=r"(?:作为|我(?:只)?是)(?:一个|一名|一款|一种)?[^\u3002\n,]{0,8}(?:ai|人工智能|语言模型|大模型)(?:助手|模型|语言模型|程序|系统)?(?:,|\s|我|$)",
    never=r"我?[^\u3002\n她他它]{0,12}(?:无法|不能|没有|不具备|不会|不可以)",
    meek=r"(?:我|,)[^\u3002\n她他它]{0,6}(?:无法|不能|没办法|不会|不可以|不知道)",
    stops="\u3002!?\\n她他它",
)
JAPANESE = Language(
    sorry=r"(?:(?:大変|誠に)?申し訳(?:ありません|ございません|ないです)|すみません|すいません|ごめんなさい|恐れ入ります|恐縮です|残念ながら|残念です)(?!と|でした)",
    cannot=(
        r"(?:(?:私|わたし|当方)(?:は|に|には|では)?[^\u3002\n]{0,40}|(?:この|その)?(?:動画|画像|映像|ビデオ|写真)(?:の内容)?を(?:直接)?)"
        r"(?:閲覧|視聴|アクセス|表示|処理|説明|描写|提供|お手伝い|お答え|特定|識別|解析|分析|再生|見る|見|確認)(?:を?する|し)?(?:こと)?(?:は|が|を)?(?:できません|できない|いたしかねます|しかねます|られません)"
    ),
    as_ai=r"(?:私は)?[^\u3002\n,]{0,8}(?:ai|人工知能|言語モデル)(?:言語|モデル|アシスタント)*(?:として|なので|であるため|ですので|のため|です)(?:,|が)",
    never=r"(?:ません|できない|かねます)",
    meek=r"(?:できません|できない|できかねます|かねます|わかりません|分かりません|見えません|られません|不可能です|ありません)(?!でした)",
    stops="\u3002!?\\n",
)
KOREAN = Language(
    sorry=r"(?:정말 |대단히 )?(?:죄송(?:합니다|하지만|해요)|미안(?:합니다|하지만|해요)|유감스럽게도|안타깝게도)",
    cannot=(
        r"(?:저는|제가|나는)[^.!?\n]{0,40}(?:볼|시청할|접근할|설명할|제공할|도와드릴|식별할|분석할|처리할|답변할|확인할|도움을 드릴) ?수(?:가|는)? 없"
    ),
    as_ai=r"(?:저는 |나는 )?(?:ai|인공지능|언어 ?모델|대규모 언어 ?모델)(?: ?(?:모델|어시스턴트|언어 모델))?(?:로서|이므로|이기 때문에|이라서|입니다)",
    never=r"(?:없|못하|않)",
    meek=r"(?:수(?:가|는)? 없|불가능|못합니다|않습니다|어렵습니다)",
)
REFUSES = tuple(
    language.pattern
    for language in (
        ENGLISH,
        SPANISH,
        FRENCH,
        GERMAN,
        PORTUGUESE,
        ITALIAN,
        RUSSIAN,
        CHINESE,
        JAPANESE,
        KOREAN,
    )
)
SAYS = r"(?:says?|said|reads?|tells?|told|whispers?|shouts?|sings?|writes?|replies|apologi[sz]es)"
SAID_BY = re.compile(
    rf"[^.!?\n]{{0,80}}?[,\"]\s*(?:{SAYS}\b|(?:the|an?|he|she|they|his|her)\b(?:\s+[\w-]+){{0,4}}?\s+{SAYS}\b)"
)
"""Words that somebody in the video says, of whom the rest of the sentence tells."""


def is_refusal(text: str) -> bool:
    """Whether an answer is none: it says, where it begins, that its writer cannot or will not describe what was shown, or got nothing.

    Text that only comes after a description does not count, nor words in quotes that end before the text does.
    """
    plain = _folded(unquoted(text))
    plain = LABEL.sub("", plain, count=1)
    return any(refuses.match(plain) for refuses in REFUSES) and not SAID_BY.match(plain)


def unquoted(text: str) -> str:
    """Without quotes around all of it, and no more than what `is_refusal` reads."""
    plain = text.strip().translate(SAME)
    end = QUOTE_PAIRS.get(plain[:1])
    if end is not None and plain.find(end, 1) == len(plain) - 1:
        plain = plain[1:-1]
    return plain[:MOST_READ_CHARACTERS]


def _folded(text: str) -> str:
    """Small letters without accents, of one form a character, and single spaces."""
    apart = unicodedata.normalize("NFKD", text.casefold())
    bare = "".join(each for each in apart if not "\u0300" <= each <= "\u036f")
    return re.sub(r"[^\S\n]+", " ", unicodedata.normalize("NFC", bare)).translate(SAME)
