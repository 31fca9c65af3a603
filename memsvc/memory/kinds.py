"""Pure: what a clause is: a fact, an event, a preference, a plan, an instruction, or nothing to remember."""

import re

from memsvc.facts import EVENT, FACT, INSTRUCTION, PLAN, PREFERENCE
from memsvc.memory.clauses import told

_SPEAKING = (
    r"(?:use|give|answer|reply|respond|call|suggest|recommend|mention|include|write|speak|talk|keep|show|send|ask me|"
    r"assume|add|explain|address|provide|remind me|refer|translate|cite|tell me|format|offer|avoid|say|skip|bring up|"
    r"end|start)"
)
_INSTRUCTION = re.compile(
    r"^(?:please,? )?(?:(?:can|could|would|will) you (?:please )?(?:always|never|call me (?!back|when|at|on|in|a )|"
    r"remember (?:that )?(?:i|my|we|our)\b|keep your)\b"
    r"|from (?:now|here|this (?:point|day|moment)) (?:on|onwards?|forward)\b(?!.*\bi (?:will|am)\b)"
    rf"|(?:always|never|(?:do not|don't) ever) {_SPEAKING}\b"
    r"|(?:do not|don't) (?:(?:call|address|mention|bring up|assume|include|suggest|recommend|give me)\b|"
    r"use\b.{0,40}\b(?:emojis?|markdown|jargon|slang|bullets?|lists?|tables?|headings?|words?|language|marks?|"
    r"answers?|replies|responses?)\b)"
    r"|(?:stop|avoid|quit) (?:using|calling|saying|giving|telling|adding|asking|suggesting|sending|recommending|"
    r"apologi[sz]ing)\b"
    r"|(?:in (?:the )?future|going forward|for (?:the )?future|for future \w+|from time to time|whenever i|"
    r"when(?:ever)? you (?:answer|reply|respond|write|talk|give|suggest|recommend|address)|every time i|"
    r"each time i)\b.{0,60}?[, ](?:please|always|never|do not|don't|only|use|keep|answer|reply|respond|give|call|"
    r"remind|include|avoid|skip|write|speak|stick|make|show|list|add|start|tell|ask|you (?:should|can))\b"
    r"|(?:call|address) me (?!(?:back|when|if|later|crazy|old|at|on|in|tomorrow|tonight|today|biased|an?|maybe|"
    r"whatever|any|every|as|right|again|asap|once|soon|next|after|before|and|but|because|so|from|with|about|for|to|"
    r"up|out|the|this|that)\b)\w+"
    r"|refer to me\b|my name is \w+.{0,20}call me\b"
    r"|(?:remember|keep in mind|bear in mind|note|don't forget|do not forget)(?: that|:|,)? (?=(?:i|i'm|i've|my|we|"
    r"we're|our)\b)"
    r"|remember to (?:always|never|use|keep|call|include|remind)\b"
    r"|keep (?:your|the|all) (?:answers?|repl(?:y|ies)|responses?|messages?|suggestions|explanations?|tone|"
    r"recommendations)\b"
    r"|make sure (?:you |to |that you )?(?:always|never)\b"
    r"|(?:only|always|just) (?:answer|reply|respond|suggest|recommend|speak|talk|write|use) (?:me |to me )?\w+"
    r"|(?:answer|reply|respond|speak|talk|write) (?:to me |me )?(?:only |always )?(?:in|"
    r"with) (?:\w+ ){1,4}(?:from now on|always|only|please|every time|whenever|unless)\b"
    r"|(?:i|we)(?:'d| would)? (?:want|need|like|prefer|expect) you to (?:always|never|remember|call me|keep|stop|"
    r"remind me (?:every|each))\b"
    r"|(?:i|we)(?:'d| would)? (?:prefer|like|want|rather)(?: it)?(?: if)? (?:you(?:r)?|all your) (?:answers?|repl|"
    r"responses?|would (?:not|always|never|keep|call)|called|kept|used|didn't|stopped|did not)"
    r"|no (?:more )?(?:emojis?|bullet points?|small talk|jargon|spoilers|exclamation marks)\b)"
)
_ASK_TO_REMEMBER = re.compile(
    r"\b(?:please|to) remember (?:that )?(?:i|my|we|our)\b|\bfrom now on,? (?:please|always|never|use|call|don't|"
    r"do not|only|keep|you)\b"
)
_PREFERENCE = re.compile(
    r"^i (?:do not |did not |have (?:never|been) |used to )?(?:love|loved|like|hate|prefer|enjoy|adore|dislike|"
    r"detest|loathe|favor|favour|loving|enjoying|care for)\b|^i (?:am )?(?:loving|enjoying)\b|"
    r"^i would (?:not )?(?:rather|prefer|hate)\b"
    r"|^i can not (?:stand|bear|resist|live without|get enough)\b|^(?:(?:one|some) of )?(?:my|"
    r"our) (?:[\w'-]+ ){0,3}favou?rites?\b|\b(?:is|are|was|been|am) (?:[\w'-]+ ){0,4}favou?rites?\b|\b(?:allergic|"
    r"intolerant|allergy|intolerance)\b|\b(?:am|is|are|been|went|turned|became) (?:[\w'-]+ ){0,3}(?:vegan|vegetarian|"
    r"pescatarian|gluten[- ]free|lactose)\b|^i (?:do not|never|avoid) (?:eat|drink|smoke|eating|drinking)\b"
    r"|^i (?:am|have been)(?: not| more| \w+ly)? (?:of )?(?:an? )?(?:(?:big|huge|long-?time|massive|lifelong|"
    r"die-?hard|great|avid|real|proper) )*(?:fan|lover|into|obsessed|fond|keen|interested in|drawn to|passionate|"
    r"partial|addicted|enthusiast|hooked|leaning towards?|fascinated)\b"
    r"|^i am (?:not )?(?:an? )?(?:more of an? )?\w+ (?:person|lover|enthusiast|fan|buff|nerd|junkie)\b"
    r"|^i (?:find) (?:\w+ ){1,4}(?:boring|relaxing|annoying|fascinating|soothing|calming|inspiring)\b|"
    r"^i am not (?:a fan|into|big on|keen)\b"
    r"|^my (?:preference|ideal|dream|style|taste)\b"
)
_PLAN = re.compile(
    r"^i (?:will|shall|am (?:going to|planning|thinking (?:of|about \w+ing)|considering|hoping|looking forward|"
    r"about to|looking to|excited (?:to|about|for)|aiming|due|set to|trying to decide|preparing|getting ready|saving|"
    r"determined|meeting|booked|scheduled|eyeing|debating)|plan|intend|aim|hope|want|wanna|need to|have to|must|"
    r"might|may|should|would (?:like|love|hate)|can not wait|have been (?:thinking (?:of|about \w+ing)|considering|"
    r"meaning|planning|wanting|eyeing|saving|hoping|looking to)|was (?:thinking (?:of|about \w+ing)|planning|"
    r"considering|hoping)|have (?:a |an )?(?:plans?|upcoming|trip planned|decided to|booked)|have my eye)\b|"
    r"^i am (?:off|going|flying|moving|heading|leaving|travel\w*|visiting|having|hosting|throwing|getting|starting|"
    r"meeting|taking|seeing|bringing|attending|running|driving|staying)\b.*\b(?:tomorrow|tonight|next|this (?:week|"
    r"month|summer|winter|spring|fall|autumn|year|\w+day|coming|evening|afternoon)|soon|upcoming|in (?:a few|two|"
    r"three|\d+) (?:days|weeks|months)|in (?:january|february|march|april|may|june|july|august|september|october|"
    r"november|december)|on (?:\w+day))\b"
    r"|^i (?:start|leave|come|go|fly|move|arrive|return|am off) (?:[\w']+ ){0,6}(?:on|in|"
    r"of) (?:the )?(?:\d{1,2} )?(?:january|february|march|april|may|june|july|august|september|october|november|"
    r"december)\b|^my (?:plan|goal|aim|intention|resolution|next)\b|^(?:my|our) [\w' ]{1,40}? (?:will|is going to|"
    r"are going to|is coming|are coming|is getting married|is (?:\w+ )?coming up)\b|\b(?:coming up|upcoming)\b"
)
_STATE = re.compile(
    r"^i (?:used to|have (?:been|always|never|had|lived|worked|known|loved|wanted|owned|used|struggled|limited|"
    r"experienced|related|mixed|found|noticed|learned|realized|heard)|was (?:born|always|never)|(?:always|never|"
    r"usually|often|grew up|knew|belonged))\b"
)
_LASTING = re.compile(
    r"^i (?:was|lived|worked|wanted|needed|felt|thought|believed|liked|loved|hated|preferred|had|noticed)\b"
)
_RECENT = re.compile(
    r"\b(?:recently|just|finally|the other day|ago|yesterday|earlier today|last (?:night|week|month|year|weekend))\b"
)
_TENSE = re.compile(
    r"\b(?:(?P<now>is|are|am|has|have|does|do|can|will|should|may|might|would|could)|(?P<was>was|were|had|did)|"
    r"(?P<done>went|got|came|saw|met|took|began|gave|ran|ate|drank|wrote|became|flew|drove|slept|swam|rode|wore|"
    r"chose|fell|threw|woke|broke|drew|spoke|made|told|said|left|found|kept|lost|spent|built|sold|taught|brought|"
    r"bought|won|caught|paid|sent|led|held|put|set|cut|let|hit|read|quit|grew|sang|stood|sat|heard|forgot|lent|bid|"
    r"split|shot|dug|stole|hung|bit|slid|swung|shook|rang|rose|shut|stuck|struck|swore|tore|laid|fed|fought|dealt|"
    r"crept|bent|wept|learnt|froze|beat|(?!need|feed|breed|speed|limited|interested|advanced|retired|married|"
    r"tired)[a-z]{2,}ed))\b"
)
_PERFECT = re.compile(
    r"^i have (?!to |been |a |an |the |some |no |two |three |my |not |always |never |had |lots? )(?:got (?:back|"
    r"married|engaged|rid|into)|\w+ed|bought|taken|made|done|gone|seen|met|given|written|read|begun|built|chosen|"
    r"become|sold|lost|left|won|come|put|set|spent|sent|found|started)\b"
)


def kind_of(clause: str, *, is_dated: bool, is_ahead: bool) -> str | None:
    """What a clause says, by the first rule that fits; None for nothing about who speaks.

    `is_dated` says that it names a day that was, or a longer time; `is_ahead`, one to come.
    """
    if instructs(clause):
        return INSTRUCTION
    core = told(clause, is_dated=is_dated)
    if core is None:
        return None
    if _PREFERENCE.search(core):
        return PREFERENCE
    if (is_ahead and not is_dated and not _STATE.match(core)) or _PLAN.search(core):
        return PLAN
    return EVENT if _happened(core, is_dated=is_dated or bool(_RECENT.search(clause))) else FACT


def instructs(clause: str) -> bool:
    """Whether it tells the listener what to do from now on."""
    return _INSTRUCTION.match(clause) is not None or _ASK_TO_REMEMBER.search(clause) is not None


def _happened(core: str, *, is_dated: bool) -> bool:
    """Whether it tells of what came about once, not of how things are."""
    if _STATE.match(core) or ((_LASTING.match(core) or core.startswith("the ")) and not is_dated):
        return False
    if _PERFECT.match(core):
        return True
    verb = _TENSE.search(core)
    return verb is not None and (verb["done"] is not None or (verb["was"] is not None and is_dated))
