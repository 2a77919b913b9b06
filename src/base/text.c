/* See text.h. */
#include "base/text.h"

#include <string.h>

#include "base/limits.h"

/* Decodes one UTF-8 sequence (RFC 3629: no overlong forms, no surrogates, at most
 * U+10FFFF). Returns its length in bytes, 0 when malformed. */
static size_t utf8_decode(const unsigned char *p, size_t left, uint32_t *cp)
{
    if (p[0] < 0x80) {
        *cp = p[0];
        return 1;
    }
    size_t n = p[0] >= 0xf0 && p[0] < 0xf5 ? 4 : p[0] >= 0xe0 ? 3 : p[0] >= 0xc2 ? 2 : 0;
    if (n == 0 || p[0] >= 0xf5 || left < n) {
        return 0;
    }
    uint32_t v = (uint32_t)(p[0] & (0xff >> (n + 1)));
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
        v = (v << 6) | (p[i] & 0x3f);
    }
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    if (v < least[n] || v > 0x10ffff || (v >= 0xd800 && v < 0xe000)) {
        return 0;
    }
    *cp = v;
    return n;
}

bool text_is_utf8(struct span s)
{
    const unsigned char *p = (const unsigned char *)s.data;
    for (size_t i = 0; i < s.len;) {
        uint32_t cp;
        size_t n = utf8_decode(p + i, s.len - i, &cp);
        if (n == 0) {
            return false;
        }
        i += n;
    }
    return true;
}

struct span text_beginning(struct span s, size_t bytes_max)
{
    if (s.len <= bytes_max) {
        return s;
    }
    size_t n = bytes_max;
    while (n > 0 && ((unsigned char)s.data[n] & 0xc0) == 0x80) { /* not the first of a character */
        n--;
    }
    return span_make(s.data, n);
}

/* Blanks and control characters beyond ASCII that would hide in a printed id. */
static bool unprintable(uint32_t cp)
{
    return cp <= 0x20 || (cp >= 0x7f && cp <= 0xa0) || cp == 0x1680 ||
           (cp >= 0x2000 && cp <= 0x200f) || (cp >= 0x2028 && cp <= 0x202f) ||
           (cp >= 0x205f && cp <= 0x206f) || cp == 0x3000 || cp == 0xfeff ||
           (cp >= 0xfff0 && cp <= 0xfffb) || (cp & 0xfffe) == 0xfffe;
}

/* ASCII is nearly all there is, and ids are checked on every booking: the characters that a
 * name may have stand at their own place, blanks where : * = / , and what does not print are. */
static const char plain_name[256] = "                                "
                                    " !\"#$%&'() +"
                                    " -. 0123456789 ;< >?"
                                    "@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_"
                                    "`abcdefghijklmnopqrstuvwxyz{|}~";

static bool is_name(struct span s, size_t max)
{
    if (s.len == 0 || s.len > max || s.data[0] == '-') {
        return false;
    }
    const unsigned char *p = (const unsigned char *)s.data;
    for (size_t i = 0; i < s.len;) {
        uint32_t cp;
        if (plain_name[p[i]] > ' ') {
            i++;
            continue;
        }
        size_t n = p[i] < 0x80 ? 0 : utf8_decode(p + i, s.len - i, &cp);
        if (n == 0 || unprintable(cp)) {
            return false;
        }
        i += n;
    }
    return true;
}

bool text_is_id(struct span s) { return is_name(s, ID_BYTES_MAX); }
bool text_is_label(struct span s) { return is_name(s, SEAT_LABEL_BYTES_MAX); }

bool text_int64(struct span s, int64_t *out)
{
    size_t i = 0;
    bool negative = s.len > 0 && s.data[0] == '-';
    if (negative) {
        i = 1;
    }
    if (i == s.len) {
        return false;
    }
    uint64_t v = 0;
    uint64_t most = negative ? (uint64_t)INT64_MAX + 1 : (uint64_t)INT64_MAX;
    for (; i < s.len; i++) {
        if (s.data[i] < '0' || s.data[i] > '9') {
            return false;
        }
        uint64_t d = (uint64_t)(s.data[i] - '0');
        if (v > (most - d) / 10) {
            return false;
        }
        v = v * 10 + d;
    }
    *out = negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

bool text_duration_ms(struct span s, uint64_t *ms)
{
    static const struct {
        const char *unit;
        uint64_t ms;
    } units[] = { { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 }, { "d", 86400000 } };
    size_t digits = 0;
    while (digits < s.len && s.data[digits] >= '0' && s.data[digits] <= '9') {
        digits++;
    }
    int64_t n;
    if (!text_int64(span_make(s.data, digits), &n)) {
        return false;
    }
    uint64_t factor = digits == s.len ? 1000 : 0;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (span_is(span_make(s.data + digits, s.len - digits), units[i].unit)) {
            factor = units[i].ms;
        }
    }
    const uint64_t most = 10ull * 366 * 86400000;
    if (factor == 0 || (uint64_t)n > most / factor) {
        return false;
    }
    *ms = (uint64_t)n * factor;
    return true;
}

static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c; }

bool text_ieq(struct span a, struct span b)
{
    if (a.len != b.len) {
        return false;
    }
    for (size_t i = 0; i < a.len; i++) {
        if (lower(a.data[i]) != lower(b.data[i])) {
            return false;
        }
    }
    return true;
}

unsigned text_distance(struct span a, struct span b, unsigned most)
{
    size_t longer = a.len > b.len ? a.len : b.len, shorter = a.len > b.len ? b.len : a.len;
    if (longer > TEXT_DISTANCE_MAX || longer - shorter > most) {
        return most + 1;
    }
    unsigned rows[3][TEXT_DISTANCE_MAX + 2];
    for (size_t j = 0; j <= b.len; j++) {
        rows[0][j] = (unsigned)j;
    }
    for (size_t i = 1; i <= a.len; i++) {
        unsigned *now = rows[i % 3], *prev = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];
        now[0] = (unsigned)i;
        for (size_t j = 1; j <= b.len; j++) {
            char x = lower(a.data[i - 1]), y = lower(b.data[j - 1]);
            unsigned best = prev[j - 1] + (x != y);
            best = prev[j] + 1 < best ? prev[j] + 1 : best;
            best = now[j - 1] + 1 < best ? now[j - 1] + 1 : best;
            if (i > 1 && j > 1 && x == lower(b.data[j - 2]) && lower(a.data[i - 2]) == y &&
                before[j - 2] + 1 < best) {
                best = before[j - 2] + 1;
            }
            now[j] = best;
        }
    }
    return rows[a.len % 3][b.len];
}

const char *text_nearest(struct span word, const char *const *names)
{
    const char *best = NULL;
    unsigned best_distance = 1 + (unsigned)(word.len / 3);
    for (; *names != NULL; names++) {
        unsigned d = text_distance(word, span_of(*names), best_distance);
        if (d <= best_distance && (best == NULL || d < best_distance)) {
            best = *names;
            best_distance = d;
        }
    }
    return best;
}
