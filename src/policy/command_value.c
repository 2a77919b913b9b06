/* One value of a request: what a type looks like as text (lua.md 1).
 *
 * Only the form is checked here; whether an event or a seat of that name exists is asked
 * where the store is (the policy VM). Error texts say what was given and what is wanted;
 * the caller puts the argument's name before them. */
#include <string.h>

#include "base/limits.h"
#include "base/text.h"
#include "policy/command.h"
#include "policy/json_text.h"

/* What is shown of a wrong value: short, and never longer than a line. */
#define SHOWN(s) (int)((s).len < 60 ? (s).len : 60), (s).data != NULL ? (s).data : ""

static int wrong(struct error *e, struct span text, const char *wanted)
{
    return error_set(e, ERR_BADARG, "'%.*s' is not %s", SHOWN(text), wanted);
}

/* ---- Seats as words ------------------------------------------------------ */

static bool digits_only(struct span s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] < '0' || s.data[i] > '9') {
            return false;
        }
    }
    return s.len > 0;
}

static bool find_byte(struct span s, char c, size_t *at)
{
    const char *p = s.len > 0 ? memchr(s.data, c, s.len) : NULL;
    *at = p != NULL ? (size_t)(p - s.data) : s.len;
    return p != NULL;
}

static struct span from(struct span s, size_t at) { return span_make(s.data + at, s.len - at); }

/* "A1..A8": two labels. Leaves `label` as it is when there are no two dots inside. */
static void split_range(struct seat_word *out)
{
    struct span s = out->label;
    for (size_t i = 1; i + 2 < s.len; i++) {
        if (s.data[i] == '.' && s.data[i + 1] == '.') {
            out->label = span_make(s.data, i);
            out->to = from(s, i + 2);
            return;
        }
    }
}

static int parse_count(struct span word, struct span digits, uint32_t *count, struct error *e)
{
    int64_t n;
    if (!digits_only(digits) || !text_int64(digits, &n) || n < 1) {
        return error_set(e, ERR_BADARG, "'%.*s': a count of 1 or more belongs after the '*'",
                         SHOWN(word));
    }
    if (n > ORDER_SEATS_MAX) {
        return error_set(e, ERR_TOOBIG, "'%.*s': at most %d places in one order", SHOWN(word),
                         ORDER_SEATS_MAX);
    }
    *count = (uint32_t)n;
    return 0;
}

static int check_word(struct span word, const struct seat_word *w, struct error *e)
{
    if (w->event.data != NULL && !text_is_id(w->event)) {
        return error_set(e, ERR_BADARG, "'%.*s': what stands before the ':' is not an event's id",
                         SHOWN(word));
    }
    if (!text_is_label(w->label) || (w->to.data != NULL && !text_is_label(w->to))) {
        return wrong(e, word, "a seat such as A1, A1..A8, EVENT:A1, FLOOR*3 or A1=child");
    }
    if (w->type.data != NULL && !text_is_id(w->type)) {
        return error_set(e, ERR_BADARG, "'%.*s': what stands after the '=' is not a ticket type",
                         SHOWN(word));
    }
    if (w->to.data != NULL && w->count > 0) {
        return error_set(e, ERR_BADARG, "'%.*s': a range has no count", SHOWN(word));
    }
    return 0;
}

static int parse_plain_word(struct span text, struct seat_word *out, struct error *e)
{
    struct span s = text;
    size_t at;
    if (find_byte(s, '=', &at)) {
        out->type = from(s, at + 1);
        s = span_make(s.data, at);
    }
    if (find_byte(s, ':', &at)) {
        out->event = span_make(s.data, at);
        s = from(s, at + 1);
    }
    if (find_byte(s, '*', &at)) {
        int rc = parse_count(text, from(s, at + 1), &out->count, e);
        if (rc != 0) {
            return rc;
        }
        s = span_make(s.data, at);
    }
    out->label = s;
    if (out->count == 0) {
        split_range(out);
    }
    return check_word(text, out, e);
}

/* ---- Seats as JSON ------------------------------------------------------- */

/* A string member. Escaped strings move when scratch grows, so it was reserved whole. */
static int json_member(struct json_scan *s, enum json_token token, struct buf *scratch,
                       struct span *out, struct error *e)
{
    if (token != JSON_STRING) {
        return error_set(e, ERR_BADARG, "a seat's \"seat\", \"event\" and \"type\" are strings");
    }
    if ((const uint8_t *)s->text.data != s->unescaped.data) {
        *out = s->text;
        return 0;
    }
    size_t at = scratch->len;
    buf_put(scratch, s->text.data, s->text.len);
    if (scratch->failed) {
        return error_set(e, ERR_NOMEM, "out of memory");
    }
    *out = span_make((const char *)scratch->data + at, s->text.len);
    return 0;
}

static int json_seat_member(struct json_scan *s, struct buf *scratch, struct seat_word *out,
                            struct error *e)
{
    struct span name = s->text;
    struct span *text = span_is(name, "seat")    ? &out->label
                        : span_is(name, "event") ? &out->event
                        : span_is(name, "type")  ? &out->type
                                                 : NULL;
    bool data = span_is(name, "data"), count = span_is(name, "count");
    if (text == NULL && !data && !count) {
        return error_set(e, ERR_BADARG, "a seat has no member \"%.*s\"", SHOWN(name));
    }
    const char *at = s->p;
    enum json_token token = json_next(s);
    if (token == JSON_FAILED) {
        *e = s->error;
        return e->code;
    }
    if (text != NULL) {
        return json_member(s, token, scratch, text, e);
    }
    if (data) {
        return json_skip(s, token, at, &out->data) ? 0 : (*e = s->error, e->code);
    }
    if (token != JSON_INT || s->integer < 1 || s->integer > ORDER_SEATS_MAX) {
        return error_set(e, ERR_BADARG, "a seat's \"count\" is an integer of 1 to %d",
                         ORDER_SEATS_MAX);
    }
    out->count = (uint32_t)s->integer;
    return 0;
}

static int parse_json_seat(struct span text, struct buf *scratch, struct seat_word *out,
                           struct error *e)
{
    if (!buf_reserve(scratch, text.len)) {
        return error_set(e, ERR_NOMEM, "out of memory");
    }
    struct json_scan s;
    json_scan_init(&s, text);
    enum json_token token = json_next(&s);
    int rc = 0;
    while (rc == 0 && (token = json_next(&s)) == JSON_KEY) {
        rc = json_seat_member(&s, scratch, out, e);
    }
    if (rc == 0 && (token == JSON_FAILED || json_next(&s) != JSON_DONE)) {
        *e = s.error;
        rc = e->code;
    }
    json_scan_free(&s);
    if (rc == 0 && out->label.data == NULL) {
        (void)error_set(e, ERR_BADARG, "a seat as JSON needs \"seat\"");
        rc = ERR_BADARG;
    }
    if (rc == 0) {
        split_range(out);
        rc = check_word(text, out, e);
    }
    return rc;
}

int seat_word_parse(struct span text, struct buf *scratch, struct seat_word *out, struct error *e)
{
    struct error ignored;
    e = e != NULL ? e : &ignored;
    memset(out, 0, sizeof *out);
    return text.len > 0 && text.data[0] == '{' ? parse_json_seat(text, scratch, out, e)
                                               : parse_plain_word(text, out, e);
}

static int check_seat(struct call_value *v, struct error *e)
{
    /* Hot path: nearly every seat is nothing but a label. */
    if (text_is_label(v->text)) {
        struct span s = v->text;
        size_t at;
        v->plain = !find_byte(s, '.', &at) || !find_byte(from(s, at + 1), '.', &at);
        if (v->plain) {
            return 0;
        }
    }
    struct buf scratch = BUF_INIT;
    struct seat_word word;
    int rc = seat_word_parse(v->text, &scratch, &word, e);
    v->plain = rc == 0 && word.label.len == v->text.len;
    buf_free(&scratch);
    return rc;
}

/* ---- Times --------------------------------------------------------------- */

static bool two(struct span s, size_t at, int *out)
{
    int64_t n;
    if (at + 2 > s.len || s.data[at] == '-' || !text_int64(span_make(s.data + at, 2), &n)) {
        return false;
    }
    *out = (int)n;
    return true;
}

/* Days from 1970-01-01 in the Gregorian calendar (Howard Hinnant, days_from_civil). */
static int64_t days_from_civil(int64_t y, int m, int d)
{
    y -= m <= 2;
    int64_t era = y / 400, year = y - era * 400;
    int64_t day = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    return era * 146097 + year * 365 + year / 4 - year / 100 + day - 719468;
}

/* "2026-05-01[T10:00[:30]][Z]", UTC; a blank may stand for the T. */
static bool calendar_ms(struct span s, int64_t *ms)
{
    static const int month_days[] = { 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    int century, year, month, day, hour = 0, minute = 0, second = 0;
    if (s.len > 10 && s.data[s.len - 1] == 'Z') {
        s.len--;
    }
    if (!two(s, 0, &century) || !two(s, 2, &year) || !two(s, 5, &month) || !two(s, 8, &day) ||
        s.data[4] != '-' || s.data[7] != '-') {
        return false;
    }
    year += century * 100;
    bool time = s.len == 16 || s.len == 19;
    if ((s.len != 10 && !time) || (time && (!two(s, 11, &hour) || !two(s, 14, &minute))) ||
        (time && ((s.data[10] != 'T' && s.data[10] != ' ') || s.data[13] != ':')) ||
        (s.len == 19 && (s.data[16] != ':' || !two(s, 17, &second)))) {
        return false;
    }
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (year < 1970 || month < 1 || month > 12 || day < 1 || day > month_days[month - 1] ||
        (month == 2 && day == 29 && !leap) || hour > 23 || minute > 59 || second > 59) {
        return false;
    }
    *ms = ((days_from_civil(year, month, day) * 24 + hour) * 60 + minute) * 60000 + second * 1000;
    return true;
}

/* ---- The types ----------------------------------------------------------- */

static int check_bool(struct call_value *v, struct error *e)
{
    static const char *const yes[] = { "true", "yes", "on", "1" };
    static const char *const no[] = { "false", "no", "off", "0" };
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++) {
        if (text_ieq(v->text, span_of(yes[i])) || text_ieq(v->text, span_of(no[i]))) {
            v->number = text_ieq(v->text, span_of(yes[i]));
            v->text = span_of(v->number ? "true" : "false");
            return 0;
        }
    }
    return wrong(e, v->text, "true or false");
}

static int check_choice(const struct arg_def *def, struct call_value *v, struct error *e)
{
    for (char **c = def->choices; *c != NULL; c++) {
        if (text_ieq(v->text, span_of(*c))) {
            v->text = span_of(*c);
            return 0;
        }
    }
    struct buf list = BUF_INIT;
    for (char **c = def->choices; *c != NULL; c++) {
        buf_put_str(&list, c == def->choices ? "" : ", ");
        buf_put_str(&list, *c);
    }
    int rc = error_set(e, ERR_BADARG, "'%.*s' is not one of %.*s", SHOWN(v->text), (int)list.len,
                       list.data != NULL ? (const char *)list.data : "");
    buf_free(&list);
    return rc;
}

static int check_json(struct call_value *v, struct error *e)
{
    int rc = json_check(v->text, e);
    if (rc != 0 && v->text.len > 0 && v->text.data[0] == '@') {
        rc = error_set(e, ERR_BADARG, "'%.*s': a file is read by the usher program on its own side",
                       SHOWN(v->text));
        error_hint(e, "send the JSON text itself");
    }
    return rc;
}

/* A name that people gave: any printable line, blanks allowed. */
static bool is_title(struct span s)
{
    for (size_t i = 0; i < s.len; i++) {
        if ((unsigned char)s.data[i] < 0x20 || s.data[i] == 0x7f) {
            return false;
        }
    }
    return s.len > 0 && s.len <= ID_BYTES_MAX && text_is_utf8(s);
}

int arg_check(const struct arg_def *def, struct call_value *v, struct error *e)
{
    uint64_t ms;
    switch (def->type) {
    case ARG_EVENT:
    case ARG_ORDER:
    case ARG_CHART:
    case ARG_CUSTOMER:
        if (!text_is_id(v->text)) {
            int rc = wrong(e, v->text, "an id");
            error_hint(e, "an id has 1 to %d printable bytes without blanks or any of : * = / ,",
                       ID_BYTES_MAX);
            return rc;
        }
        return 0;
    case ARG_SEAT: return check_seat(v, e);
    case ARG_INT:
    case ARG_MONEY:
        return text_int64(v->text, &v->number)
                   ? 0
                   : wrong(e, v->text,
                           def->type == ARG_INT ? "an integer"
                                                : "an amount in minor units (cents)");
    case ARG_BOOL: return check_bool(v, e);
    case ARG_JSON: return check_json(v, e);
    case ARG_DURATION:
        if (!text_duration_ms(v->text, &ms)) {
            return wrong(e, v->text, "a duration such as 90, 15m or 2h");
        }
        v->number = (int64_t)ms;
        return 0;
    case ARG_TIME:
        if ((text_int64(v->text, &v->number) && v->number >= 0) ||
            calendar_ms(v->text, &v->number)) {
            return 0;
        }
        return wrong(e, v->text, "a time in ms since 1970 or as 2026-05-01T10:00");
    case ARG_ONE_OF: return check_choice(def, v, e);
    case ARG_CATEGORY:
    case ARG_NODE:
    case ARG_FILE: return is_title(v->text) ? 0 : wrong(e, v->text, arg_type_name(def->type));
    default: return text_is_utf8(v->text) ? 0 : wrong(e, v->text, "UTF-8 text");
    }
}
