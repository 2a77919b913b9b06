/* A strict JSON scanner: see json_text.h.
 *
 * State is one small machine: what may come next (a value, a key, a comma or the end)
 * and one bit per open level that says list or object. Every failure goes through
 * fail(), which names the byte and the line, because the text was written by a person
 * or by a program that a person is debugging.
 *
 * Invariants:
 *   1. depth <= JSON_DEPTH_MAX; objects' bits below depth describe the open levels.
 *   2. after JSON_FAILED every call returns JSON_FAILED.
 *   3. p never passes end; `text` lies in the input or in `unescaped`. */
#include "policy/json_text.h"

#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/text.h"

enum state {
    WANT_VALUE,
    WANT_VALUE_OR_END,
    WANT_KEY,
    WANT_KEY_OR_END,
    WANT_MORE,
    FINISHED,
    BROKEN
};

_Static_assert(JSON_DEPTH_MAX <= 128, "struct json_scan keeps one bit for each level");

void json_scan_init(struct json_scan *s, struct span text)
{
    memset(s, 0, sizeof *s);
    s->start = s->p = text.data;
    s->end = text.len > 0 ? text.data + text.len : text.data;
    s->state = WANT_VALUE;
}

void json_scan_free(struct json_scan *s) { buf_free(&s->unescaped); }

static enum json_token no_memory(struct json_scan *s)
{
    error_set(&s->error, ERR_NOMEM, "out of memory");
    s->state = BROKEN;
    return JSON_FAILED;
}

static enum json_token fail(struct json_scan *s, const char *what)
{
    if (s->state != BROKEN) {
        size_t line = 1;
        for (const char *p = s->start; p < s->p; p++) {
            line += *p == '\n';
        }
        if (line > 1) {
            error_set(&s->error, ERR_BADARG, "JSON: %s at byte %zu, line %zu", what,
                      (size_t)(s->p - s->start), line);
        } else {
            error_set(&s->error, ERR_BADARG, "JSON: %s at byte %zu", what,
                      (size_t)(s->p - s->start));
        }
        s->state = BROKEN;
    }
    return JSON_FAILED;
}

static void blanks(struct json_scan *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r')) {
        s->p++;
    }
}

static bool in_object(const struct json_scan *s)
{
    unsigned level = s->depth - 1;
    return (s->objects[level / 64] >> (level % 64)) & 1;
}

static int hex4(const char *p, const char *end)
{
    int v = 0;
    if (end - p < 4) {
        return -1;
    }
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int d = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
        if (d < 0) {
            return -1;
        }
        v = v * 16 + d;
    }
    return v;
}

static void put_utf8(struct buf *b, uint32_t cp)
{
    if (cp < 0x80) {
        buf_put_u8(b, (uint8_t)cp);
    } else if (cp < 0x800) {
        buf_put_u8(b, (uint8_t)(0xc0 | cp >> 6));
        buf_put_u8(b, (uint8_t)(0x80 | (cp & 0x3f)));
    } else if (cp < 0x10000) {
        buf_put_u8(b, (uint8_t)(0xe0 | cp >> 12));
        buf_put_u8(b, (uint8_t)(0x80 | (cp >> 6 & 0x3f)));
        buf_put_u8(b, (uint8_t)(0x80 | (cp & 0x3f)));
    } else {
        buf_put_u8(b, (uint8_t)(0xf0 | cp >> 18));
        buf_put_u8(b, (uint8_t)(0x80 | (cp >> 12 & 0x3f)));
        buf_put_u8(b, (uint8_t)(0x80 | (cp >> 6 & 0x3f)));
        buf_put_u8(b, (uint8_t)(0x80 | (cp & 0x3f)));
    }
}

/* s->p stands on 'u'. A surrogate pair is one character; half of one is none. */
static bool unicode_escape(struct json_scan *s)
{
    int v = hex4(s->p + 1, s->end);
    if (v < 0) {
        return false;
    }
    s->p += 5;
    uint32_t cp = (uint32_t)v;
    if (cp >= 0xd800 && cp < 0xe000) {
        if (cp >= 0xdc00 || s->end - s->p < 6 || s->p[0] != '\\' || s->p[1] != 'u') {
            return false;
        }
        int low = hex4(s->p + 2, s->end);
        if (low < 0xdc00 || low >= 0xe000) {
            return false;
        }
        s->p += 6;
        cp = 0x10000 + ((cp - 0xd800) << 10) + ((uint32_t)low - 0xdc00);
    }
    put_utf8(&s->unescaped, cp);
    return true;
}

/* s->p stands behind the backslash. */
static bool escape(struct json_scan *s)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (s->p == s->end) {
        return false;
    }
    if (*s->p == 'u') {
        return unicode_escape(s);
    }
    const char *at = *s->p != 0 ? strchr(from, *s->p) : NULL;
    if (at == NULL) {
        return false;
    }
    buf_put_u8(&s->unescaped, (uint8_t)to[at - from]);
    s->p++;
    return true;
}

/* s->p stands on the opening quote; fills text. */
static bool string(struct json_scan *s)
{
    const char *run = ++s->p;
    bool escaped = false, ascii = true;
    buf_clear(&s->unescaped);
    while (s->p < s->end && *s->p != '"') {
        unsigned char c = (unsigned char)*s->p;
        if (c < 0x20) {
            fail(s, "control byte in a string");
            return false;
        }
        ascii = ascii && c < 0x80;
        if (c != '\\') {
            s->p++;
            continue;
        }
        escaped = true;
        buf_put(&s->unescaped, run, (size_t)(s->p - run));
        s->p++;
        if (!escape(s)) {
            fail(s, "wrong escape in a string");
            return false;
        }
        run = s->p;
    }
    if (s->p == s->end) {
        fail(s, "string without an end");
        return false;
    }
    struct span rest = span_make(run, (size_t)(s->p - run));
    if (escaped) {
        buf_put(&s->unescaped, rest.data, rest.len);
        if (s->unescaped.failed) {
            no_memory(s);
            return false;
        }
        rest = span_make((const char *)s->unescaped.data, s->unescaped.len);
    }
    if (!ascii && !text_is_utf8(rest)) {
        fail(s, "bytes that are not UTF-8 in a string");
        return false;
    }
    s->p++;
    s->text = rest;
    return true;
}

static const char *digits(const char *p, const char *end)
{
    while (p < end && *p >= '0' && *p <= '9') {
        p++;
    }
    return p;
}

/* The program may run under a locale with another decimal mark (libedit asks for it). */
static double to_double(const char *text)
{
    static locale_t c_locale;
    if (c_locale == (locale_t)0) {
        c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    }
    return c_locale == (locale_t)0 ? strtod(text, NULL) : strtod_l(text, NULL, c_locale);
}

static enum json_token number(struct json_scan *s)
{
    const char *from = s->p, *p = s->p + (*s->p == '-');
    const char *whole = p;
    p = digits(p, s->end);
    if (p == whole || (p - whole > 1 && *whole == '0')) {
        return fail(s, "wrong number");
    }
    bool integral = true;
    if (p < s->end && *p == '.') {
        const char *fraction = ++p;
        integral = false;
        p = digits(p, s->end);
        if (p == fraction) {
            return fail(s, "wrong number");
        }
    }
    if (p < s->end && (*p == 'e' || *p == 'E')) {
        p++;
        integral = false;
        p += p < s->end && (*p == '+' || *p == '-');
        const char *exponent = p;
        p = digits(p, s->end);
        if (p == exponent) {
            return fail(s, "wrong number");
        }
    }
    struct span text = span_make(from, (size_t)(p - from));
    if (integral && text_int64(text, &s->integer)) {
        s->p = p;
        return JSON_INT;
    }
    buf_clear(&s->unescaped);
    buf_put(&s->unescaped, text.data, text.len);
    buf_put_u8(&s->unescaped, 0);
    if (s->unescaped.failed) {
        return no_memory(s);
    }
    s->number = to_double((const char *)s->unescaped.data);
    if (!isfinite(s->number)) {
        return fail(s, "number too large");
    }
    s->p = p;
    return JSON_FLOAT;
}

static bool word(struct json_scan *s, const char *w)
{
    size_t n = strlen(w);
    if ((size_t)(s->end - s->p) < n || memcmp(s->p, w, n) != 0) {
        return false;
    }
    s->p += n;
    return true;
}

static enum json_token open_level(struct json_scan *s, bool object)
{
    if (s->depth == JSON_DEPTH_MAX) {
        return fail(s, "nested too deeply");
    }
    uint64_t bit = 1ull << (s->depth % 64);
    if (object) {
        s->objects[s->depth / 64] |= bit;
    } else {
        s->objects[s->depth / 64] &= ~bit;
    }
    s->depth++;
    s->p++;
    s->state = object ? WANT_KEY_OR_END : WANT_VALUE_OR_END;
    return object ? JSON_OBJECT : JSON_LIST;
}

static enum json_token close_level(struct json_scan *s)
{
    bool object = in_object(s);
    s->depth--;
    s->p++;
    s->state = s->depth > 0 ? WANT_MORE : FINISHED;
    return object ? JSON_OBJECT_END : JSON_LIST_END;
}

static enum json_token value(struct json_scan *s)
{
    enum json_token token;
    switch (*s->p) {
    case '{': return open_level(s, true);
    case '[': return open_level(s, false);
    case '"':
        if (!string(s)) {
            return JSON_FAILED;
        }
        token = JSON_STRING;
        break;
    case 't': token = word(s, "true") ? JSON_TRUE : JSON_FAILED; break;
    case 'f': token = word(s, "false") ? JSON_FALSE : JSON_FAILED; break;
    case 'n': token = word(s, "null") ? JSON_NULL : JSON_FAILED; break;
    default:
        token = *s->p == '-' || (*s->p >= '0' && *s->p <= '9') ? number(s) : JSON_FAILED;
        break;
    }
    if (token == JSON_FAILED) {
        return fail(s, "a value is expected");
    }
    s->state = s->depth > 0 ? WANT_MORE : FINISHED;
    return token;
}

static enum json_token key(struct json_scan *s)
{
    if (*s->p != '"') {
        return fail(s, "a name in quotes is expected");
    }
    if (!string(s)) {
        return JSON_FAILED;
    }
    blanks(s);
    if (s->p == s->end || *s->p != ':') {
        return fail(s, "':' is expected");
    }
    s->p++;
    s->state = WANT_VALUE;
    return JSON_KEY;
}

enum json_token json_next(struct json_scan *s)
{
    if (s->state == BROKEN) {
        return JSON_FAILED;
    }
    blanks(s);
    if (s->state == FINISHED) {
        return s->p == s->end ? JSON_DONE : fail(s, "something follows the value");
    }
    if (s->p == s->end) {
        return fail(s, s->start == s->end ? "empty text" : "the text ends too early");
    }
    if (s->state == WANT_MORE) {
        if (*s->p == (in_object(s) ? '}' : ']')) {
            return close_level(s);
        }
        if (*s->p != ',') {
            return fail(s, in_object(s) ? "',' or '}' is expected" : "',' or ']' is expected");
        }
        s->p++;
        blanks(s);
        if (s->p == s->end) {
            return fail(s, "the text ends too early");
        }
        s->state = in_object(s) ? WANT_KEY : WANT_VALUE;
    }
    if (s->state == WANT_KEY_OR_END && *s->p == '}') {
        return close_level(s);
    }
    if (s->state == WANT_VALUE_OR_END && *s->p == ']') {
        return close_level(s);
    }
    return s->state == WANT_KEY || s->state == WANT_KEY_OR_END ? key(s) : value(s);
}

bool json_skip(struct json_scan *s, enum json_token first, const char *from, struct span *raw)
{
    unsigned depth = s->depth;
    if (first == JSON_LIST || first == JSON_OBJECT) {
        for (depth--; s->depth > depth;) {
            if (json_next(s) == JSON_FAILED) {
                return false;
            }
        }
    }
    while (from < s->p && (*from == ' ' || *from == '\t' || *from == '\n' || *from == '\r')) {
        from++;
    }
    *raw = span_make(from, (size_t)(s->p - from));
    return first != JSON_FAILED;
}

int json_check(struct span text, struct error *e)
{
    struct json_scan s;
    enum json_token token;
    json_scan_init(&s, text);
    do {
        token = json_next(&s);
    } while (token != JSON_DONE && token != JSON_FAILED);
    int code = s.error.code;
    json_scan_free(&s);
    if (token == JSON_FAILED && e != NULL) {
        *e = s.error;
    }
    return token == JSON_FAILED ? code : 0;
}
