"""Pure: whether a clause tells something about who speaks, by the rules of English.

Clauses are read in small letters with plain apostrophes, and in their plainest form: contractions written out, "we" as
"i", without the adverbs at their head.
"""

import re

_CONTRACTIONS = tuple(
    (re.compile(short), full)
    for short, full in (
        (r"\b(?:i'm|im|we're|we are)(?![\w'])", "i am"),
        (r"\b(?:i've|ive|we've)(?![\w'])", "i have"),
        (r"\b(?:i'll|we'll)(?![\w'])", "i will"),
        (r"\b(?:i'd|we'd)(?= (?:been|already|never|gone|just|had|better)\b)", "i had"),
        (r"\b(?:i'd|we'd)(?![\w'])", "i would"),
        (r"\bwe were\b", "i was"),
        (r"\bwe\b", "i"),
        (r"\bcan(?:'t|not)\b", "can not"),
        (r"\bwon't\b", "will not"),
        (r"\b(could|should|would|might|must)'ve\b", r"\1 have"),
        (r"\b(do|does|did|is|are|was|were|have|has|had|would|could|should)n'?t\b", r"\1 not"),
        (r"\bgonna\b", "going to"),
        (r"\bwanna\b", "want to"),
        (
            r"\b(my [\w']+|our [\w']+)'s (?=\w+ing\b|a\b|an\b|in\b|at\b|from\b|been\b|allergic\b|\w+ed\b|the\b|not\b)",
            r"\1 is ",
        ),
    )
)
_ADVERBS = re.compile(
    r"\b(?:just|also|really|actually|definitely|totally|absolutely|currently|still|already|even|probably|certainly|"
    r"personally|honestly|especially|particularly|recently|finally|only|mostly|completely|truly|quite|pretty|so|very|"
    r"a bit|a little|kind of|sort of|again|initially|originally|seriously|maybe|perhaps|now|lately|ever|then|too|"
    r"mainly|simply|usually|generally|typically|often|sometimes|always|all|both|surely|obviously|basically|deeply|"
    r"super|extremely|incredibly|slightly|somewhat|accidentally|unfortunately|sadly|luckily) (?=\w)"
)
_HEAD = 90
_MOST_OPENINGS = 3

# ---- What is not told.

_PERSONAL = re.compile(
    r"\b(?:my|our|mine|ours)\b|\b(?:yesterday|tomorrow|tonight|last (?:week|month|year|night|summer|winter|spring|"
    r"fall)|(?:days?|weeks?|months?|years?) ago|(?:next|this) (?:week|month|year|summer|winter|spring|fall|\w+day)|"
    r"weekend|birthday|anniversary|wedding|i (?:recently|just|already) \w+ed)\b"
    r"|(?<!^)\bi (?:just |recently |already )?(?:read|bought|got|saw|went|made|took|met|found|attended|visited|"
    r"finished|started|ordered|watched)\b"
)
_NEVER = re.compile(
    r"^i (?:appreciate|thank|agree|disagree|understand|see(?= (?:that|what|how|why|your|it)\b|[.,!]|$)|get it|bet|"
    r"meant?|said|asked|hope (?:you|this|that|it)|beg|apologi[sz]e|guess so|think so|hope so|promise|swear|repeat|"
    r"noticed you|told you|am asking|am (?:talking|referring))\b"
    r"|^i (?:was|am|have been) (?:asking|confused (?:by|about)|hoping you|trying to (?:say|ask))\b"
    r"|^i (?:have|had) (?:an? |another |one |some |few |more |other |follow-up |quick ){1,3}(?:question|request|"
    r"problem|task|query|follow-up|idea)s?\b"
    r"|^i (?:did|do|could|would|will) not (?:know|realize|realise|think|believe|mind|get (?:it|that)|see|understand|"
    r"mean|thought|remember asking|need you)\b"
    r"|^i (?:never|had not|have not|had never|have never) (?:thought|considered|realized|knew|known|heard)\b|"
    r"^i (?:wanted|want|have been meaning|was (?:going|about)|meant) to (?:ask|know|say|thank|share|tell you|"
    r"check if|see if|mention|confirm|clarify|follow up|circle)\b"
    r"|\b(?:this|our|the) (?:conversation|chat)\b|^i (?:get|understand|see) (?:that|what|your|the point)\b|"
    r"^i had no (?:idea|clue)\b|^i have no (?:idea|clue)\b"
    r"|^i can (?:not )?(?:see|imagine|understand|believe|tell|agree|thank)\b|^i could (?:see|use|imagine)\b"
    r"|^i (?:can|could) (?:not )?(?:help|provide|assist)\b"
    r"|^(?:my|our) (?:(?:next|first|second|last|main|only|other|biggest|current) )*(?:question|request|point|guess|"
    r"bad|apologies|pleasure|task|prompt|goal here|thoughts?)\b"
    r"|^i am (?:here to|an ai|a language model|happy to (?:help|assist|hear)|glad (?:to (?:hear|help)|you|that you|"
    r"i could|it))\b"
    r"|^i (?:am|feel) (?:sure|certain|confident|afraid|sorry|ready|aware|all ears)\b(?!.*\bmy\b)"
    r"|\bas an ai\b|\bif i (?:had|were|was|could|did|would)\b|\b(?:would|could|should|might|must) have\b|^(?:suppose|"
    r"imagine)"
    r"|^i (?:think|believe|feel|guess) (?:that )?(?:it|that|this|they|these|those|the|he|she|there|you|"
    r"people)\b(?!.*\bmy\b)|^i could (?!not)|^i will (?:make sure|keep (?:those|these|that|this|them|it|your|"
    r"the))\b(?!.*\bmy\b)|^i will keep (?:those|these|that|this|them|it|your)\b|^i (?:[\w'-]+ ){1,5}of (?:those|"
    r"these|them)\b|^i am (?:not )?(?:laughing|kidding|joking|serious|proud of you|happy for you)\b|^i (?:have|"
    r"have got|had) an idea\b|^i can .{1,40} (?:for|with) you\b|^i (?:am|have been) interested in (?:reading|"
    r"exploring|learning|hearing) (?:more|further)\b|^i (?:like|love) (?:the|your|that|this|"
    r"all) (?:[\w'-]+ ){1,3}(?:ideas?|suggestions?|tips?|options?|recommendations?)\b|^i wish\b|\blet us say\b|"
    r"\bhypothetical|^i (?:want|need|would like|expect|asked|told) you\b|^i (?:am|was) (?:a|an) ai\b"
    r"|^i (?:can|could|should|might|may|would) (?:try|use|start|do|add|include|consider)\b(?!.*\bmy\b)"
    r"|^i (?:like|love) (?:the|your|that|this|all|both|those|these) (?:\w+ )?(?:ideas?|sound|suggestions?|tips?|"
    r"options?|recommendations?|thought)\b|^i would (?!like|love|rather|prefer|hate|be (?:there|in|at|home|back))"
)
# Told only if it says more of who speaks than of the chat.
_HARDLY = re.compile(
    r"^i (?:need|want|require|would (?:like|love)|would appreciate|am (?:hoping|trying|looking|eager|curious|ready|"
    r"here)) (?:to )?(?:for (?:some|more|a few|any|information|tips|advice|ideas|suggestions|recommendations|ways)|"
    r"know|hear|see|ask|understand|learn more|explore|discuss|get (?:some|more|a better|your|an idea)|find|figure|"
    r"make sure|clarify|create|write|generate|focus|narrow|delve|dive|ensure|talk|help|some|more|a few|any|advice|"
    r"tips|info|information|it|that|your|suggestions|recommendations|ideas|details|assistance|guidance|come up|"
    r"determine|decide|implement|think of|use|add|include|\d+)\b"
    r"|^i am (?:interested in (?:learning|knowing|hearing|finding|understanding|seeing|discovering)|unsure|not sure|"
    r"sure|confident|open to|willing|happy (?:to|with|about|that)|glad|curious|fascinated|impressed|amazed|surprised|"
    r"relieved|intrigued|looking for (?!(?:an? |some )?new )|in need|in search|seeking|asking|aware|thinking (?:that|"
    r"it|maybe|about how)|looking forward to (?:try|check|explor|hear|learn|see|read|watch|implement|incorporat|"
    r"using|start|experiment)\w*|wanting)\b"
    r"|^i (?:like|love|enjoy|prefer) (?:how|that|this|it|them|these|those|your|both|(?:the )?(?:\w+ )?(?:idea|ideas|"
    r"sound|thought|suggestions?|concept|tips?|options?|recommendations?|plan|list|way|ones?|name|look|approach|fact|"
    r"first|second|third))\b"
    r"|^i (?:think|believe|guess|feel|suppose|find|found (?:that|it)|heard|have (?:heard|read|seen|noticed|found|"
    r"realized|learned)|read (?:that|about)|know|realize|realise|assume|imagine|doubt|notice|noticed|learned (?:that|"
    r"about)|figured?|thought|saw (?:that|it|this)|remember|recall|forgot|wonder|(?:was|am|have been) wondering|get|"
    r"got it|got that|hope)\b"
    r"|^i (?:do|did|can|could) not (?:want|need|find|wait|figure|seem|have (?:any|to)|decide|remember)\b"
    r"|^i (?:have|had) (?:trouble|difficulty|this|these|the following|a list|to (?:say|admit|agree|ask))\b"
    r"|^i (?:could|might|may|should|must|have to|has to|will have|can (?:make|get|go|find|create|be|have|take|check|"
    r"look|keep|focus|put|give)) "
)
# A plan that points at what was said to it is none without more.
_WILLS = re.compile(
    r"^i (?:will|am (?:going|excited|planning|thinking|considering|hoping)|plan|intend|want|would (?:like|love)|need|"
    r"have been (?:thinking|considering|meaning|planning|wanting))\b"
)
_POINTING = re.compile(
    r"^i (?:[\w'-]+ ){1,8}?(?:(?:this|these|it|them|those|that)(?! (?:is|are|was|were|can|has|have|had|would|will|"
    r"week|weekend|month|year|summer|winter|spring|fall|\w+day|morning|evening|afternoon)\b)|your|you|suggest\w*|"
    r"recommend\w*|tips?|advice|options|ideas?|resources|mentioned)\b"
)
# "Every night when I cook" is no sentence.
_FRAGMENT = re.compile(
    r"^(?!i\b|my\b|our\b)(?:[\w']+ ){0,3}(?:when|while|until|whenever|although) (?:i|my|our)\b(?!.*(?:,|\bi\b))"
)
# What it is about cannot be known without what was said before.
_OF_IT = re.compile(
    r"^i (?:[\w'-]+ ){1,6}?(?:it|them|him|her(?! \w+\b)|those|these)\b(?! (?:is|was|are|were|would|will)\b)"
)
# In a short clause these leave open whom or what it is about.
_UNRESOLVED = re.compile(
    r"\b(?:it|its|them|they|him|you|your|myself|her(?! \w+ (?:and|,))|he|she|their|theirs|those|these|there|"
    r"one(?! of)|ones|that(?=[\s.!]*$| one\b)|this(?=[\s.!]*$))\b"
)
_FEWEST, _SHORT = 3, 9
_SHORT_PLAN = re.compile(r"^i (?:will|am (?:excited|going) to)\b(?!.*\b\d)")
_FEWEST_OF_A_PLAN = 6
_RESOLVED_AT_LENGTH = 10
# "I'm excited" is of the moment; "I'm pregnant" and "I'm Danish" are told.
_MOOD = re.compile(
    r"^i (?:am|feel) (?!\d|vegan|vegetarian|pregnant|married|divorced|single|retired|engaged|diabetic|gay|deaf|blind|"
    r"unemployed|widowed|asthmatic|dyslexic|autistic|bilingual|bald)\w+(?<!an)(?<!ish)(?<!ese)[\s.!]*$|"
    r"^i say (?:nothing|no|yes)\b|\b(?:those|these) \w+[\s.!]*$"
)
_TELLING_NOTHING = re.compile(
    r"^i (?:do|did|am|was|have|had|will|would|can|could|should|know|guess|hope|think|am (?:good|fine|ok|okay|back|"
    r"here|done))(?: (?:too|not|so|that|it|this|them|either|as well|exactly|now|later|again|for sure|indeed|"
    r"well))*[\s.!]*$"
)

# ---- What it says first of all, which tells nothing by itself.

_STANCE = re.compile(
    r"^i (?:think|believe|guess|feel like|feel that|feel|suppose|realized?|realised|noticed|have noticed|"
    r"have realized|have found|heard|found|remember(?:ed)?|know|figured?|must (?:say|admit)|have to (?:say|admit)|"
    r"was thinking|am thinking|hope|would say|mean|should mention|forgot to mention|was going to say|am (?:happy|"
    r"glad|proud|pleased|sorry) to (?:say|report)|wanted to (?:mention|say|share|tell you)|"
    r"want to mention) (?:that )?(?=(?:i|my|our)\b)"
)
_LEAD = re.compile(r"^(?!(?:if|unless|whether|i|my|our|that way|this way|as an?)\b)[^,;:]{1,90}, (?=i\b)")
_LEAD_OF_OTHERS = re.compile(
    r"^(?:in|on|at|last|yesterday|today|tomorrow|after|before|since|when|while|during|for|this|next|every|as|"
    r"although|even|once|until|with|like|unlike|because|\w+ly)\b[^,;:]{0,80}, (?=(?:my|our)\b)"
)
_LEAD_OF_TIME = re.compile(
    r"^(?:(?:yesterday|today|tonight|tomorrow|nowadays|currently|recently|lately|so far|because|since|as|though|"
    r"although) (?=(?:i|my|our) )|(?:(?:a|one|two|three|four|some|couple|few|several|\d+) (?:\w+ ){0,3}?(?:days?|"
    r"weeks?|months?|years?|mornings?|nights?|evenings?|afternoons?|hours?)|(?:(?:just|only) )?(?:last|this|next|"
    r"every|on|in|during|over|at|after|before|until|once|when|while|for))(?: [\w']+){0,8}? (?=i (?!and\b)))"
)

_OWN = re.compile(
    r"i (?!and\b)|(?!xx)[\w']+ and i |(?:(?:one|some|most|half|both|many|two|three) of |both )?(?:my|"
    r"our) (?:[\w',-]+ ){1,12}?(?:is|are|am|has|have|does|do|did|can|will|was|were|had|would|'s|(?!this|always|"
    r"sometimes|plus|thus|yes|his|across|besides|perhaps)[a-z]{2,}[a-rt-z]s|[a-z]{2,}ed|went|got|came|saw|met|took|"
    r"gave|ran|ate|wrote|became|flew|drove|fell|threw|woke|broke|made|told|said|left|found|kept|lost|spent|built|"
    r"sold|taught|brought|bought|won|caught|paid|sent|led|live|love|like|work|want|need|come|go|keep|use|prefer|hate|"
    r"eat|play|know|get|make|take|run|speak|visit|plan|call)\b|the (?:[\w'-]+ ){1,3}(?:that |which )?i (?:\w+ )"
)
# Who speaks is left out in short messages: "Got the keys on Friday!"
_ELIDED = re.compile(
    r"^(?:just |finally )?(?:went|got|came|saw|met|took|began|gave|ran|ate|drank|wrote|flew|drove|slept|made|found|"
    r"lost|spent|built|sold|bought|won|caught|paid|sent|booked|finished|started|moved|signed|adopted|visited|handed|"
    r"picked|passed|applied|celebrated|arrived|returned|joined|planted|baked|cooked|painted|watched|had) (?!you\b)"
)


def told(clause: str, *, is_dated: bool) -> str | None:
    """The clause in its plain form from its subject on; None if it tells nothing about who speaks.

    `is_dated` says that it names a day that was, or a longer time: then "got the keys on Friday" needs no subject.
    """
    core = f"i {clause}" if is_dated and _ELIDED.match(clause) else _core(_plain(clause))
    return core if core is not None and _tells(core) else None


def _plain(clause: str) -> str:
    for short, full in _CONTRACTIONS:
        clause = short.sub(full, clause)
    return _ADVERBS.sub("", clause[:_HEAD]) + clause[_HEAD:]


def _core(clause: str) -> str | None:
    """The clause from its subject on; None if that is not who speaks, or theirs."""
    if _FRAGMENT.match(clause):
        return None
    for _ in range(_MOST_OPENINGS):
        for opening in (_LEAD, _LEAD_OF_OTHERS, _LEAD_OF_TIME, _STANCE):
            clause = _ADVERBS.sub("", opening.sub("", clause, count=1))
    return clause if _OWN.match(clause) else None


def _tells(core: str) -> bool:
    if _TELLING_NOTHING.match(core) or _MOOD.search(core) or _NEVER.search(core):
        return False
    if _OF_IT.match(core) and not _PERSONAL.search(core, 3):
        return False
    words = core.count(" ") + 1
    if words < _FEWEST:
        return False
    if words <= _SHORT and _UNRESOLVED.search(core):
        return False
    if words < _FEWEST_OF_A_PLAN and _SHORT_PLAN.match(core) and not _PERSONAL.search(core, 3):
        return False
    is_plan = _WILLS.match(core) and _POINTING.search(core)
    if _PERSONAL.search(core, 3):
        return not is_plan or words >= _RESOLVED_AT_LENGTH
    return not (_HARDLY.match(core) or is_plan)
