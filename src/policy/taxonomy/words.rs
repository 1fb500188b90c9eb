//! Phrases of error messages with a known meaning, and statuses named in text.
//!
//! The last resort: structure (codes, statuses, exit codes) is read first. One
//! line is read at a time, without names and paths in it; of several phrases in
//! a line the graver one counts (the order of [`Meaning`]). Phrases that only
//! say "wrong input" are listed where they must stop a transient word in the same
//! line from being believed; everything unlisted is semantic anyway.
//!
//! The system's own messages (`strerror`, resolver) are listed in the languages the C library
//! ships most: a shell may run under any locale.

use std::sync::LazyLock;

use regex::Regex;

use super::codes;
use super::meaning::Meaning::{self, Cost, Human, Lock, Persistent, Rate, Semantic, Transient};
use super::meaning::Weight;
use super::phrases::Phrases;
use super::text::{regex, without_names};

/// Returns the gravest meaning of the phrases in one line, if there is any.
pub(super) fn read(line: &str) -> Option<Meaning> {
    if let Some(at) = RAW.find(line).next() {
        return Some(RAW_PHRASES[at].0);
    }
    let line = without_names(line);
    let found = SET.find(&line).map(|at| PHRASES[at].0).min()?;
    // A parameter above what the model can write, or a chain of redirects, is no spent allowance.
    if found == Cost && PARAMETER.is_match(&line) {
        return Some(Semantic);
    }
    // A quota per minute is a rate: it refills while one waits.
    if found == Cost
        && PER_MINUTE.is_match(&line)
        && !LONG_WINDOW.is_match(&line)
        && !MONEY.is_match(&line)
    {
        return Some(Rate);
    }
    Some(found)
}

/// Whether a phrase that needs the names in the line is in it; it outweighs the codes beside it.
pub(super) fn is_told_by_names(line: &str) -> bool {
    RAW.find(line).next().is_some()
}

/// Whether the text names a window of a day or longer.
pub(super) fn names_long_window(line: &str) -> bool {
    LONG_WINDOW.is_match(line)
}

/// Returns the numbers of "limit X … requested Y" when more was requested than can ever be granted.
pub(super) fn requested_over_limit(text: &str) -> Option<(u64, u64)> {
    let limit = first_number(&LIMIT, text)?;
    let requested = first_number(&REQUESTED, text)?;
    (requested > limit).then_some((limit, requested))
}

/// Whether a limit of zero is named: the caller has no allowance at all.
pub(super) fn limit_is_zero(text: &str) -> bool {
    static ZERO: LazyLock<Regex> =
        LazyLock::new(|| regex(r"(?i)\blimit\s*[:=]?\s*0(?:[,;)\s]|\.\s|\.?$)"));
    ZERO.is_match(text)
}

fn first_number(pattern: &Regex, text: &str) -> Option<u64> {
    pattern.captures(text)?[1]
        .replace([',', '_'], "")
        .parse()
        .ok()
}

static LIMIT: LazyLock<Regex> =
    LazyLock::new(|| regex(r"(?i)\blimit(?: is| of)?\s*[:=]?\s*(\d[\d,_]*)"));
static REQUESTED: LazyLock<Regex> =
    LazyLock::new(|| regex(r"(?i)\brequested\s*[:=]?\s*(\d[\d,_]*)"));

/// Returns the HTTP status a line of text names, if it does so unmistakably.
pub(super) fn status_in(line: &str) -> Option<u16> {
    static BEFORE: LazyLock<Regex> = LazyLock::new(|| {
        regex(concat!(
            r"(?i)(?:\bhttp(?:/\d(?:\.\d)?)?(?:[ _-]?(?:status|error|code|response)){0,3}|\bstatus(?:[ _-]?code)?|\bresponse(?: status| code)?(?: code)?|",
            r"\berror[ _-]code|\bapi error|\breturned (?:an? )?(?:error|status|http)(?: code)?|\bserver (?:responded|returned|replied)(?: with)?(?: a)?(?: status(?: of)?)?|\berror)",
            r"['\x22]?\s*[:=(#-]?\s*(?:of |is |was )?['\x22(\[]?([345]\d\d)\b(?:[^\d.]|$|\.\D|\.$)",
        ))
    });
    static REASON: LazyLock<Regex> = LazyLock::new(|| {
        regex(concat!(
            r"(?i)\b([345]\d\d)\b[\s:,)\]-]{1,3}(?:client error|server error|bad request|unauthori[sz]ed|payment required|forbidden|not found|method not allowed|not acceptable|",
            r"proxy authentication|request time-?out|conflict|gone|precondition failed|payload too large|request entity|unsupported media|unprocessable|locked|too early|too many requests|",
            r"internal server error|not implemented|bad gateway|service (?:temporarily )?unavailable|gateway time-?out|insufficient storage|site is overloaded|overloaded)",
        ))
    });
    let found = REASON.captures(line).or_else(|| BEFORE.captures(line))?;
    found[1].parse().ok()
}

/// Returns what an SMTP reply in the line says. Source: RFC 5321 §4.2, RFC 3463.
pub(super) fn smtp(line: &str) -> Option<Meaning> {
    static REPLY: LazyLock<Regex> = LazyLock::new(|| {
        regex(
            r"(?i)(?:^|[^\d.])([45]\d\d)[ -]#?([45]\.\d{1,3}\.\d{1,3})\b|\bsmtp\w*\b[^\n]{0,60}?\b([45]\d\d)\b",
        )
    });
    let found = REPLY.captures(line)?;
    let code = found.get(1).or_else(|| found.get(3))?.as_str();
    let enhanced = found.get(2).map_or("", |m| m.as_str());
    Some(match (code, enhanced) {
        ("534", _) => Human,
        ("530" | "535" | "538", _) | (_, "5.7.8" | "5.7.9" | "5.7.0" | "5.7.14") => Persistent,
        (_, "5.4.5") => Cost,
        (_, "5.7.1") if code.starts_with('5') => Persistent,
        _ if code.starts_with('4') => Transient,
        _ => Semantic,
    })
}

static PARAMETER: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(?i)number of redirects|maximum (allowed )?number of (output|completion) tokens|at most \d+ (output|completion) tokens|max_(output_|completion_|new_)?tokens (is too large|must be)",
    )
});
static PER_MINUTE: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(?i)rate[ _-]?limit|please wait|check quota\)|per[ _-]?(minute|second|min|sec|100 seconds)|/\s?(min|minute|sec|second|m|s)\b|\b(RPM|TPM|RPS|QPS|QPM)\b",
    )
});
static LONG_WINDOW: LazyLock<Regex> = LazyLock::new(|| {
    regex(concat!(
        r"(?i)per[ _-]?(day|week|month|year)|\b(daily|weekly|monthly|yearly|annual)\b|/\s?(day|week|month|d)\b|\b(RPD|TPD)\b",
        r"|\b(this|current|each|next) (day|week|month|billing)|\b(24|48) ?-?h(ours?|r)?\b|\bfor (today|the day|the month)|\b(tomorrow|until midnight)\b|\b(exceeded|reached|used|limits?|quotas?|no more)\b[^.]{0,40}\btoday\b",
        r"|per(day|month)",
    ))
});
static MONEY: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(?i)\b(billing|credits?|balance|payment|prepaid|purchase|top.?up|budget|spend|subscription|invoice)\b|context (length|window)",
    )
});

static RAW: LazyLock<Phrases> = LazyLock::new(|| table(RAW_PHRASES));
static SET: LazyLock<Phrases> = LazyLock::new(|| table(PHRASES));

fn table(phrases: &[(Meaning, &'static str)]) -> Phrases {
    let phrases: Vec<_> = phrases.iter().map(|(_, phrase)| *phrase).collect();
    Phrases::new(&phrases)
}

/// Phrases that need the names in the line; looked at first, first match wins.
const RAW_PHRASES: &[(Meaning, &str)] = &[
    // HRESULTs of Windows: denied, disk full, untrusted; sharing and lock violation; WinHTTP.
    (Persistent, r"0x80070005|0x80070070|0x800b0109"),
    (Lock, r"0x8007002[01]"),
    (Transient, r"0x80072ee[27]|0x80072ef[def]"),
    (
        Lock,
        r"\b[A-Z]+_IN_PROGRESS state|error acquiring the state lock",
    ),
    (
        Lock,
        r"\.lock('|’)?: file exists|\.lock\b.{0,40}(held|locked|in use|exists\b)|lock file .{0,60}(held|exists|in use)",
    ),
    (
        Transient,
        r"typeerror: (fetch failed|failed to fetch|load failed|network ?error|network request failed)|connect ENOENT \S+\.sock",
    ),
    (
        Transient,
        r"docker daemon running|is the server running|\.sock\b.{0,60}(refused|no such file|did you start)|s\.pgsql\.\d+",
    ),
    (
        Semantic,
        r"^\S+:\d+(:\d+)?:? (fatal )?error\b|^error(\[E\d+\]| TS\d+)|\berror TS\d{4}|^\S+\.\w+\(\d+,\d+\): error|^error: could not compile|^\d+:\d+:?\s+(error|warning|fatal)\b",
    ),
    (
        Persistent,
        r"disk quota exceeded|quota de disque|festplattenkontingent|cuota de disco|超出磁盘限额|ディスク使用量",
    ),
    (
        Persistent,
        r"host key verification failed|remote host identification has changed|no matching host key|\.git/objects/\S* is empty",
    ),
];

/// Meaning and phrase. Matched without case on a line without names.
#[rustfmt::skip]
const PHRASES: &[(Meaning, &str)] = &[
    // ---- a human has to act -----------------------------------------------------
    (Human, r"\b(needs?|requires?|required|awaiting|waiting (for|on)|pending|without|subject to|missing|lacks?|obtain|request(ed)?)\b[^.]{0,30}\b(manual |human |explicit |prior |admin(istrator)?('s)? |owner('s)? |manager('s)? |your |reviewer |security )*(approval|sign-?off|consent)\b"),
    (Human, r"\bapproving reviews?\b|review (is )?required by|\b(must|needs? to|has to|should|to) be (manually |explicitly )?(approved|reviewed|confirmed|signed off|authori[sz]ed) by (an? |the |your )?\w+|approval (is )?(required|needed|pending|missing)|\b(user|admin\w*|owner|manager|human|you|someone) (must|needs? to|has to|have to|should) (\w+ )?(approve|authori[sz]e|confirm|accept|consent)\b|not (yet )?(been )?approved"),
    (Human, r"\b(two|2|multi|second)[- ]?(factor|step)\b|\b(2fa|mfa|totp|otp)\b.{0,40}\b(required|code|token|must|need|missing|challenge|enroll|device|prompt)|one[- ]time (password|passcode|code)|verification code|security key|authenticator app|webauthn|yubikey"),
    (Human, r"\b(accept(ed|ing)?|agree(d|ing)?( to)?|acknowledge|sign)\b.{0,60}\b(terms|conditions|licen[sc]es?|agreements?|tos|policy|eula|conduct)\b|(terms|licen[sc]es?|agreements?|conditions|eula)\b.{0,60}\b(not (yet )?(been )?(accepted|agreed|signed)|must be (accepted|agreed|signed)|need(s)? to be (accepted|signed))"),
    (Human, r"\b(user|admin|administrator|customer|owner|resource owner) (has not |must |needs to |did not |should )?(granted? |give |provide )?consent(ed)?|consent (is )?(required|needed|missing)|grant (your|the) .{0,40}(token|app(lication)?) access"),
    (Human, r"\bexemption\b.{0,60}\b(required|request|needed|approved|from)|(request|need|needs|requires?|without|file|open) (an? |the )?(policy |security )?(exemption|exception request|waiver)"),
    (Human, r"\bcard ?(holder|owner)\b.{0,80}(authori[sz]e|authenticat|confirm|contact|verify|approve|action|must|need)|(3-?d secure|3ds2?\b|strong customer authentication|\bsca\b).{0,60}(required|needed|challenge|must|authenticat)|contact (your|their|the) (bank|card issuer|issuer)|authentication .{0,40}(by|from) (the )?(customer|card ?holder)"),
    (Human, r"\b(vault|server|node|cluster|storage|keystore) is sealed|\bunseal\b|seal(ed)? status"),
    (Human, r"\bcaptcha\b|are you (a )?human|verify (that )?you are (a )?human|prove you('| a)re not a robot|identity verification|verify your (identity|organization|phone|email|account)|(organization|account|phone|identity) (must|needs? to|has to) be verified"),
    (Human, r"\bhuman (intervention|review|input|confirmation|operator|action|in the loop|verification|decision)\b.{0,40}|manual (intervention|review|approval|verification|confirmation|step|action) (is |was )?(required|needed|necessary)|(requires?|needs?|awaiting) (manual|human|physical)\b|ask (your|an?|the) (admin|administrator|owner|manager)\b.{0,60}(to (approve|grant|accept|allow|authori[sz]e|enable))|press the (physical )?button|insert (the )?(disk|tape|media|smart ?card|token)"),
    (Human, r"saml (enforcement|sso)|(authori[sz]e|enable) .{0,30}(saml|sso)|use case details have not been submitted|access to (this |the )?(model|repo|dataset|gated).{0,80}(restricted|gated|awaiting|review)|gated (repo|model)"),
    (Human, r"(interactive|user) (login|authentication|sign-?in|interaction|confirmation) (is )?required|must (complete|finish|pass) .{0,40}(challenge|verification|mfa|consent)|(requires?|needs?|awaiting) (user |explicit |your )?confirmation"),
    (Human, r"\bapprove (it|the (request|sign-?in|login|notification|prompt))\b|(must|needs? to|has to|have to) contact\b|suspicious activity|asking for approval|no pinentry|inappropriate ioctl for device|\b(must|needs? to|has to|have to) (\w+ )?sign\b|needs? (your|the user's|a human) (decision|signature)"),
    (Human, r"(starke kundenauthentifizierung|zwei-?faktor|(freigabe|genehmigung|zustimmung|unterschrift) (durch|von|des|der|nötig|notwendig|fehlt|ausstehend)|\bmuss\b.{0,60}\b(genehmigt|freigegeben|unterschrieben)\b|(bestätigungs|sicherheits|einmal)-?(code|passwort)|(die|eine|ihre|per|push-?)\s?tan\b|authentification (forte|à deux facteurs)|double authentification|(approbation|autorisation|validation|accord|signature) (du|de la|d'une?|de votre|requise?|nécessaire)|doit être (approuvée?|validée?|autorisée?|signée?)|code (à usage unique|de vérification|de sécurité|de confirmation))"),
    (Human, r"(requiere|necesita|falta|pendiente de) (la |una |su )?(aprobación|autorización|firma|confirmación)|(aprobación|autorización) (de|del) |debe ser (aprobad(o|a)|autorizad(o|a)|firmad(o|a))|código de (verificación|un solo uso|confirmación)|autenticación de dos factores|(richiede|necessari(a|o)|serve|manca) .{0,16}(approvazione|autorizzazione|firma|conferma)|(approvazione|autorizzazione) (del|della|di un) |deve essere (approvat|autorizzat|firmat)|codice (di verifica|monouso|di conferma|otp)|(requer|precisa d(a|e)|exige|falta) (a |uma )?(aprovação|autorização|assinatura)|(aprovação|autorização) (do|da|de um) |ser (aprovad|autorizad)(o|a) por|código de verificação"),
    (Human, r"(требуе(т|тся)|нужн(о|а)|необходим(о|а)?) .{0,60}(подтвержден|одобрен|согласован|утвержден|подпис)|код (подтверждения|из смс)|(потребує|потрібн(о|а|е)) .{0,60}(підтвердження|схвалення)|需要.{0,40}(审批|批准|签字|人工确认)|等待.{0,20}(审批|批准)|验证码|(承認|同意|署名)(が|を)(必要|要し|待|得)|(ワンタイム|認証|確認)コード|二段階認証|(승인|동의|서명)(이|가)? ?(필요|대기|요청)|인증 ?(번호|코드)|wymaga .{0,40}(zatwierdzenia|zgody|autoryzacji|podpisu)|kod (weryfikacyjny|jednorazowy)|(goedkeuring|toestemming|handtekening) (van|nodig|vereist)|verificatiecode|kräver .{0,40}godkännande|(onay|onayı|imza) (gerek|bekl)|doğrulama kodu"),
    (Human, r"二要素認証|双重认证|双因素|两步验证|需要审批|等待审批|需要人工|承認が必要|承認待ち|freigabe erforderlich|genehmigung erforderlich|zustimmung erforderlich|approbation requise|validation manuelle|aprobación (requerida|pendiente)|requiere aprobación|se requiere (la )?aprobación|двухфакторн|требуется (подтверждение|одобрение)"),

    (Human, r"not a robot\b|\bask (the|your) (user|customer|account owner) to\b|\bcode (was |has been |is being )?(sent|texted|e-?mailed) to\b|\bsent (you )?(an? |the )?[\w-]+ code to\b|\benter (the |this )?code [a-z0-9]{3,6}-[a-z0-9]{3,6}\b|\bsomeone\b[^.]{0,40}\b(has|needs|have) to (approve|sign|confirm|authori[sz]e)\b"),
    (Human, r"waiting for (the |an? |your )?signature"),
    (Human, r"\b(an?|the) ([\w-]+ ){1,2}(must|needs? to|has to|have to) (\w+ )?(approve|authori[sz]e|sign|consent)\b"),
    (Human, r"\b(signature|signing) (is )?(required|needed|missing|pending)\b|\bsigned by the (customer|owner|user|client|tenant|patient)|\b(held|queued|sent|waiting|submitted|pending) for (manual|human|compliance|legal|risk)\b|^manual review$|^(auth|login|sign ?in|consent|kyc|2fa|otp|3ds)( challenge)? (required|pending|needed)$"),
    (Human, r"\blogin/device\b|microsoft\.com/devicelogin|(use|open|in) (a|your) (web )?browser\b.{0,80}\b(code|page|url|authenticate|sign in|log in)|open this url (to|in)\b.{0,60}\b(continue|sign in|log in|authenticate|authori[sz]e)|\b(account|resource|card) ?(holder|owner) (must|has to|have to|needs? to)\b|in your (banking|authenticator|mobile) app\b"),

    // ---- quota, credit, budget, context --------------------------------------------
    (Cost, r"\b(your|this|the|current) (plan|tier|subscription) (does(n't| not) (include|support|allow|cover)|allows? only)\b|\b(monthly|daily|weekly|yearly|included)\b[\w ]{0,40}\b(used up|exhausted|consumed)\b"),
    (Cost, r"\bquotas?\b.{0,80}\b(exceed\w*|exhaust\w*|reached|used up|insufficient|limit|hit|depleted|full)|\b(exceed\w*|exhaust\w*|insufficient|out of|over|reached|hit|no remaining|depleted|not enough)\b.{0,60}\bquotas?\b"),
    (Cost, r"\bcredits?\b.{0,50}\b(too low|exhaust\w*|exceed\w*|insufficient|depleted|run out|used up|remaining: 0|limit)|\b(insufficient|not enough|out of|no|low|more|purchase|buy|add|requires?|run out of|ran out of|exceed\w*|remaining|used all|used up)\b.{0,40}\bcredits?\b|\bcredit (balance|limit)|\b(insufficient|low|not enough|inadequate|negative) (account )?(balance|funds)|\bbalance\b.{0,30}\b(too low|insufficient|not enough|is 0|exhausted|negative|depleted)"),
    (Cost, r"\bbilling (account|details?|hard limit|soft limit|limits?|issue|is(n't| not)?|not|has|must|cycle|plan|period|settings|page|status|problem)\b|\b(enable|activate|set up|check your|update your|no|past due|overdue|disabled|without|missing|invalid)\b.{0,30}\bbilling\b|payment (is )?(required|method|overdue|past due|failed|declined|needed)|unpaid (invoice|balance)|invoice .{0,20}(overdue|unpaid)|(account|subscription|plan|trial|free tier|free trial).{0,40}\b(in arrears|overdue|past due|lapsed|has ended|ran out|run out)"),
    (Cost, r"\bbudgets?\b.{0,60}\b(exceed\w*|exhaust\w*|reached|used up|spent|limit|over|hit|depleted|insufficient)|\b(exceed\w*|exhaust\w*|over|out of|reached|hit|insufficient|not enough)\b.{0,40}\bbudgets?\b|\bspend(ing)?[ -](limits?|caps?|quota)|\bspend\b.{0,20}\b(limit|cap)\b|max(imum)? (spend|cost|budget)|\btrial\b.{0,30}\b(expired|ended|is over|has run out)|\bupgrade to (continue|unlock|get more|increase)"),
    (Cost, r"\b\d+[- ]?hour limit|\bsession limit|\b(hit|reached|exceeded) your (\w+ )?limit|\busage (limits?|caps?|quotas?|allowance|credits?)\b|\b(daily|monthly|weekly|yearly|annual|hourly)\b.{0,40}\b(limits?|cap|allowance|maximum|quota|allocation|requests?)\b.{0,50}\b(exceed\w*|reached|exhaust\w*|hit|used|met|over|resets?)|\b(exceed\w*|reached|exhaust\w*|hit|used)\b.{0,60}\b(daily|monthly|weekly|yearly|annual)\b|\b(limit|requests?|tokens?|calls?|messages?|downloads|emails?|queries)\b.{0,40}\b(per|a|each) (day|week|month|year)\b|\b(requests?|tokens)[ _]per[ _](day|month|week)|\((R|T)PD\)|limit (reached )?for (today|this (month|day|week|billing))"),
    (Cost, r"\b(upgrade|change|increase)\b.{0,25}\b(your |the |to )?(a |an )?(\w+ )?(plan|tier|subscription|limits?|quota|capacity plan)\b|\b(free|trial|basic|starter|hobby|developer|current) (plan|tier|account)\b.{0,60}\b(limit\w*|exceed\w*|allow\w*|reached|maximum|only|exhaust\w*|max)|plan('s)? (limit|allowance|includes only|allows)"),
    (Cost, r"\bcontext[ _-]?(length|window|size|limit)\b|maximum context|\b(prompt|input|conversation|request|messages?|payload)\b.{0,40}\b(too long|too large|exceeds?)\b.{0,80}\btokens?\b|\b(too many|exceed\w*|maximum|max)\b.{0,50}\b(input |prompt |total |output )?tokens\b|\btokens?\b.{0,50}\b(exceed\w*|maximum allowed|limit (of|is|reached)|> \d)|\bprompt is too long|\btokens? .{0,80}must be (<=|<|less than|at most)|reduce (the |your )?(length|number of tokens|prompt|input|message)|input (is )?too long( for)?|n_ctx.{0,30}(exceed|overflow)|context overflow|(request|payload) too large for model|requested \d+ tokens|token (count|limit) .{0,40}(exceed|over)"),
    (Cost, r"\b(service|account|resource|vcpu|instance|storage|concurrent|subscription|project|seat|licen[sc]e)s? (quota|limit) .{0,40}(exceed\w*|reached)|limit exceeded for (resource|account)|\b(maximum|max) number of .{0,40}(reached|exceeded|allowed)|(reached|exceeded) (the |your )?(maximum|max|limit) (number|amount|of) |no more (seats|licen[sc]es)"),
    (Cost, r"余额不足|额度(已|不足|用尽)|配额(已|不足|超)|欠费|超出.{0,6}(配额|额度|上下文)|クォータ.{0,10}超|残高不足|利用枠|kontingent (ist )?(erschöpft|überschritten|aufgebraucht)|guthaben (ist )?(aufgebraucht|zu niedrig|nicht)|quota (est )?(dépassé|épuisé)|crédits? (insuffisants?|épuisés?)|solde insuffisant|cuota (excedida|superada|agotada)|saldo insuficiente|créditos? (insuficientes?|agotados?)|cota (excedida|esgotada)|квота (исчерпана|превышена)|недостаточно средств|превышен(а)? (квота|лимит)"),

    // ---- rates ----------------------------------------------------------------------
    (Rate, r"\brate[ -]?limit\w*|\btoo many \w+ already (issued|created|requested|sent)|resource is limited|\btoo many (requests|calls|attempts|messages|concurrent|api|queries|logins?)\b|\bthrottl(ed|ing|e)\b|\bslow down\b|\brequest rate|\brate exceeded|enhance your calm|abuse detection|secondary rate|\b(requests|tokens|calls|queries) per (second|minute|hour)\b|\b(RPM|TPM|QPS)\b|pull rate|flood[_ ]?wait|sending too (fast|quickly|many)|too (fast|frequent)\w*|请求(过于|太)频繁|限流|频率(限制|超)|速率限制|レート(制限|リミット)|リクエストが多すぎ|zu viele anfragen|trop de requêtes|demasiadas (solicitudes|peticiones)|muitas (solicitações|requisições)|слишком много запросов|너무 많은 요청|요청이 너무 많"),

    // ---- wrong until somebody changes something ----------------------------------------
    (Persistent, r"\bunauthori[sz]ed\b|\bnot authori[sz]ed\b|\bunauthenticated\b|\bforbidden\b|\baccess (is |was |has been )?denied\b|\baccess to .{1,60} (is|was) denied|^denied:|\bpermission(s)? (was |is |are )?denied\b|\boperation not permitted\b|\bpermission denied\b|\bnot permitted to\b|\bnot allowed to (access|perform|pull|push|use|call|read|write|delete)|\bno permission\b|(do|does|did) ?n.t have (the )?(required |necessary |sufficient )?(permission|access|privilege|rights)|(insufficient|missing|lacks?|without|required) (the )?(\w+ )?(permission|privilege|scope|access rights|authentication scope)s?\b|requires? .{0,20}(permission|privileges?|root|superuser|administrator rights)|must be (root|superuser|owner of)|are you root|not have access to"),
    (Persistent, r"\bauthenti(cation|fication) (failed|failure|required|error|is required|token|credentials)|\bauthori[sz]ation (failed|failure|required|error|header)|\bcould not authenticate|\bfailed to authenticate|\bunable to (authenticate|log ?in)|\blog ?in (failed|denied|required|incorrect|is required)|\bnot logged in|\bplease (re-?)?(log|sign) ?in|\bmust (be logged|log) in|\b(run|using|with|try) .{0,40}\b(auth login|sso login|az login|docker login|npm login|login command)|could not read (username|password)|no token found|\brun .{0,30}[\w-]+ (auth )?login\b|terminal prompts disabled|a password is required|terminal is required to (read|authenticate)|no (valid |aws |default |application default )*credential(s| sources?)|credentials? (were |was |are |is |have |has |could |can)?(not |been )?(be )?(found|expired|invalid|missing|located|incorrect|revoked|loaded|rejected|provided|set)|unable to locate credentials|reauthentication (is )?(required|failed|needed)|bad credentials|wrong (password|credentials|username)|(incorrect|invalid|bad) (user ?name|password|credentials?|login|signature|client secret|authorization)|password authentication failed"),
    (Persistent, r"\b(invalid|incorrect|bad|missing|expired|revoked|unknown|wrong|malformed|no|disabled|inactive|provide an?|valid)\b.{0,20}\b(api|access|auth|authentication|authorization|bearer|security|session|refresh|id|oauth|subscription|secret|licen[sc]e|personal access|jwt|csrf|deploy)[ _-]?(key|token|code|credential|cookie)s?\b|\b(api|access|auth|security|session|refresh|bearer|subscription|secret|oauth)[ _-]?(key|token)s?\b.{0,60}\b(invalid|incorrect|not (valid|found|provided|set|recogni[sz]ed|active|authori[sz]ed)|expired|revoked|missing|disabled|rejected|wrong|malformed|deactivated|suspended|required)|\b(token|session|credentials?|jwt|licen[sc]e|subscription|certificate|cert|password|signature|api key|key)s?\b.{0,30}\b(has |have |is |was |were |had )?(already |been )*(expired|revoked)\b|\btoken\b.{0,40}\bis (invalid|not valid|incorrect)|\bexpired (token|session|credential|jwt|certificate|password|key|licen[sc]e|signature|cookie)|\bsignature (does not match|verification failed|mismatch|is invalid)|\binvalid token\b|\btoken is (invalid|not valid)|log ?in again|session (has )?timed out, please log|account (has been |is |was )?(temporarily )?locked|\b\w*(api_?key|_token|_secret|_password)\b.{0,40}\b(not set|missing|required|must be set|is empty|environment variable|undefined)"),
    (Persistent, r"\bcertificate\b.{0,60}\b(verif\w+ fail\w*|verify failed|problem|expired|not trusted|untrusted|unknown|invalid|revoked|self.signed|not valid|has expired|mismatch|is not yet valid|doesn't match|chain)|(cannot|could not|can't|unable to|failed to) (verify|validate) .{0,60}(certificate|chain|issuer|peer|signature|identity)|\bself[- ]signed (certificate)?|\bunable to get (local )?issuer|x509:|pkix path|\bssl (certificate|peer)|no alternative certificate|subject name .{0,40}does not match|hostname .{0,60}(doesn't|does not) match|\btls\b.{0,40}\b(untrusted|not trusted|verification failed|certificate)|server certificate verification failed|pinned public key|证书|zertifikat|certificat (de sécurité|expiré|non)|証明書|сертификат"),
    (Persistent, r"\bno space left\b|\bdisk (is )?full\b|\b(device|volume|filesystem|file system|storage|tablespace|table|partition|log) is full\b|not enough (free )?(disk )?space|insufficient (disk|storage|free) space|disk space|out of (disk|storage|inodes)|could not extend file|space exceeded|unable to extend|storage (full|exhausted)|\bread-?only (file ?system|database|replica|mode|transaction|transactions|table|index|store|volume|user|connection|snapshot|media)|is (currently )?(in )?read-?only\b|--read-only option|read-only transaction|(cannot|can't) write against a read only|archived so (it )?is read-only|readonly database"),
    (Persistent, r"\bcorrupt(ed|ion)?\b|\bmalformed (database|disk image)|database disk image is malformed|file is not a database|checksum (mismatch|error|failed|does not match|verification failed)|bad (magic|superblock)|(input/output|i/o) error|structure needs cleaning|invalid page in block|loose object .{0,60}is|bad sha1|hash(es)? mismatch|do not match the hashes|is not signed|signatures? (were|was|is|are|could ?n.t be) (invalid|verified)|integrity (check )?failed|sha512.{0,40}integrity|stale (nfs )?file handle|hashes (are required|do not match)|misconf redis|superblock"),
    (Persistent, r"\b(has|have|was|were|is|are) (been |now |permanently )*(deprecated|decommissioned|retired|discontinued|sunset|end[- ]of[- ]life|shut ?down permanently|removed from service|disabled|suspended|deactivated|banned|blacklisted|archived)\b|\bno longer (available|exists?|supported|active|offered|maintained|accessible|valid|in service)|\bpermanently (removed|deleted|unavailable|moved|gone|closed|shut)|\b(account|user|organization|workspace|project|tenant|key|app|application|service|instance|ip|server)\b.{0,30}\b(suspended|disabled|deactivated|locked out|is locked|closed|banned|blocked|deleted|terminated)\b|\b410 gone\b|end[- ]of[- ]life"),
    (Persistent, r"\bmodel\b.{0,80}\b(not found|does ?n.t exist|not exist|not available|is not supported|unavailable in|decommissioned|not a valid model|is unknown|isn't available|not deployed|no longer)|\b(no such|unknown|invalid|unsupported|nonexistent) model\b|\bdeployment\b.{0,40}\b(for this resource )?does not exist|not a valid model|invalid model (id|identifier|name)|model identifier is invalid|no endpoints found|try pulling it first|模型不存在|没有找到模型"),
    (Persistent, r"blocked by (policy|proxy|firewall|administrator|network|egress|waf|security)|denied by (policy|an? |admin|organization|egress|proxy|firewall|network|server policy|security)|(egress|outbound|network) (is |access )?(blocked|denied|disabled|not allowed|restricted)|not in (the )?(allow|white)-?list|not (enabled|activated|available) (for|in|on) (your|this|the) (account|organization|project|region|country|plan|workspace|tenant)|country, region, or territory not supported|not available in your (country|region)|has not been used in project|it is disabled\. enable|\bis not enabled for|not entitled|(no|without) (a |an )?(valid |active )?(licen[sc]e|entitlement|subscription) "),
    (Persistent, r"permission non accordée|keine berechtigung|zugriff verweigert|permiso denegado|acceso denegado|permissão negada|acesso negado|permesso negato|accesso negato|accès refusé|許可がありません|アクセス(が)?拒否|権限がありません|权限不够|权限不足|拒绝访问|没有权限|未授权|认证失败|отказано в доступе|доступ запрещ|authentification (échouée|requise|a échoué)|authentifizierung.{0,60}fehlgeschlagen|nicht autorisiert|non autorisé|no autorizado|não autorizado|非(法|授权)访问|令牌(已)?(过期|失效|无效)|认证(失败|错误)|密钥(无效|错误)|認証(に)?(失敗|エラー)|권한이 (없|거부)|인증(에)? (실패|오류)"),
    (Persistent, r"credenciales (inválidas|incorrectas|no válidas|caducadas)|sesión (caducada|expirada)|contraseña (incorrecta|inválida)|aut(enticación|entificación) .{0,24}falló|identifiants? (invalides?|incorrects?|erronés?)|session expirée|mot de passe (incorrect|invalide|erroné)|(anmelde|zugangs)daten .{0,24}(falsch|ungültig|abgelaufen)|(sitzung|token|schlüssel) .{0,20}(abgelaufen|ungültig)|(jeton|token) .{0,12}(expiré|invalide|caducado|inválido|scaduto|non valido|expirado)|credenciais inválidas|sessão expirada|senha incorreta|credenziali (non valide|errate|scadute)|sessione scaduta|неверн(ый|ые|ая) (пароль|логин|уч(е|ё)тные|имя)|(сессия|токен|срок действия) .{0,30}(истек|недействит)|(登录|会话|凭证|密码)(已)?(过期|失效|错误)|(セッション|トークン|パスワード).{0,12}(期限切れ|無効|違い)|location is not supported|not supported in (your|this) (country|region|location)|requires more (system |gpu |available )?memory .{0,40}available"),
    (Persistent, r"aucun espace (disponible|libre)|kein speicherplatz|no queda espacio|não há espaço|spazio esaurito|デバイスに空き領域がありません|设备上没有空间|磁盘(空间不足|已满)|не осталось свободного места|장치에 남은 공간|système de fichiers (accessible )?en lecture seule|dateisystem ist nur lesbar|sistema de (archivos|ficheros) (es |de )?(de )?s(o|ó)lo lectura|読み込み専用ファイルシステム|只读文件系统|файловая система доступна только для чтения"),

    // ---- wrong input, where it must stop a transient word -------------------------------
    (Semantic, r"\b(invalid|illegal|unknown|unrecogni[sz]ed|unsupported|unexpected|missing|malformed|bad|undefined|required|wrong|no such|conflicting|duplicate)\b.{0,30}\b(options?|arguments?|parameters?|params?|values?|flags?|fields?|property|properties|settings?|switch|command|subcommand|syntax|types?|columns?|attributes?|variables?|identifiers?|directive|keyword|symbol|format|configuration|config key|input|name|number|integer|entry|selector|expression|escape)\b"),
    (Semantic, r"\bno such (file|table|column|directory|option|command|object|container|image|service|network|volume|user|branch|process|key|remote|element|function|method|module|package|resource|index|collection|database)|\b(file|command|module|package|key|pod|branch|path|directory|object|user|record|row|page|ticket|issue|element|symbol|function|image|container|repository|table|column|database|role|schema|relation|queue|topic|bucket|service|unit|endpoint|branch) .{0,60}(not found|does not exist|doesn't exist)|\bcannot find (module|package|symbol|name|the (file|path|module))|\bnot a git repository|did not match any|\bunknown (revision|column|table|database)|\bunable to locate (package|element)|file exists\b|is a directory\b|not a directory\b|directory not empty|\bcommand not found|already exists\b|\balready (taken|registered|in use|been taken|exist)"),
    (Semantic, r"\bsyntax ?error|\bparse ?error|unexpected (token|end of (input|json)|character|indent|eof while parsing)|\b(unique|foreign key|check|not[- ]null|primary key)\b.{0,20}\bconstraint|\bconstraint (failed|violation|violates)|violates .{0,40}constraint|duplicate (key|entry)|\bassert(ion)?(error)?\b.{0,20}(fail|:)|\bassertion\b|\bexpected\b.{0,80}\b(but|got|received|found|to (be|equal|have|contain|match)|actual)\b|\bmust be (a |an |one of|at least|at most|between|less|greater|positive|non|in |set|specified|provided|string|integer|unique)|\bshould be (a |an |one of|at least|between)|\bis not (a valid|valid|defined|callable|a function|iterable|a number|allowed here|one of)|\bcannot (parse|unmarshal|deserialize|convert|coerce|read propert|be (blank|null|empty|negative|parsed))|\bundefined (reference|variable|method|is not)|\bnull pointer|\btype ?error:|\bvalue ?error:|\bkey ?error:|list index out of range|division by zero|segmentation fault|stack overflow|panicked at|failed to (parse|compile|decode|deserialize|validate)|could not (parse|compile|decode)|\bvalidation (failed|errors?)|\bmerge conflict|^conflict \(|automatic merge failed|non-fast-forward|fetch first|\bstale (info|version)|has been modified|version (mismatch|conflict)|etag|failed to push some refs|tests? failed|failing tests?|^\s*\d+ failed(,| in |$)|build failed|compilation (error|failed|terminated)|strict mode violation|waiting for (locator|selector|element|getby)"),
    (Semantic, r"unsupported (protocol|scheme|url)|(protocol|scheme) .{0,30}not supported|too many redirects|exceeded \d+ redirects|redirect (loop|count exceeded)|maximum (number of )?redirects"),
    (Semantic, r"out of memory|cannot allocate memory|memory (limit|exhausted|allocation)|heap (space|limit|out of)|bad_alloc|oom[- _]?kill|memoryerror"),

    // ---- locks ---------------------------------------------------------------------------
    (Lock, r"\b(database|table|file|row|resource|record|document|state|stack|repository|index|queue|job|object|schema|workspace|folder|page|account balance|branch) (\S+ )?is (currently |already |still |temporarily |being )?(locked|in use by another|busy|being (used|modified|updated|edited|processed|deleted|created))\b|\bdeadlock\b|\block (wait )?time-?out|\block(ed)? (is )?(held|by another|already)|(could not|cannot|can't|unable to|failed to|error|couldn't) (get|acquir\w+|obtain|take|grab|create)\b.{0,30}\block\b|waiting for .{0,40}\block\b|\block (on|for) .{0,60}(held|not available|by)|acquiring (the )?(state )?lock|unable to lock|\blocked by (another|other|a different|process|pid|user)|lock could not be acquired|restarting transaction|restart transaction|try restarting|serialize access|serialization (failure|error)|concurrent (update|modification|transaction|write|operation|request|access)|write conflict|transaction (conflict|was deadlocked|aborted due)"),
    (Lock, r"\b(another|other|concurrent|previous|prior|different|existing) (\S+ ){0,3}(process|operation|request|instance|update|command|transaction|deployment|build|run|job|user|app|session|rebuild|install\w*|upgrade|session|import|sync|call)\b.{0,60}\b(in progress|running|under way|underway|pending|holding|using|active|ongoing|has locked|is using|being processed|still|seems to be running|not (yet )?(finished|completed))|\b(operation|request|update|deployment|transaction|build|migration|upgrade|install\w*|create|delete|change|payment|checkout)\b.{0,50}\b(is |are |was |still |already |currently )*(already )?in progress|already (being processed|in progress|processing)|still (being )?(processed|processing|in progress|creating|updating|deleting)|currently (being )?(processed|processing|in progress|updated|modified|running)|text file busy|device or resource busy|resource (is )?busy|being used by another process|used by another process|(device|resource|file|target|port|database|server) (is )?busy\b|sharing violation|conflicting operation|\b(is|are) (still |already |currently )?being (processed|modified|updated|created|deleted|provisioned|edited)\b|request is outstanding"),
    (Lock, r"base de données (est )?verrouillée|datenbank ist gesperrt|base de datos (está )?bloqueada|数据库(被|已)锁|データベースがロック|база данных заблокирована|死锁|死鎖|デッドロック"),

    // ---- passes by itself --------------------------------------------------------------------
    (Transient, r"^internal (server |system |service )?error\.?$"),
    (Transient, r"\btimed[ -]?out\b|\btime-?out\b|\btimeout\b|\btimeouts?:|deadline (was |has been )?exceeded|took too long|i/o timeout|exceeded (the )?(maximum |max |allowed )?(execution |request |response |wait(ing)? |query )?time\b|no response (from|within|received)|not respond(ing)?\b|did ?n.t respond|failed to respond|unresponsive"),
    (Transient, r"\bconn(ection|exion)?s?\b.{0,40}\b(was |were |has been |been |is |got )?(forcibly )?(reset|refused|closed|aborted|lost|terminated|dropped|broken|interrupted|severed|failed|timed|shut ?down|cut|ended|unexpectedly|gone)\b|\b(reset|refused|aborted|lost|closed|broken|dropped) (the )?connection\b|\blost connection\b|\bbroken pipe|\bsocket (hang ?up|closed|error|disconnected|is closed)|hang ?up\b|hung up|\b(couldn.t|could not|cannot|can't|failed to|unable to) (connect|reach|establish|contact|open (a |tcp )?connection)\b|execution expired|\bconnect(ion)? (error|failure|failed|reset)|connect:.{0,20}refused|actively refused|reset by peer|peer (reset|closed)|remote (end|host|side|peer) (closed|hung|terminated|disconnected|reset)|end closed|server (closed|dropped|has gone away|disconnected|hung|unreachable|is unreachable|is down)|gone away|stream (was |ended |closed |reset|error|disconnected|interrupted|not closed)|goaway|\bno healthy upstream|upstream (connect|request|server|error|timed|prematurely|timeout)|disconnect(ed)? (before|unexpectedly|while)|terminated (early|abnormally)"),
    (Transient, r"(could not|couldn.t|cannot|can't|unable to|failed to|failure|temporary failure) (in )?(resolv\w+ (the |proxy |remote )?(host\w*|address|domain|server|proxy|dns|url|[\w-]+\.[\w.-]+)|name resolution|(dns )?lookup|look up (host|address|[\w-]+\.[\w.-]+))|name resolution|name or service not known|\bno such host|getaddrinfo|nodename nor servname|host(name)? (could not be|not) (found|resolved)|unknown host|dns (lookup|error|failure|resolution|server|query|timeout)|servfail|unresolved host|no address associated|(host|network) is (unreachable|down)|no route to host|appears to be offline|no internet|daemon is not running|(host|network|destination) unreachable|network (error|is unreachable|failure|connectivity|problem|issue|connection|glitch|interrupt)"),
    (Transient, r"temporar(ily|y) (un)?(available|failure|error|failed|problem|outage|issue|overloaded|offline|down|unable|disabled|rejected|deferred|closed|not)|\bservice (is )?(temporarily |currently )?(unavailable|not available|busy|overloaded|down)|\bunavailable\b.{0,30}\b(try|later|moment|retry)|(try|retry|come back|attempt) (again )?(later|shortly|soon|in a (few|moment|while|minute|bit)|after some time|in \d)|please (re-?try|try again)|\boverload(ed)?\b|over(loaded)? capacity|at capacity|high (demand|load|traffic)|(server|system|backend) (is )?(too )?(busy|overloaded)|under (maintenance|heavy load)|bad gateway|gateway time-?out|internal server error|service unavailable|(is |still |currently )(loading|starting( up)?|warming up|initiali[sz]ing|booting|recovering)|starting up|not (yet )?ready\b|shutting down|being (restarted|rescheduled)|(leader|primary|master) (election|is not available|not available|changed|stepped down)|no (leader|primary|master|shard)\b|failover in progress"),
    (Transient, r"too many (connections|clients|open connections|sessions)|connection (pool|slots?)|pool (is )?(exhausted|timed|timeout|full)|remaining connection slots|max(imum)? number of (clients|connections)|resource temporarily unavailable|unexpected eof|early eof|eof (occurred|error)|premature(ly)? (close|end|eof|closed)|unexpected(ly)? (end of (stream|file on)|closed|disconnect)|incomplete (read|response|message|chunked)|transfer closed|empty reply|partial file|curl (5[256]|18|92|28|7|6)\b|rpc failed|ssl_error_syscall|tls handshake (timeout|eof)|handshake (timed|failed: eof|failure: eof)|interrupted system call|spot instance|preempted|evicted|worker (died|lost|was terminated)|request (was )?(aborted|cancell?ed by)|no capacity|insufficient capacity|canceling statement due|\]\s+killed$|^killed$"),
    (Transient, r"connexion (refusée|ré-?initialisée|terminée|interrompue|perdue|fermée)|délai (d'attente )?(dépassé|expiré|écoulé)|délai d'attente|verbindungsaufbau abgelehnt|verbindung (wurde |vom )?.{0,30}(abgelehnt|verweigert|zurückgesetzt|unterbrochen|getrennt|abgebrochen)|wartezeit.{0,30}abgelaufen|zeitüberschreitung|conexión (rehusada|rechazada|reinicializada|restablecida|perdida|cerrada)|tiempo de (espera|conexión).{0,30}(agotado|superado|expir)|expiró el tiempo|conexão (recusada|fechada|perdida|redefinida)|tempo (limite|esgotado|de espera)|connessione (rifiutata|scaduta|interrotta|reimpostata)|tempo scaduto|接続(を|が|は).{0,12}(拒否|切断|リセット|タイムアウト)|タイムアウト|连接(被)?(拒绝|重置|超时|中断|失败|已断开)|拒绝连接|对方重置|超时|连接失败|соединение (разорвано|закрыто|сброшено|прервано)|в соединении отказано|(время|превышен(о|а)?) .{0,20}(ожидания|истекло|таймаут)|연결(이)? (거부|재설정|시간|끊)|시간 ?초과"),
    (Transient, r"nom ou service inconnu|name oder (der )?dienst ist nicht bekannt|nombre o servicio desconocido|nome ou serviço desconhecido|nome o servizio sconosciuto|名前またはサービスが不明|未知的名称或服务|无法解析|имя или служба не известны|temporairement (indisponible|injoignable)|vorübergehend nicht (verfügbar|erreichbar)|temporalmente no disponible|no disponible temporalmente|temporariamente indisponível|temporaneamente non disponibile|暂时不可用|服务不可用|服务器繁忙|系统繁忙|稍后(再|重)试|一時的に利用|しばらく.{0,10}(再|お待ち)|временно недоступ|일시적으로 사용할 수 없|red es inaccesible|réseau n'est pas accessible|das netzwerk ist nicht erreichbar|网络不可达"),
];

/// Returns what the codes named in a line of text say, gravest first.
///
/// Codes are told by their shape; see [`codes::lookup_token`]. Numbers are read where the
/// system that gives them a meaning is named in the line.
pub(super) fn codes_in(line: &str) -> Option<(codes::Reading, String)> {
    static TOKEN: LazyLock<Regex> = LazyLock::new(|| regex(r"[A-Za-z][A-Za-z0-9_]{2,79}"));
    if let Some(found) = redis(line)
        .or_else(|| grpc_name(line))
        .or_else(|| cluster_block(line))
    {
        return Some(found);
    }
    let named = TOKEN.find_iter(line).take(200).filter_map(|token| {
        codes::lookup_token(token.as_str()).map(|reading| (reading, token.as_str().to_owned()))
    });
    named
        .chain(numbers_in(line))
        .min_by_key(|((meaning, weight), _)| (*weight, *meaning))
}

/// Redis puts its code in front of the message, in capitals.
fn redis(line: &str) -> Option<(codes::Reading, String)> {
    static PREFIX: LazyLock<Regex> = LazyLock::new(|| {
        regex(
            r"^(?:\(error\) |-|.{0,60}ReplyError: |ResponseError: )?(NOAUTH|WRONGPASS|NOPERM|READONLY|MISCONF|LOADING|BUSY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|NOREPLICAS|OOM|WRONGTYPE|EXECABORT|NOSCRIPT|BUSYGROUP|CROSSSLOT) \S",
        )
    });
    let code = &PREFIX.captures(line)?[1];
    let reading = match code {
        "BUSY" => Some((Lock, Weight::Exact)),
        "OOM" => Some((Persistent, Weight::Exact)),
        _ => codes::lookup(code),
    };
    reading.map(|reading| (reading, code.to_owned()))
}

/// gRPC clients print the status by its name: `code = Aborted desc = …`, `StatusCode.UNAVAILABLE`.
fn grpc_name(line: &str) -> Option<(codes::Reading, String)> {
    static NAMED: LazyLock<Regex> =
        LazyLock::new(|| regex(r"(?:\brpc error: code = |\bStatusCode\.)([A-Za-z_]{5,24})\b"));
    let name = &NAMED.captures(line)?[1];
    codes::lookup(name).map(|reading| (reading, name.to_owned()))
}

/// Elasticsearch names a block by its number; the status beside it would be a rate.
fn cluster_block(line: &str) -> Option<(codes::Reading, String)> {
    static BLOCK: LazyLock<Regex> = LazyLock::new(|| regex(r"\bblocked by: \[[A-Z_]+/(\d{1,2})/"));
    let found = BLOCK.captures(line)?;
    let reading = codes::elastic_block(found[1].parse().ok()?)?;
    Some((reading, found[0].to_owned()))
}

type Numbered = (&'static str, fn(i64) -> Option<codes::Reading>);

/// Patterns whose first group is a number of the system beside it.
const NUMBERED: [Numbered; 7] = [
    (r"\bORA-0*(\d{1,5})\b", codes::oracle),
    (r"\bERROR (\d{4}) \([0-9A-Z]{5}\)", codes::mysql),
    (r"\bMsg (\d{2,5}), Level\b", codes::sql_server),
    (
        r"\bMongo\w*Error\w*\b[^\n]{0,80}?\bcode:? (\d+)|\bE(11000) duplicate",
        codes::mongo,
    ),
    (r"\bcurl:? \((\d{1,2})\)", codes::curl_exit),
    (r"\bcode = (\d{1,2}) desc\b", codes::grpc),
    (
        r"\(pymysql[^\n]{0,60}?\((\d{4}),|\bMySQL[^\n]{0,40}?\((\d{4})\b",
        codes::mysql,
    ),
];

fn numbers_in(line: &str) -> Vec<(codes::Reading, String)> {
    static PATTERNS: LazyLock<Vec<Regex>> =
        LazyLock::new(|| NUMBERED.iter().map(|(pattern, _)| regex(pattern)).collect());
    static STATE: LazyLock<Regex> = LazyLock::new(|| {
        regex(
            r"\bSQLSTATE[\s:=(\[]{0,3}([0-9A-Z]{5})\b|:  ([0-9A-Z]{5}): |\bERROR:?\s+([0-9A-Z]{5})(?::| \()|\bERROR \d{4} \(([0-9A-Z]{5})\)",
        )
    });
    let mut found = Vec::new();
    for ((_, read), pattern) in NUMBERED.iter().zip(PATTERNS.iter()) {
        let Some(captures) = pattern.captures(line) else {
            continue;
        };
        let digits = captures.iter().skip(1).flatten().next();
        let number = digits.and_then(|m| m.as_str().parse().ok());
        if let Some(reading) = number.and_then(read) {
            found.push((reading, captures[0].to_owned()));
        }
    }
    if let Some(captures) = STATE.captures(line) {
        let state = captures
            .iter()
            .skip(1)
            .flatten()
            .next()
            .map_or("", |m| m.as_str());
        if let Some(reading) = codes::sqlstate(state) {
            found.push((reading, format!("SQLSTATE {state}")));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phrase_table() {
        #[rustfmt::skip]
        let rows = [
            ("refused", "curl: (7) Failed to connect to 127.0.0.1 port 9: Connection refused", Some(Transient)),
            ("a file name is no statement", "cat: connection-refused.log: No such file or directory", Some(Semantic)),
            ("an option about time is input", "error: unexpected argument '--timeout' found", Some(Semantic)),
            ("a value of an option about time is input", "timeout must be a positive integer", Some(Semantic)),
            ("git's lock file", "fatal: Unable to create '/r/.git/index.lock': File exists.", Some(Lock)),
            ("a deadlock in a duplicate's value", "ERROR: duplicate key value violates unique constraint: (deadlock detected)", Some(Semantic)),
            ("approval outranks a denial", "Access denied: this change requires approval from the owner", Some(Human)),
            ("a quota per minute is a rate", "Quota exceeded for quota metric 'Read requests' and limit 'Read requests per minute per user'", Some(Rate)),
            ("a quota per day is not", "Quota exceeded: requests per day", Some(Cost)),
            ("a disk quota is a full disk", "write failed: Disk quota exceeded", Some(Persistent)),
            ("context too long", "This model's maximum context length is 8192 tokens", Some(Cost)),
            ("a deadline is no context", "context deadline exceeded", Some(Transient)),
            ("German shell", "bash: verbindung: Verbindungsaufbau abgelehnt", Some(Transient)),
            ("Chinese shell", "权限不够", Some(Persistent)),
            ("nothing known", "something went sideways", None),
        ];
        for (name, line, want) in rows {
            assert_eq!(read(line), want, "row: {name}");
        }
    }

    #[test]
    fn phrases_are_in_lower_case_where_only_lines_are_lowered() {
        let is_upper = |letter: char| !letter.is_ascii() && letter.is_uppercase();
        let upper = |(_, phrase): &&(Meaning, &str)| phrase.chars().any(is_upper);
        let wrong: Vec<_> = PHRASES.iter().chain(RAW_PHRASES).filter(upper).collect();
        assert!(wrong.is_empty(), "never found: {wrong:?}");
    }

    #[test]
    fn status_table() {
        #[rustfmt::skip]
        let rows = [
            ("curl", "curl: (22) The requested URL returned error: 429", Some(429)),
            ("wget", "2024-01-01 ERROR 404: Not Found.", Some(404)),
            ("gh", "gh: Not Found (HTTP 404)", Some(404)),
            ("openai", "Error code: 429 - {'error': ...}", Some(429)),
            ("axios", "Request failed with status code 503", Some(503)),
            ("a reason phrase", "503 Service Unavailable", Some(503)),
            ("requests", "404 Client Error: Not Found for url", Some(404)),
            ("a count is no status", "processed 404 rows, 500 left", None),
            ("a line number is no status", "error at line 500", None),
        ];
        for (name, line, want) in rows {
            assert_eq!(status_in(line), want, "row: {name}");
        }
    }

    #[test]
    fn smtp_table() {
        assert_eq!(
            smtp("450 4.2.0 Greylisted, try again later"),
            Some(Transient)
        );
        assert_eq!(smtp("550 5.1.1 User unknown"), Some(Semantic));
        assert_eq!(
            smtp("535 5.7.8 Username and Password not accepted"),
            Some(Persistent)
        );
        assert_eq!(smtp("version 4.2.0 of 450 files"), None);
    }

    #[test]
    fn limits_table() {
        assert_eq!(
            requested_over_limit("Limit 30000, Requested 41000."),
            Some((30_000, 41_000))
        );
        assert_eq!(
            requested_over_limit("Limit 30000, Used 29000, Requested 3000."),
            None
        );
        assert!(limit_is_zero(
            "* Quota exceeded for metric: x, limit: 0, model: y"
        ));
        assert!(!limit_is_zero("limit: 0.5 or limit: 05"));
    }
}
